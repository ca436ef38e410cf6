//! The question of experiments and automations: sufficient statistics per variant after first exposure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::query::EventSelector;

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
    /// Below the line of a ratio metric, per subject; [`Moments`] of both and their cross product are reported.
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
