//! Generated messages, clients, servers and descriptors of Northstar's gRPC
//! contracts. The contracts themselves, with every comment, are in `proto/`.

mod encoded;

pub use encoded::Encoded;

/// The domain of every `google.rpc.ErrorInfo` that Northstar sends.
pub const ERROR_DOMAIN: &str = "northstar";

/// All file descriptors, encoded as a `google.protobuf.FileDescriptorSet`, for
/// reflection and for tests that walk the contracts.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

#[expect(
    missing_docs,
    clippy::allow_attributes,
    clippy::large_enum_variant,
    reason = "generated; the contracts are documented in proto/"
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/all.rs"));
}

pub use generated::northstar::{approvals, automations, errors, experiments, ingestion, metrics};
