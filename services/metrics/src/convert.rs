//! Between the wire and the domain: the one place where both vocabularies meet.
//!
//! From the wire nothing fails: what cannot be read becomes a violation beside
//! a document without it, so that everything wrong is reported at once.

pub mod activity;
pub mod cohort;
pub(crate) mod evaluation;
pub mod kpi;
pub mod metric;
pub mod pillar;
pub mod threshold;
mod time;

use northstar_domain::Violations;

pub use time::{from_timestamp, to_timestamp};
pub(crate) use time::{read_duration, to_duration};

/// A document as received.
#[derive(Clone, Debug, PartialEq)]
pub struct Received<D> {
    /// Its name, not checked.
    pub name: String,
    /// The etag its author read; empty for none.
    pub etag: String,
    /// The document, without what could not be read.
    pub document: D,
    /// What could not be read.
    pub violations: Violations,
}
