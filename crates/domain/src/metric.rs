//! Metrics: definitions of how a number is computed from events.

mod selector;

use std::fmt;
use std::str::FromStr;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{Violations, duration};

pub use selector::EventSelector;

/// Most steps of a funnel.
pub const MAX_FUNNEL_STEPS: usize = 30;
/// Furthest day of a retention.
pub const MAX_RETENTION_DAY: i32 = 3_660;
/// Longest window: ten years.
pub const MAX_WINDOW: TimeDelta = TimeDelta::days(3_660);

/// A metric, as written in its document.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Metric {
    /// Title for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// What it means and what it leaves out.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Who answers for it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub owner: String,
    /// How it is computed. Required.
    pub definition: Option<Definition>,
}

/// How a number is computed from events.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Definition {
    /// Number of events.
    Count {
        /// The events counted.
        event: EventSelector,
    },
    /// Number of distinct subjects, accounts or property values.
    Unique {
        /// The events that make a subject count.
        event: EventSelector,
        /// What is counted once.
        #[serde(default)]
        of: DistinctOf,
    },
    /// Sum of a numeric property.
    Sum {
        /// The events summed over.
        event: EventSelector,
        /// Property, for example `amount`.
        property: String,
    },
    /// Mean of a numeric property over the events that have it.
    Mean {
        /// The events averaged over.
        event: EventSelector,
        /// Property, for example `amount`.
        property: String,
    },
    /// One metric divided by another, bucket by bucket.
    Ratio {
        /// Name of the metric above the line: a count, unique, sum or mean.
        numerator: String,
        /// Name of the metric below the line: a count, unique, sum or mean.
        denominator: String,
    },
    /// Share of subjects that complete ordered steps.
    Funnel {
        /// Two to 30 steps, in order.
        steps: Vec<EventSelector>,
        /// From first to last step, inclusive; unlimited when absent.
        #[serde(default, with = "duration::option", skip_serializing_if = "Option::is_none")]
        window: Option<TimeDelta>,
        /// Which first steps count.
        #[serde(default)]
        anchor: FunnelAnchor,
        /// Whether two steps may happen at the same instant in any order.
        #[serde(default)]
        allow_ties: bool,
    },
    /// Share of subjects that come back.
    Retention {
        /// What starts a subject's clock: its first such event in the range.
        start: EventSelector,
        /// What counts as coming back.
        #[serde(rename = "return")]
        returning: EventSelector,
        /// Civil days after the start, 1 to 3,660.
        day: i32,
        /// What coming back means.
        #[serde(default)]
        mode: RetentionMode,
    },
    /// Median time from one event to the next other one.
    TimeToEvent {
        /// The subject's first such event in the range starts the clock.
        from: EventSelector,
        /// The first such event after it stops the clock.
        to: EventSelector,
        /// Only times up to this count; unlimited when absent.
        #[serde(default, with = "duration::option", skip_serializing_if = "Option::is_none")]
        window: Option<TimeDelta>,
    },
}

/// What a [`Definition::Unique`] counts once. In documents: `subject`,
/// `account` or `properties.x`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum DistinctOf {
    /// Resolved subjects.
    #[default]
    Subject,
    /// Accounts.
    Account,
    /// Values of a property.
    Property(String),
}

/// A text names nothing that can be counted once.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
#[error("{0:?} cannot be counted: use \"subject\", \"account\" or \"properties.x\"")]
pub struct UnknownDistinctOf(pub String);

impl FromStr for DistinctOf {
    type Err = UnknownDistinctOf;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "" | "subject" => Ok(Self::Subject),
            "account" => Ok(Self::Account),
            _ => match text.strip_prefix("properties.") {
                Some(path) if !path.is_empty() => Ok(Self::Property(path.to_owned())),
                _ => Err(UnknownDistinctOf(text.to_owned())),
            },
        }
    }
}

impl TryFrom<String> for DistinctOf {
    type Error = UnknownDistinctOf;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<DistinctOf> for String {
    fn from(of: DistinctOf) -> Self {
        of.to_string()
    }
}

impl fmt::Display for DistinctOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Subject => f.write_str("subject"),
            Self::Account => f.write_str("account"),
            Self::Property(path) => write!(f, "properties.{path}"),
        }
    }
}

/// Which first steps of a funnel start an attempt.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FunnelAnchor {
    /// Every first step; the attempt that gets furthest counts.
    #[default]
    BestAttempt,
    /// Only the subject's earliest first step in the range.
    FirstTouch,
}

/// What coming back on day n means.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RetentionMode {
    /// On exactly that civil day.
    #[default]
    On,
    /// On that civil day or later.
    OnOrAfter,
}

