//! The question of experiments and automations: sufficient statistics per variant after first exposure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::query::{
    Aggregate, Anchor, ConversionMeasure, ConversionSpec, EventSelector, Period, Return,
    StickinessMeasure, Ties,
};

/// Per-variant statistics of an outcome after the first exposure of each subject.
///
/// A subject whose exposures in the range name more than one variant is left out of every arm and counted in
/// [`VariantAnswer::multiple_exposures`]. An exposure without the variant property is not an exposure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VariantQuery {
    /// The exposure events.
    pub exposure: EventSelector,
    /// Dotted path of the property that names the variant; booleans read `true` and `false`.
    pub variant_property: String,
    /// Exposures from this instant on count, inclusive.
    pub from_micros: i64,
    /// Exposures before this instant count.
    pub to_micros: i64,
    /// Outcomes in `[first exposure, first exposure + window)` count; `None` is unlimited.
    pub window_micros: Option<i64>,
    /// Events at or after this instant are treated as not yet known; `None` takes everything.
    pub as_of_micros: Option<i64>,
    /// Only subjects whose window is over at `as_of` are counted; the others are reported in
    /// [`VariantAnswer::immature`]. Needs a window to have an effect.
    pub require_full_window: bool,
    /// What is measured, per subject.
    pub outcome: Outcome,
    /// Below the line of a ratio metric, per subject; [`Moments`] of both and their cross product are reported. `None`
    /// for an outcome that [brings its own](Outcome::has_denominator).
    pub denominator: Option<Outcome>,
    /// Length of the time before first exposure over which the covariate (the same outcome) is measured, in
    /// `[first exposure - pre, first exposure)`; 0 for none.
    pub pre_micros: i64,
}

/// A number per subject.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// 1 if the subject did it, else 0.
    Did {
        /// Which events.
        event: EventSelector,
    },
    /// How often.
    Count {
        /// Which events.
        event: EventSelector,
    },
    /// Sum of a numeric property; 0 when there is none.
    Sum {
        /// Which events.
        event: EventSelector,
        /// Dotted path.
        property: String,
    },
    /// Mean of a numeric property over the subject's events; 0 when there is none.
    Mean {
        /// Which events.
        event: EventSelector,
        /// Dotted path.
        property: String,
    },
    /// 1 if the subject took every step in order, else 0: also 0 for a subject that never took the first, so that
    /// everybody who was assigned is compared.
    Completed {
        /// At least one; at most 31 with the selectors of the denominator.
        steps: Vec<EventSelector>,
        /// Time from the first step within which every other step must happen, inclusive; `None` is unlimited.
        window_micros: Option<i64>,
        /// Whether the attempt that starts with the first step-1 event counts, or any.
        anchor: Anchor,
        /// Events at the same instant.
        ties: Ties,
    },
    /// 1 if the subject came back so many UTC days after its first start event, else 0. The denominator is 1 for a
    /// subject that started and whose day has begun, else 0.
    Returned {
        /// Event that starts the clock.
        start: EventSelector,
        /// Event that counts as coming back.
        returning: EventSelector,
        /// Days from the day of the start to the day of the return.
        days: u32,
        /// Exact day or unbounded.
        mode: Return,
    },
    /// Seconds from the first event of one kind to the first later one of another, 0 for a subject that did not get
    /// there. The denominator is 1 for a subject that did, else 0.
    Elapsed {
        /// Event that starts the clock.
        from: EventSelector,
        /// Event that stops it.
        to: EventSelector,
        /// Longest time that counts, inclusive; `None` is unlimited.
        window_micros: Option<i64>,
        /// Events at the same instant.
        ties: Ties,
    },
    /// In how many UTC days, weeks or months the subject was active, or 1 if the number is the wanted one, else 0.
    Active {
        /// What makes a subject active.
        event: EventSelector,
        /// Length of an interval.
        interval: Period,
        /// The number for the ratio, 1 or 0 for shares and counts.
        measure: StickinessMeasure,
    },
    /// A number over the subject's events. A count and a sum are 0 for a subject without events; a smallest and a
    /// largest number are among those who have one, for whom the denominator is 1.
    PerSubject {
        /// Which events.
        event: EventSelector,
        /// Which number.
        aggregate: Aggregate,
    },
    /// A hundred for each score of 9 and 10 less a hundred for each of 0 to 6. The denominator is the number of scores.
    Score {
        /// Which events.
        event: EventSelector,
        /// Dotted path.
        property: String,
    },
    /// Base events that a conversion was credited to; the denominator is the number of base events. Or the conversions
    /// that were credited, without denominator.
    Converted(ConversionSpec),
}

