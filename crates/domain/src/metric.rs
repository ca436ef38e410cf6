//! Metrics: definitions of how a number is computed from events.

mod check;
mod input;
mod options;
mod selector;

use std::fmt;
use std::str::FromStr;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::span::Span;
use crate::{Violations, duration};

pub use input::{ConstantProperty, DerivedInput, MetricInput};
pub use options::{
    Calculation, CalendarGrain, CumulativePoint, Interval, LifecycleState, StickinessMeasure,
    StickinessMode, SubjectAggregate, TimeStatistic,
};
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
        #[serde(default)]
        event: EventSelector,
        /// What is counted once.
        #[serde(default)]
        of: DistinctOf,
        /// Name of the activity that makes a subject count, instead of events.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        activity: String,
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
    /// Smallest value of a numeric property.
    Min {
        /// The events looked at.
        event: EventSelector,
        /// Property, for example `amount`.
        property: String,
    },
    /// Largest value of a numeric property.
    Max {
        /// The events looked at.
        event: EventSelector,
        /// Property, for example `amount`.
        property: String,
    },
    /// A percentile of a numeric property over the events that have it.
    Percentile {
        /// The events looked at.
        event: EventSelector,
        /// Property, for example `duration_ms`.
        property: String,
        /// Which, between 0 and 100, for example 95.
        percentile: f64,
        /// Estimate it with a t-digest of bounded size.
        #[serde(default)]
        approximate: bool,
    },
    /// One metric divided by another, bucket by bucket.
    Ratio {
        /// The metric above the line.
        numerator: MetricInput,
        /// The metric below the line.
        denominator: MetricInput,
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
        /// Which figure of the times is the value.
        #[serde(default, skip_serializing_if = "TimeStatistic::is_median")]
        statistic: TimeStatistic,
    },
    /// In how many intervals of a period subjects are active.
    Stickiness {
        /// What makes a subject active.
        #[serde(default, skip_serializing_if = "EventSelector::is_any")]
        event: EventSelector,
        /// Name of the activity that does, instead of events. Without either it is
        /// the project's default activity or, without one, any event.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        activity: String,
        /// Length of an interval.
        #[serde(default)]
        interval: Interval,
        /// Which figure is the value.
        #[serde(default)]
        measure: StickinessMeasure,
        /// The wanted number of intervals, for shares and counts, 1 to 366.
        #[serde(default, skip_serializing_if = "is_zero")]
        intervals: i32,
        /// Whether more intervals are wanted, too.
        #[serde(default)]
        mode: StickinessMode,
    },
    /// Number of subjects that are new, returning, resurrecting or dormant.
    Lifecycle {
        /// What makes a subject active.
        #[serde(default, skip_serializing_if = "EventSelector::is_any")]
        event: EventSelector,
        /// Name of the activity that does, instead of events. Without either it is
        /// the project's default activity or, without one, any event.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        activity: String,
        /// Whose number is the value.
        state: LifecycleState,
    },
    /// A metric over a window that ends with each bucket.
    Cumulative {
        /// A count, unique, sum, mean, min, max, percentile or NPS.
        metric: MetricInput,
        /// How far the window goes back; without it and `grain_to_date`, to the
        /// first event.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        window: Option<Span>,
        /// The window begins with the week, month, quarter or year.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        grain_to_date: Option<CalendarGrain>,
        /// Whether it ends with the bucket or before it.
        #[serde(default)]
        at: CumulativePoint,
    },
    /// Base events that lead to a conversion within a window.
    Conversion {
        /// What may lead to a conversion.
        base: EventSelector,
        /// The conversion, credited to the nearest base event before it.
        conversion: EventSelector,
        /// Time from base to conversion, exclusive; unlimited when absent.
        #[serde(default, with = "duration::option", skip_serializing_if = "Option::is_none")]
        window: Option<TimeDelta>,
        /// Which figure is the value.
        #[serde(default)]
        calculation: Calculation,
        /// Properties that base and conversion must have in common.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        constant_properties: Vec<ConstantProperty>,
    },
    /// An expression over other metrics.
    Derived {
        /// CEL arithmetic over the aliases of the inputs.
        expression: String,
        /// What it reads.
        inputs: Vec<DerivedInput>,
    },
    /// A number per subject, over the subjects.
    PerSubject {
        /// The events looked at.
        event: EventSelector,
        /// The number of a subject.
        aggregate: SubjectAggregate,
        /// Property, unless events are counted.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        property: String,
        /// Which figure over the subjects is the value.
        #[serde(default = "TimeStatistic::mean")]
        statistic: TimeStatistic,
    },
    /// Net promoter score: the percentage of scores of 9 and 10 minus that of 0
    /// to 6.
    Nps {
        /// The answers.
        event: EventSelector,
        /// Property with a score from 0 to 10.
        property: String,
    },
}

