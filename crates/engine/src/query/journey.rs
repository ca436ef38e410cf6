//! Metrics about the way of a subject from one event to others.

use serde::{Deserialize, Serialize};

use super::{EventSelector, Statistic};

/// Which start events of a subject count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// Once per bucket: every bucket is a cohort of its own, so a value does not depend on where the range begins.
    #[default]
    PerBucket,
    /// Once per query: the first start event in the range.
    FirstInRange,
    /// Once per query, and only if the first start event the subject ever had lies in the range.
    FirstEver,
}

/// Which attempt of a subject a funnel counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Anchor {
    /// The attempt that starts with the first step-1 event; the window is not restarted by later ones.
    #[default]
    FirstTouch,
    /// Every step-1 event starts an attempt; the one that gets furthest counts, of those the one that got there
    /// first, of those the one that started last.
    BestAttempt,
}

/// How events at the same instant are ordered between steps. An event never serves two steps of one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ties {
    /// By sequence, then by position in the log.
    #[default]
    ByOrder,
    /// Events of the same instant may be taken in any order (`>=` on time).
    AnyOrder,
    /// A later step needs a later instant (`>` on time).
    StrictlyLater,
}

/// Steps in order, per subject: each step is the earliest event of its kind after the step before.
///
/// Steps after the first may happen after the end of the range, up to the window and to `as_of`. A row belongs to the
/// bucket and the dimension values of its step-1 event. The value is the share that reached the last step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FunnelSpec {
    /// At least one, at most 31.
    pub steps: Vec<EventSelector>,
    /// Time from the step-1 event within which every other step must happen, inclusive; `None` is unlimited.
    pub window_micros: Option<i64>,
    /// Which attempt counts.
    pub anchor: Anchor,
    /// Which step-1 events count.
    pub entry: Entry,
    /// Events at the same instant.
    pub ties: Ties,
}

/// Unit of retention offsets, civil in the zone of the query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Period {
    /// Calendar days.
    #[default]
    Day,
    /// Weeks from Monday.
    Week,
    /// Calendar months.
    Month,
}

/// What counts as having come back at offset N.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Return {
    /// A return event in exactly that period.
    #[default]
    On,
    /// A return event in that period or any later one.
    OnOrAfter,
}

/// When a subject counts for an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Maturity {
    /// When the period of the offset is over at `as_of`.
    #[default]
    PeriodEnded,
    /// As soon as the period of the offset has begun before `as_of`.
    PeriodStarted,
}

/// Who comes back. The cohort of a subject is the bucket (and the dimension values) of its start event; a return is
/// an event at or after the start event, the start event itself included.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RetentionSpec {
    /// Event that starts the clock.
    pub start: EventSelector,
    /// Event that counts as coming back.
    pub returning: EventSelector,
    /// Unit of the offsets.
    pub period: Period,
    /// Offsets to report, at most 400, each at most 3,660.
    pub offsets: Vec<u32>,
    /// The offset whose rate is the value; one of `offsets`.
    pub headline: u32,
    /// Exact period or unbounded.
    pub mode: Return,
    /// When a cell counts.
    pub maturity: Maturity,
    /// Which start events count.
    pub entry: Entry,
}

/// Time from one event to the first later event of another kind. A row belongs to the bucket of the `from` event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TimeToEventSpec {
    /// Event that starts the clock.
    pub from: EventSelector,
    /// Event that stops it.
    pub to: EventSelector,
    /// Longest time that counts, inclusive; `None` is unlimited.
    pub window_micros: Option<i64>,
    /// Which `from` events count.
    pub entry: Entry,
    /// Events at the same instant.
    pub ties: Ties,
    /// Which figure is the value, in seconds.
    pub statistic: Statistic,
}

/// Events of one kind that lead to an event of another. Each conversion is credited to the nearest base event of the
/// same subject before it in the order of events, if that lies less than a window back; the row is that of the base
/// event, and the conversion may lie after the end of the range.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConversionSpec {
    /// What may lead to a conversion.
    pub base: EventSelector,
    /// The conversion.
    pub conversion: EventSelector,
    /// Time from base to conversion, exclusive; `None` is unlimited.
    pub window_micros: Option<i64>,
    /// Properties of the base and of the conversion that must be there and equal, as dotted paths.
    pub constants: Vec<(String, String)>,
    /// Which figure is the value.
    pub measure: ConversionMeasure,
}

/// Which figure of conversions is the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConversionMeasure {
    /// Share of the base events that a conversion was credited to; never above one.
    #[default]
    Rate,
    /// Conversions that were credited to a base event.
    Conversions,
}
