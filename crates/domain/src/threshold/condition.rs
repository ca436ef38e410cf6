//! What a value is judged by.

use serde::{Deserialize, Serialize};

use crate::Violations;

/// What must hold of a value for a breach, and of one that ends it. A value on
/// the line is no breach. Between the two levels nothing changes: what breached
/// has not recovered, and what has recovered does not breach.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Condition {
    /// The value is above a level.
    Above {
        /// The level.
        value: f64,
        /// Recovered at or below this; the level itself when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        clear: Option<f64>,
    },
    /// The value is below a level.
    Below {
        /// The level.
        value: f64,
        /// Recovered at or above this; the level itself when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        clear: Option<f64>,
    },
    /// The value is outside bounds.
    Outside {
        /// Lower bound.
        low: f64,
        /// Upper bound.
        high: f64,
        /// Recovered at or above this; the lower bound when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        clear_low: Option<f64>,
        /// Recovered at or below this; the upper bound when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        clear_high: Option<f64>,
    },
    /// The value is more than an amount above what it is compared with.
    Increase {
        /// How much.
        amount: f64,
        /// Whether the amount is a share of what it is compared with.
        #[serde(default)]
        scale: Scale,
        /// What it is compared with.
        #[serde(default)]
        versus: Versus,
        /// Recovered when the increase is at most this; the amount when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        clear: Option<f64>,
    },
    /// The value is more than an amount below what it is compared with.
    Decrease {
        /// How much.
        amount: f64,
        /// Whether the amount is a share of what it is compared with.
        #[serde(default)]
        scale: Scale,
        /// What it is compared with.
        #[serde(default)]
        versus: Versus,
        /// Recovered when the decrease is at most this; the amount when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        clear: Option<f64>,
    },
    /// The value strays from what the buckets before it lead to expect.
    Anomaly {
        /// By more than so many robust standard deviations.
        #[serde(default = "usual_deviations")]
        deviations: f64,
        /// Which way.
        #[serde(default)]
        direction: Stray,
        /// And by more than this share of what was expected, however steady the past was.
        #[serde(default, skip_serializing_if = "is_zero")]
        minimum_change: f64,
        /// Recovered within so many deviations; as many as breach when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        clear: Option<f64>,
    },
}

/// Robust standard deviations beyond which a value is an anomaly: Iglewicz & Hoaglin (1993), "How to Detect and Handle
/// Outliers".
pub const USUAL_DEVIATIONS: f64 = 3.5;

fn usual_deviations() -> f64 {
    USUAL_DEVIATIONS
}

fn is_zero(number: &f64) -> bool {
    *number == 0.0
}

/// Which way a value strays from what was expected.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stray {
    /// Either way.
    #[default]
    Both,
    /// Above.
    Up,
    /// Below.
    Down,
}

impl Stray {
    /// How far a value strays that way; below zero the other.
    fn of(self, value: f64, expected: f64) -> f64 {
        match self {
            Self::Both => (value - expected).abs(),
            Self::Up => value - expected,
            Self::Down => expected - value,
        }
    }
}

/// What a value is held against.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reference {
    /// What a change is measured from, or what was expected.
    pub value: Option<f64>,
    /// How far the past of an anomaly strayed, as a robust standard deviation.
    pub spread: Option<f64>,
}

/// How an amount is meant.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// In the unit of the value.
    #[default]
    Absolute,
    /// As a share of what the value is compared with, for example 0.1.
    Relative,
}

/// What a change is measured from.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Versus {
    /// The period of the same length before.
    #[default]
    Previous,
    /// The baseline of the KPI.
    Baseline,
    /// The target of the KPI.
    Target,
}

/// What a value says of a condition.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reading {
    /// It breaches.
    Breached,
    /// Neither a breach nor recovered.
    Between,
    /// It is on the good side.
    Clear,
    /// It says nothing: it is missing, not complete or rests on too little.
    Unknown,
}

impl Condition {
    /// What a change is measured from, where a change is judged.
    pub fn versus(&self) -> Option<Versus> {
        match self {
            Self::Increase { versus, .. } | Self::Decrease { versus, .. } => Some(*versus),
            Self::Above { .. }
            | Self::Below { .. }
            | Self::Outside { .. }
            | Self::Anomaly { .. } => None,
        }
    }

    /// Judges a value. A change from nothing is measured against nothing: of a
    /// reference of zero, every increase is more than any share.
    pub fn read(&self, value: Option<f64>, reference: Reference) -> Reading {
        let Some(value) = value.filter(|value| value.is_finite()) else { return Reading::Unknown };
        let Reference { value: reference, spread } = reference;
        match *self {
            Self::Above { value: level, clear } => {
                levels(value > level, value <= clear.unwrap_or(level))
            }
            Self::Below { value: level, clear } => {
                levels(value < level, value >= clear.unwrap_or(level))
            }
            Self::Outside { low, high, clear_low, clear_high } => levels(
                value < low || value > high,
                value >= clear_low.unwrap_or(low) && value <= clear_high.unwrap_or(high),
            ),
            Self::Increase { amount, scale, clear, .. } => {
                let change = |reference: f64| value - reference;
                changed(reference, change, amount, clear, scale)
            }
            Self::Decrease { amount, scale, clear, .. } => {
                let change = |reference: f64| reference - value;
                changed(reference, change, amount, clear, scale)
            }
            Self::Anomaly { deviations, direction, minimum_change, clear } => {
                let (Some(expected), Some(spread)) = (reference, spread) else {
                    return Reading::Unknown;
                };
                let stray = direction.of(value, expected);
                let width = |times: f64| (times * spread).max(minimum_change * expected.abs());
                levels(stray > width(deviations), stray <= width(clear.unwrap_or(deviations)))
            }
        }
    }

