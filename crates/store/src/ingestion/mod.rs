//! The log, its keys, sources, identity, contracts, quarantine and cursors.

pub mod contracts;
mod copy;
pub mod cursors;
pub mod heads;
pub mod identity;
pub mod keys;
pub mod log;
pub mod quarantine;
pub mod sources;

/// A source's number; unique within the database.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SourceId(pub i32);
