//! Many events of the log at once, as the columns in which the log holds them.

use serde_json::Value;

/// Distinct texts, and which of them each event has.
#[derive(Debug, Clone)]
pub struct Coded<'a> {
    /// The distinct texts.
    pub entries: Vec<&'a str>,
    /// For each event an index into `entries`.
    pub codes: &'a [u32],
}

/// The values of one property, by code.
#[derive(Debug, Clone)]
pub struct Property<'a> {
    /// Name of the property.
    pub name: String,
    /// The distinct values; `None` for one that cannot be read and is left out.
    pub values: Vec<Option<Value>>,
    /// For each event that has the property, in order, an index into `values`.
    pub codes: &'a [u32],
}

/// The properties of one event.
#[derive(Debug, Clone, PartialEq)]
pub enum Properties<'a> {
    /// The next value of each of these properties, as indices into [`EventColumns::properties`].
    Coded(&'a [u32]),
    /// A JSON object of its own. Nested objects become dotted paths (`plan.name`), arrays are kept as JSON text.
    Own(Value),
}

/// Events at positions that follow one another, every column in the order of positions.
///
/// The same events as [`EventRecord`](crate::EventRecord)s give the same answers; distinct texts and values are looked
/// at once here, and not once an event.
#[derive(Debug, Clone)]
pub struct EventColumns<'a> {
    /// Position of the first event.
    pub first_position: i64,
    /// Event names.
    pub names: Coded<'a>,
    /// Names of the sources.
    pub sources: Coded<'a>,
    /// Ids of known users; an empty one is absent, as in the columns that follow.
    pub user_ids: Coded<'a>,
    /// Ids of devices or browsers before sign-in.
    pub anonymous_ids: Coded<'a>,
    /// Accounts.
    pub account_ids: Coded<'a>,
    /// Effective times, in microseconds since 1970-01-01 UTC.
    pub effective_micros: &'a [i64],
    /// Order given by the client among events of the same instant.
    pub sequences: &'a [i64],
    /// The properties that occur.
    pub properties: Vec<Property<'a>>,
    /// What each event has of them.
    pub rows: Vec<Properties<'a>>,
}