impl Outcome {
    /// Whether the outcome is a share or a mean among some of the subjects, and so says itself who is below the line.
    pub fn has_denominator(&self) -> bool {
        match self {
            Self::Returned { .. } | Self::Elapsed { .. } | Self::Score { .. } => true,
            Self::PerSubject { aggregate, .. } => {
                matches!(aggregate, Aggregate::Min(_) | Aggregate::Max(_)) || aggregate.picks_one()
            }
            Self::Converted(spec) => spec.measure == ConversionMeasure::Rate,
            Self::Did { .. }
            | Self::Count { .. }
            | Self::Sum { .. }
            | Self::Mean { .. }
            | Self::Completed { .. }
            | Self::Active { .. } => false,
        }
    }

    /// The events it is computed from, in the order of their bits.
    pub(crate) fn selectors(&self) -> Vec<&EventSelector> {
        match self {
            Self::Did { event }
            | Self::Count { event }
            | Self::Sum { event, .. }
            | Self::Mean { event, .. }
            | Self::Active { event, .. }
            | Self::PerSubject { event, .. }
            | Self::Score { event, .. } => vec![event],
            Self::Converted(spec) => vec![&spec.base, &spec.conversion],
            Self::Completed { steps, .. } => steps.iter().collect(),
            Self::Returned { start, returning, .. } => vec![start, returning],
            Self::Elapsed { from, to, .. } => vec![from, to],
        }
    }

    /// Whether the order of a subject's events matters.
    pub(crate) fn is_ordered(&self) -> bool {
        match self {
            Self::Completed { .. }
            | Self::Returned { .. }
            | Self::Elapsed { .. }
            | Self::Converted(_) => true,
            Self::PerSubject { aggregate, .. } => aggregate.picks_one(),
            Self::Did { .. }
            | Self::Count { .. }
            | Self::Sum { .. }
            | Self::Mean { .. }
            | Self::Active { .. }
            | Self::Score { .. } => false,
        }
    }
}

/// Sufficient statistics of one arm. `y` is the outcome, `d` the denominator of a ratio metric, `x` the outcome in
/// the time before exposure; absent parts are 0.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Moments {
    /// Subjects.
    pub n: u64,
    /// Sum of y.
    pub y: f64,
    /// Sum of y squared.
    pub yy: f64,
    /// Sum of d.
    pub d: f64,
    /// Sum of d squared.
    pub dd: f64,
    /// Sum of y times d.
    pub yd: f64,
    /// Sum of x.
    pub x: f64,
    /// Sum of x squared.
    pub xx: f64,
    /// Sum of x times y.
    pub xy: f64,
    /// Sum of the denominator before exposure.
    pub xd: f64,
    /// Sum of its square.
    pub xdxd: f64,
    /// Sum of x times the denominator before exposure.
    pub xxd: f64,
    /// Sum of y times the denominator before exposure.
    pub yxd: f64,
    /// Sum of d times x.
    pub dx: f64,
    /// Sum of d times the denominator before exposure.
    pub dxd: f64,
}

/// One arm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VariantStats {
    /// Value of the variant property.
    pub variant: String,
    /// Sufficient statistics over the subjects of the arm.
    pub moments: Moments,
    /// First exposures per UTC day (days since the epoch), for the course of the experiment.
    pub exposures_by_day: BTreeMap<i64, u64>,
}

/// The answer to a [`VariantQuery`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VariantAnswer {
    /// Arms by name.
    pub variants: Vec<VariantStats>,
    /// Subjects that saw more than one variant.
    pub multiple_exposures: u64,
    /// Subjects left out because their window is not over.
    pub immature: u64,
    /// Exposure events without the variant property.
    pub exposures_without_variant: u64,
    /// Events that were looked at.
    pub events_scanned: u64,
    /// Highest log position that the answer covers.
    pub watermark: i64,
}
