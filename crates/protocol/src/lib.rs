//! The wire: generated messages and services of `aria.v1` (the device API) and `quilt.v1` (the sync-engine).
//!
//! Protobuf types stop at the four places that speak gRPC; everything else uses domain types.

/// The device API.
#[allow(
    missing_docs,
    clippy::all,
    clippy::allow_attributes_without_reason,
    unreachable_pub,
    reason = "generated from proto/aria/v1, documented there"
)]
pub mod aria {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("aria.v1");
    }
}

/// The Quilt sync-engine.
#[allow(
    missing_docs,
    clippy::all,
    clippy::allow_attributes_without_reason,
    unreachable_pub,
    reason = "generated from proto/quilt/v1, documented there"
)]
pub mod quilt {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("quilt.v1");
    }
}

/// The encoded `FileDescriptorSet` of both packages, for gRPC reflection.
pub const DESCRIPTOR: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptor.bin"));
