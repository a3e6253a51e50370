//! skeleton
use crate::{Store, StoreError};

impl Store {
    /// A remembered value (node id, references to key files).
    pub fn meta(&self, _key: &str) -> Result<Option<String>, StoreError> {
        todo!()
    }
    /// Remembers a value, durably.
    pub fn set_meta(&self, _key: &str, _value: &str) -> Result<(), StoreError> {
        todo!()
    }
    /// Remembers the value unless the key has one; returns the one that holds.
    pub fn meta_or_insert(&self, _key: &str, _value: &str) -> Result<String, StoreError> {
        todo!()
    }
}
