//! skeleton
use crate::BundleError;
use aria_core::Manifest;
/// Parses and checks a manifest document, as the reader does and as the store gives it back.
pub fn parse(_json: &[u8]) -> Result<Manifest, BundleError> {
    todo!()
}
