//! Cohorts: subjects by what they are and what they did, as plain data.

use serde::{Deserialize, Serialize};

use crate::{filter::Filter, query::EventSelector, subjects::SubjectSet};

/// A condition on the history of a subject, judged at an instant: events at or after it are not yet known. Only subjects
/// with an event before that instant can be in a cohort.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CohortRule {
    /// Every one of these; of none at all, everybody.
    All(Vec<CohortRule>),
    /// At least one of these; of none at all, nobody.
    Any(Vec<CohortRule>),
    /// Everybody else.
    Not(Box<CohortRule>),
    /// By a property of the subject's events.
    Property {
        /// Events that are looked at.
        event: EventSelector,
        /// Dotted path of the property.
        property: String,
        /// What must hold for the event that counts.
        condition: Filter,
        /// Which event counts.
        take: Take,
    },
    /// By how often the subject did something.
    Did {
        /// What it did.
        event: EventSelector,
        /// At least so often.
        at_least: u64,
        /// At most so often; `None` is without limit.
        at_most: Option<u64>,
        /// Only what happened at most so long before the instant; `None` is ever.
        within_micros: Option<i64>,
    },
    /// By steps in order, each an event of its own, others in between allowed.
    Sequence {
        /// The steps.
        steps: Vec<EventSelector>,
        /// From first to last step, inclusive; `None` is without limit.
        window_micros: Option<i64>,
        /// Only what happened at most so long before the instant; `None` is ever.
        within_micros: Option<i64>,
    },
    /// By when the subject did something for the first time ever.
    FirstTime {
        /// What it did.
        event: EventSelector,
        /// Not before this instant, microseconds since the epoch.
        from_micros: i64,
        /// Before this instant.
        to_micros: i64,
    },
}

/// The first event of its kind that a subject has in a range, as an instant of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FirstEvent {
    /// Which events.
    pub event: EventSelector,
    /// Dotted path of a property without which an event does not count.
    pub property: Option<String>,
    /// Not before this instant, microseconds since the epoch.
    pub from_micros: i64,
    /// Before this instant.
    pub to_micros: i64,
}

/// Which event of a subject decides about a property.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Take {
    /// The last that carries the property.
    #[default]
    Latest,
    /// Any of them.
    Any,
}

/// A cohort at several instants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cohort {
    /// Members at each instant.
    pub sizes: Vec<u64>,
    /// Members at the last instant.
    pub members: SubjectSet,
}
