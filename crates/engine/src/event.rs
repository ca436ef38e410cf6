//! One event of the log, borrowed from whoever reads the log.

use serde_json::Value;

/// Who did it, as the event itself says; links to users are resolved at query time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Actor<'a> {
    /// Id of a known user; it is the raw actor when present.
    pub user_id: Option<&'a str>,
    /// Id of a device or browser before sign-in; it is the raw actor when there is no user id.
    pub anonymous_id: Option<&'a str>,
}

/// One event as the log has it.
///
/// An event with neither user id nor anonymous id belongs to nobody: it is counted by counts and sums, and never by
/// a question per subject.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EventRecord<'a> {
    /// Position in the log, unique and rising.
    pub position: i64,
    /// Event name.
    pub name: &'a str,
    /// Name of the source that sent it.
    pub source: &'a str,
    /// Who did it.
    pub actor: Actor<'a>,
    /// Account the actor belongs to.
    pub account_id: Option<&'a str>,
    /// Effective time, in microseconds since 1970-01-01 UTC.
    pub effective_micros: i64,
    /// Order given by the client among events of the same instant; 0 when it gives none.
    pub sequence: i64,
    /// A JSON object. Nested objects become dotted paths (`plan.name`), arrays are kept as JSON text.
    pub properties: &'a Value,
}