fn is_zero(number: &i32) -> bool {
    *number == 0
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
                "is required: count, unique, sum, mean, min, max, percentile, ratio, funnel, \
                 retention, time_to_event, stickiness, lifecycle, cumulative, conversion, derived, \
                 per_subject or nps",
            ),
            Some(definition) => definition.check(&mut found),
        }
        found
    }

    /// The kind of its definition; empty without one.
    pub fn kind(&self) -> &'static str {
        self.definition.as_ref().map_or("", Definition::kind)
    }

    /// Every event selector with its path.
    pub fn selectors(&self) -> Vec<(String, &EventSelector)> {
        self.definition.as_ref().map(Definition::selectors).unwrap_or_default()
    }

    /// The metrics that this one is computed from, with their paths.
    pub fn parts(&self) -> Vec<(String, &MetricInput)> {
        self.definition.as_ref().map(Definition::parts).unwrap_or_default()
    }

    /// Names of the properties it reads, as dotted paths; those of its filters
    /// are not among them.
    pub fn properties(&self) -> Vec<&str> {
        let named = match &self.definition {
            Some(
                Definition::Sum { property, .. }
                | Definition::Mean { property, .. }
                | Definition::Min { property, .. }
                | Definition::Max { property, .. }
                | Definition::Percentile { property, .. }
                | Definition::PerSubject { property, .. }
                | Definition::Nps { property, .. },
            ) => vec![property.as_str()],
            Some(Definition::Unique { of: DistinctOf::Property(path), .. }) => vec![path.as_str()],
            Some(Definition::Conversion { constant_properties, .. }) => constant_properties
                .iter()
                .flat_map(|pair| [pair.base_property.as_str(), pair.conversion_property.as_str()])
                .collect(),
            _ => Vec::new(),
        };
        named.into_iter().map(property_path).filter(|path| !path.is_empty()).collect()
    }

    /// Every filter, with its path: those of the selectors and those of the parts.
    pub fn filters(&self) -> Vec<(String, &str)> {
        let selectors = self.selectors().into_iter();
        let selectors = selectors.map(|(path, selector)| (path, selector.filter.as_str()));
        let parts = self.parts().into_iter();
        let parts = parts.map(|(path, part)| (path, part.filter.as_str()));
        selectors
            .chain(parts)
            .filter(|(_, filter)| !filter.trim().is_empty())
            .map(|(path, filter)| (format!("{path}.filter"), filter))
            .collect()
    }

    /// Name of the activity it refers to.
    pub fn activity(&self) -> Option<&str> {
        match &self.definition {
            Some(
                Definition::Unique { activity, .. }
                | Definition::Stickiness { activity, .. }
                | Definition::Lifecycle { activity, .. },
            ) => Some(activity.as_str()).filter(|name| !name.is_empty()),
            _ => None,
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
            Self::Min { .. } => "min",
            Self::Max { .. } => "max",
            Self::Percentile { .. } => "percentile",
            Self::Ratio { .. } => "ratio",
            Self::Funnel { .. } => "funnel",
            Self::Retention { .. } => "retention",
            Self::TimeToEvent { .. } => "time_to_event",
            Self::Stickiness { .. } => "stickiness",
            Self::Lifecycle { .. } => "lifecycle",
            Self::Cumulative { .. } => "cumulative",
            Self::Conversion { .. } => "conversion",
            Self::Derived { .. } => "derived",
            Self::PerSubject { .. } => "per_subject",
            Self::Nps { .. } => "nps",
        }
    }

    /// Whether it is computed event by event, or subject by subject, so that it
    /// can be computed over windows that overlap.
    pub fn can_accumulate(&self) -> bool {
        matches!(
            self,
            Self::Count { .. }
                | Self::Unique { .. }
                | Self::Sum { .. }
                | Self::Mean { .. }
                | Self::Min { .. }
                | Self::Max { .. }
                | Self::Percentile { .. }
                | Self::Nps { .. }
                | Self::PerSubject { .. }
        )
    }

    /// Whether values of adjacent windows, and of the groups of a breakdown, add
    /// up, so that a value can be scaled to the length of another window.
    pub fn is_additive(&self) -> bool {
        matches!(self, Self::Count { .. } | Self::Sum { .. })
    }

    fn selectors(&self) -> Vec<(String, &EventSelector)> {
        let kind = self.kind();
        match self {
            Self::Count { event }
            | Self::Unique { event, .. }
            | Self::Sum { event, .. }
            | Self::Mean { event, .. }
            | Self::Min { event, .. }
            | Self::Max { event, .. }
            | Self::Percentile { event, .. }
            | Self::Stickiness { event, .. }
            | Self::Lifecycle { event, .. }
            | Self::PerSubject { event, .. }
            | Self::Nps { event, .. } => vec![(format!("{kind}.event"), event)],
            Self::Ratio { .. } | Self::Cumulative { .. } | Self::Derived { .. } => Vec::new(),
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
            Self::Conversion { base, conversion, .. } => {
                vec![(format!("{kind}.base"), base), (format!("{kind}.conversion"), conversion)]
            }
        }
    }

    fn parts(&self) -> Vec<(String, &MetricInput)> {
        match self {
            Self::Ratio { numerator, denominator } => vec![
                ("ratio.numerator".to_owned(), numerator),
                ("ratio.denominator".to_owned(), denominator),
            ],
            Self::Cumulative { metric, .. } => vec![("cumulative.metric".to_owned(), metric)],
            Self::Derived { inputs, .. } => inputs
                .iter()
                .enumerate()
                .map(|(index, input)| (format!("derived.inputs[{index}]"), &input.metric))
                .collect(),
            _ => Vec::new(),
        }
    }
}

/// The dotted path of a property, which may be written with or without
/// `properties.` before it.
pub fn property_path(property: &str) -> &str {
    property.strip_prefix("properties.").unwrap_or(property)
}

#[cfg(test)]
mod tests;