impl Metric {
    /// Every field that breaks a rule which can be judged from the document
    /// alone. Expressions and references are judged by
    /// [`Catalog`](crate::catalog::Catalog), which knows more.
    pub fn violations(&self) -> Violations {
        let mut found = Violations::new();
        found.line("title", &self.title);
        found.text("description", &self.description);
        found.line("owner", &self.owner);
        match &self.definition {
            None => found.push(
                "definition",
                "is required: count, unique, sum, mean, ratio, funnel, retention or time_to_event",
            ),
            Some(definition) => definition.check(&mut found),
        }
        found
    }

    /// Every event selector with its path.
    pub fn selectors(&self) -> Vec<(String, &EventSelector)> {
        self.definition.as_ref().map(Definition::selectors).unwrap_or_default()
    }

    /// Names of the metrics that this one is computed from, with their paths.
    pub fn parts(&self) -> Vec<(String, &str)> {
        match &self.definition {
            Some(Definition::Ratio { numerator, denominator }) => vec![
                ("ratio.numerator".to_owned(), numerator.as_str()),
                ("ratio.denominator".to_owned(), denominator.as_str()),
            ],
            _ => Vec::new(),
        }
    }
}

impl Definition {
    /// Its kind, as documents and fields name it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Count { .. } => "count",
            Self::Unique { .. } => "unique",
            Self::Sum { .. } => "sum",
            Self::Mean { .. } => "mean",
            Self::Ratio { .. } => "ratio",
            Self::Funnel { .. } => "funnel",
            Self::Retention { .. } => "retention",
            Self::TimeToEvent { .. } => "time_to_event",
        }
    }

    /// Whether it may stand above or below the line of a ratio.
    pub fn may_be_part_of_ratio(&self) -> bool {
        matches!(
            self,
            Self::Count { .. } | Self::Unique { .. } | Self::Sum { .. } | Self::Mean { .. }
        )
    }

    /// Whether values of adjacent windows add up, so that a value can be scaled
    /// to the length of another window.
    pub fn is_additive(&self) -> bool {
        matches!(self, Self::Count { .. } | Self::Sum { .. })
    }

    fn selectors(&self) -> Vec<(String, &EventSelector)> {
        let kind = self.kind();
        match self {
            Self::Count { event }
            | Self::Unique { event, .. }
            | Self::Sum { event, .. }
            | Self::Mean { event, .. } => vec![(format!("{kind}.event"), event)],
            Self::Ratio { .. } => Vec::new(),
            Self::Funnel { steps, .. } => steps
                .iter()
                .enumerate()
                .map(|(index, step)| (format!("{kind}.steps[{index}]"), step))
                .collect(),
            Self::Retention { start, returning, .. } => {
                vec![(format!("{kind}.start"), start), (format!("{kind}.return"), returning)]
            }
            Self::TimeToEvent { from, to, .. } => {
                vec![(format!("{kind}.from"), from), (format!("{kind}.to"), to)]
            }
        }
    }

    fn check(&self, found: &mut Violations) {
        for (path, selector) in self.selectors() {
            selector.check(found, &path);
        }
        let kind = self.kind();
        match self {
            Self::Count { .. } => {}
            Self::Unique { of, .. } => found.line(format!("{kind}.of"), &of.to_string()),
            Self::Sum { property, .. } | Self::Mean { property, .. } => {
                let path = format!("{kind}.property");
                if property_path(property).is_empty() {
                    found.push(path, "is required, for example \"amount\"");
                } else {
                    found.line(path, property);
                }
            }
            Self::Ratio { numerator, denominator } => {
                for (field, name) in [("numerator", numerator), ("denominator", denominator)] {
                    let path = format!("{kind}.{field}");
                    if name.is_empty() {
                        found.push(path, "is required: the name of a metric");
                    } else {
                        found.line(path, name);
                    }
                }
            }
            Self::Funnel { steps, window, .. } => {
                if !(2..=MAX_FUNNEL_STEPS).contains(&steps.len()) {
                    let problem =
                        format!("needs 2 to {MAX_FUNNEL_STEPS} steps, has {}", steps.len());
                    found.push(format!("{kind}.steps"), problem);
                }
                check_window(found, kind, *window);
            }
            Self::Retention { day, .. } => {
                if !(1..=MAX_RETENTION_DAY).contains(day) {
                    let problem = format!("must lie between 1 and {MAX_RETENTION_DAY}, not {day}");
                    found.push(format!("{kind}.day"), problem);
                }
            }
            Self::TimeToEvent { window, .. } => check_window(found, kind, *window),
        }
    }
}

/// The dotted path of a property, which may be written with or without
/// `properties.` before it.
pub fn property_path(property: &str) -> &str {
    property.strip_prefix("properties.").unwrap_or(property)
}

fn check_window(found: &mut Violations, kind: &str, window: Option<TimeDelta>) {
    if window.is_some_and(|window| window <= TimeDelta::zero() || window > MAX_WINDOW) {
        found.push(format!("{kind}.window"), "must be longer than nothing and at most 3660d");
    }
}

#[cfg(test)]
mod tests;
