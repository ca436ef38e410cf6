//! Civil buckets in an IANA zone: one function for every question.

use serde::{Deserialize, Serialize};

/// Width of a bucket, civil in the zone of the query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grain {
    /// Hours of the local clock.
    Hour,
    /// Calendar days; a day may have 23 or 25 hours.
    Day,
    /// Weeks from Monday.
    Week,
    /// Calendar months.
    Month,
    /// One bucket for the whole range.
    #[default]
    Total,
}