    /// How far a value is on the bad side, for choosing the worst of several:
    /// larger is worse.
    pub fn severity(&self, value: Option<f64>, reference: Reference) -> f64 {
        let Some(value) = value else { return f64::NEG_INFINITY };
        let Reference { value: reference, spread } = reference;
        let relative = |change: f64, scale: Scale| match (scale, reference) {
            (_, None) => f64::NEG_INFINITY,
            (Scale::Absolute, Some(_)) => change,
            (Scale::Relative, Some(0.0)) => change * f64::MAX.sqrt(),
            (Scale::Relative, Some(reference)) => change / reference.abs(),
        };
        let from = reference.unwrap_or_default();
        match *self {
            Self::Above { value: level, .. } => value - level,
            Self::Below { value: level, .. } => level - value,
            Self::Outside { low, high, .. } => (low - value).max(value - high),
            Self::Increase { scale, .. } => relative(value - from, scale),
            Self::Decrease { scale, .. } => relative(from - value, scale),
            Self::Anomaly { direction, .. } => match (reference, spread) {
                (Some(expected), Some(0.0)) => direction.of(value, expected) * f64::MAX.sqrt(),
                (Some(expected), Some(spread)) => direction.of(value, expected) / spread,
                _ => f64::NEG_INFINITY,
            },
        }
    }

    /// The condition in words, for summaries: `below 0.2`.
    pub fn describe(&self) -> String {
        let change = |word: &str, amount: f64, scale: Scale, versus: Versus| {
            let amount = match scale {
                Scale::Absolute => format!("{amount}"),
                Scale::Relative => format!("{} %", tidy(amount * 100.0)),
            };
            let versus = match versus {
                Versus::Previous => "the period before",
                Versus::Baseline => "the baseline",
                Versus::Target => "the target",
            };
            format!("{word} by more than {amount} from {versus}")
        };
        match *self {
            Self::Above { value, .. } => format!("above {value}"),
            Self::Below { value, .. } => format!("below {value}"),
            Self::Outside { low, high, .. } => format!("outside {low} to {high}"),
            Self::Increase { amount, scale, versus, .. } => {
                change("increased", amount, scale, versus)
            }
            Self::Decrease { amount, scale, versus, .. } => {
                change("decreased", amount, scale, versus)
            }
            Self::Anomaly { deviations, direction, .. } => {
                let way = match direction {
                    Stray::Both => "away from",
                    Stray::Up => "above",
                    Stray::Down => "below",
                };
                format!(
                    "more than {deviations} robust standard deviations {way} what its past leads \
                     to expect"
                )
            }
        }
    }

    pub(super) fn check(&self, found: &mut Violations) {
        let mut number = |field: &str, value: f64| {
            if !value.is_finite() {
                found.push(format!("condition.{field}"), "must be a finite number");
            }
        };
        match *self {
            Self::Above { value, clear } | Self::Below { value, clear } => {
                number("value", value);
                number("clear", clear.unwrap_or_default());
            }
            Self::Outside { low, high, clear_low, clear_high } => {
                number("low", low);
                number("high", high);
                number("clear_low", clear_low.unwrap_or_default());
                number("clear_high", clear_high.unwrap_or_default());
            }
            Self::Increase { amount, clear, .. } | Self::Decrease { amount, clear, .. } => {
                number("amount", amount);
                number("clear", clear.unwrap_or_default());
            }
            Self::Anomaly { deviations, minimum_change, clear, .. } => {
                number("deviations", deviations);
                number("minimum_change", minimum_change);
                number("clear", clear.unwrap_or_default());
            }
        }
        self.check_order(found);
    }

