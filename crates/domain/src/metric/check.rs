//! The rules that a definition keeps by itself.

use chrono::TimeDelta;

use super::{
    CalendarGrain, Definition, DerivedInput, MAX_FUNNEL_STEPS, MAX_RETENTION_DAY, MAX_WINDOW,
    MetricInput, StickinessMeasure, SubjectAggregate, property_path,
};
use crate::Violations;
use crate::metric::selector::MAX_FILTER;

/// Most inputs of a derived metric.
const MAX_INPUTS: usize = 32;
/// Longest expression of a derived metric, in bytes.
const MAX_EXPRESSION: usize = 4_096;
/// Most properties that a conversion holds constant.
const MAX_CONSTANTS: usize = 8;
/// Most intervals of stickiness that can be wanted.
const MAX_INTERVALS: i32 = 366;

impl Definition {
    pub(super) fn check(&self, found: &mut Violations) {
        for (path, selector) in self.selectors() {
            selector.check(found, &path);
        }
        for (path, part) in self.parts() {
            check_part(found, &path, part);
        }
        let kind = self.kind();
        match self {
            Self::Count { .. } | Self::Ratio { .. } => {}
            Self::Unique { event, of, activity } => {
                found.line(format!("{kind}.of"), &of.to_string());
                check_activity(found, kind, event.is_any(), activity);
            }
            Self::Sum { property, .. }
            | Self::Mean { property, .. }
            | Self::Min { property, .. }
            | Self::Max { property, .. }
            | Self::Nps { property, .. } => check_property(found, kind, property),
            Self::Percentile { property, percentile, .. } => {
                check_property(found, kind, property);
                if !(*percentile > 0.0 && *percentile < 100.0) {
                    let problem = format!(
                        "must lie above 0 and below 100, not {percentile}; min and max are metrics of their own"
                    );
                    found.push(format!("{kind}.percentile"), problem);
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
            Self::Stickiness { event, activity, measure, intervals, .. } => {
                check_activity(found, kind, event.is_any(), activity);
                let path = format!("{kind}.intervals");
                match measure {
                    StickinessMeasure::Ratio if *intervals != 0 => {
                        found.push(path, "is for shares and counts; leave it out of a ratio");
                    }
                    StickinessMeasure::Share | StickinessMeasure::Count
                        if !(1..=MAX_INTERVALS).contains(intervals) =>
                    {
                        found.push(path, format!("must lie between 1 and {MAX_INTERVALS}"));
                    }
                    _ => {}
                }
            }
            Self::Lifecycle { event, activity, .. } => {
                check_activity(found, kind, event.is_any(), activity);
            }
            Self::Cumulative { window, grain_to_date, .. } => {
                if window.is_some() && grain_to_date.is_some() {
                    let problem = "cannot stand beside window: a window goes back or begins with a \
                                   period";
                    found.push(format!("{kind}.grain_to_date"), problem);
                }
                if *grain_to_date == Some(CalendarGrain::Day) {
                    let problem = "must be week, month, quarter or year";
                    found.push(format!("{kind}.grain_to_date"), problem);
                }
            }
            Self::Conversion { window, constant_properties, .. } => {
                check_window(found, kind, *window);
                if constant_properties.len() > MAX_CONSTANTS {
                    let problem = format!("at most {MAX_CONSTANTS} are allowed");
                    found.push(format!("{kind}.constant_properties"), problem);
                }
                for (index, pair) in constant_properties.iter().enumerate() {
                    for (field, property) in [
                        ("base_property", &pair.base_property),
                        ("conversion_property", &pair.conversion_property),
                    ] {
                        let path = format!("{kind}.constant_properties[{index}].{field}");
                        check_path(found, path, property, "plan");
                    }
                }
            }
            Self::Derived { expression, inputs } => check_derived(found, kind, expression, inputs),
            Self::PerSubject { aggregate, property, .. } => match aggregate {
                SubjectAggregate::Count if !property.is_empty() => {
                    let problem = "is for sum, min, max, first and last; leave it out of a count";
                    found.push(format!("{kind}.property"), problem);
                }
                SubjectAggregate::Count => {}
                SubjectAggregate::Sum
                | SubjectAggregate::Min
                | SubjectAggregate::Max
                | SubjectAggregate::First
                | SubjectAggregate::Last => {
                    check_property(found, kind, property);
                }
            },
        }
    }
}

fn check_derived(found: &mut Violations, kind: &str, expression: &str, inputs: &[DerivedInput]) {
    let path = format!("{kind}.expression");
    if expression.trim().is_empty() {
        found.push(path, "is required: CEL arithmetic over the aliases of the inputs");
    } else if expression.len() > MAX_EXPRESSION || expression.contains('\0') {
        found.push(path, format!("must be at most {MAX_EXPRESSION} bytes, none of them zero"));
    }
    if inputs.is_empty() || inputs.len() > MAX_INPUTS {
        let problem = format!("needs 1 to {MAX_INPUTS} inputs, has {}", inputs.len());
        found.push(format!("{kind}.inputs"), problem);
    }
    for (index, input) in inputs.iter().enumerate() {
        let path = format!("{kind}.inputs[{index}]");
        let alias = input.alias();
        if !alias.is_empty() && !is_alias(alias) {
            let problem = format!(
                "{alias:?} cannot stand in an expression: give an alias of letters, digits and \
                 underscores that begins with a letter"
            );
            found.push(format!("{path}.alias"), problem);
        } else if inputs[..index].iter().any(|other| other.alias() == alias) {
            found.push(format!("{path}.alias"), format!("{alias:?} is the alias of another input"));
        }
        if input.offset_window.is_some() && input.offset_to_grain.is_some() {
            let problem = "cannot stand beside offset_window";
            found.push(format!("{path}.offset_to_grain"), problem);
        }
    }
}

/// Whether a text can name a value in CEL.
fn is_alias(text: &str) -> bool {
    const RESERVED: [&str; 4] = ["true", "false", "null", "in"];
    text.len() <= 63
        && text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !RESERVED.contains(&text)
}

fn check_part(found: &mut Violations, path: &str, part: &MetricInput) {
    if part.metric.is_empty() {
        found.push(path, "is required: the name of a metric");
    } else {
        found.line(path, &part.metric);
    }
    if part.filter.len() > MAX_FILTER || part.filter.contains('\0') {
        let problem = format!("must be at most {MAX_FILTER} bytes, none of them zero");
        found.push(format!("{path}.filter"), problem);
    }
}

fn check_activity(found: &mut Violations, kind: &str, any_event: bool, activity: &str) {
    let path = format!("{kind}.activity");
    if !any_event && !activity.is_empty() {
        found.push(path, "cannot stand beside event: an activity says which events count");
    } else {
        found.line(path, activity);
    }
}

fn check_property(found: &mut Violations, kind: &str, property: &str) {
    check_path(found, format!("{kind}.property"), property, "amount");
}

fn check_path(found: &mut Violations, path: String, property: &str, example: &str) {
    if property_path(property).is_empty() {
        found.push(path, format!("is required, for example \"{example}\""));
    } else {
        found.line(path, property);
    }
}

fn check_window(found: &mut Violations, kind: &str, window: Option<TimeDelta>) {
    if window.is_some_and(|window| window <= TimeDelta::zero() || window > MAX_WINDOW) {
        found.push(format!("{kind}.window"), "must be longer than nothing and at most 3660d");
    }
}