    /// A value that recovers must not breach.
    fn check_order(&self, found: &mut Violations) {
        let mut order = |holds: bool, field: &str, problem: &str| {
            found.require(holds, &format!("condition.{field}"), problem);
        };
        match *self {
            Self::Above { value, clear } => {
                order(clear.is_none_or(|clear| clear <= value), "clear", "must not be above value");
            }
            Self::Below { value, clear } => {
                order(clear.is_none_or(|clear| clear >= value), "clear", "must not be below value");
            }
            Self::Outside { low, high, clear_low, clear_high } => {
                order(low < high, "high", "must be above low");
                let (inner_low, inner_high) =
                    (clear_low.unwrap_or(low), clear_high.unwrap_or(high));
                order(inner_low >= low, "clear_low", "must not be below low");
                order(inner_high <= high, "clear_high", "must not be above high");
                order(inner_low <= inner_high, "clear_high", "must not be below clear_low");
            }
            Self::Increase { amount, clear, .. } | Self::Decrease { amount, clear, .. } => {
                order(amount >= 0.0, "amount", "must not be negative");
                let below = clear.is_none_or(|clear| clear <= amount);
                order(below, "clear", "must not be more than amount");
            }
            Self::Anomaly { deviations, minimum_change, clear, .. } => {
                order(deviations > 0.0, "deviations", "must be above 0, for example 3.5");
                order(minimum_change >= 0.0, "minimum_change", "must not be negative");
                let within = clear.is_none_or(|clear| (0.0..=deviations).contains(&clear));
                order(within, "clear", "must lie between 0 and deviations");
            }
        }
    }
}

fn levels(breached: bool, clear: bool) -> Reading {
    if breached {
        Reading::Breached
    } else if clear {
        Reading::Clear
    } else {
        Reading::Between
    }
}

fn changed(
    reference: Option<f64>,
    change: impl Fn(f64) -> f64,
    amount: f64,
    clear: Option<f64>,
    scale: Scale,
) -> Reading {
    let Some(reference) = reference.filter(|reference| reference.is_finite()) else {
        return Reading::Unknown;
    };
    let unit = match scale {
        Scale::Absolute => 1.0,
        Scale::Relative => reference.abs(),
    };
    let change = change(reference);
    levels(change > amount * unit, change <= clear.unwrap_or(amount) * unit)
}

/// Twelve significant digits are what a person wrote; the rest is binary.
fn tidy(value: f64) -> f64 {
    format!("{value:.11e}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BELOW: Condition = Condition::Below { value: 0.2, clear: Some(0.25) };
    const DROP: Condition = Condition::Decrease {
        amount: 0.1,
        scale: Scale::Relative,
        versus: Versus::Previous,
        clear: None,
    };

    fn from(value: f64) -> Reference {
        Reference { value: Some(value), spread: None }
    }

    #[test]
    fn a_value_on_the_line_is_no_breach_and_between_the_levels_nothing_changes() {
        let read = |value| BELOW.read(Some(value), Reference::default());
        assert_eq!(
            [read(0.19), read(0.2), read(0.249), read(0.25)],
            [Reading::Breached, Reading::Between, Reading::Between, Reading::Clear]
        );
        assert_eq!(BELOW.read(None, Reference::default()), Reading::Unknown);
        assert_eq!(BELOW.read(Some(f64::NAN), Reference::default()), Reading::Unknown);
    }

    #[test]
    fn a_relative_change_is_a_share_of_what_it_is_compared_with() {
        assert_eq!(DROP.read(Some(89.0), from(100.0)), Reading::Breached);
        assert_eq!(DROP.read(Some(90.0), from(100.0)), Reading::Clear);
        assert_eq!(DROP.read(Some(90.0), Reference::default()), Reading::Unknown);
        // From nothing, any move is more than any share of it.
        assert_eq!(DROP.read(Some(-1.0), from(0.0)), Reading::Breached);
        assert_eq!(DROP.read(Some(0.0), from(0.0)), Reading::Clear);
        // A negative value that becomes more negative has decreased.
        assert_eq!(DROP.read(Some(-120.0), from(-100.0)), Reading::Breached);
    }

    #[test]
    fn the_worst_of_several_is_the_one_that_is_furthest_out() {
        let outside = Condition::Outside { low: 1.0, high: 3.0, clear_low: None, clear_high: None };
        let severity = |value: f64| outside.severity(Some(value), Reference::default());
        assert!(severity(5.0) > severity(0.0) && severity(0.0) > severity(2.0));
        assert!(DROP.severity(Some(10.0), from(100.0)) > DROP.severity(Some(800.0), from(1_000.0)));
    }

    #[test]
    fn levels_that_contradict_each_other_are_refused() {
        let problems = |condition: Condition| {
            let mut found = Violations::new();
            condition.check(&mut found);
            found.into_iter().map(|violation| violation.field).collect::<Vec<_>>()
        };
        assert!(problems(BELOW).is_empty());
        let above = Condition::Above { value: 1.0, clear: Some(2.0) };
        assert_eq!(problems(above), ["condition.clear"]);
        let outside = Condition::Outside { low: 3.0, high: 1.0, clear_low: None, clear_high: None };
        assert_eq!(problems(outside), ["condition.high", "condition.clear_high"]);
        let nan = Condition::Above { value: f64::NAN, clear: None };
        assert_eq!(problems(nan), ["condition.value"]);
    }

    #[test]
    fn a_condition_reads_as_people_write_it() {
        let condition: Condition = serde_norway::from_str(
            "{type: decrease, amount: 0.1, scale: relative, versus: baseline}",
        )
        .unwrap();
        assert_eq!(condition.describe(), "decreased by more than 10 % from the baseline");
        assert_eq!(BELOW.describe(), "below 0.2");
    }
}
