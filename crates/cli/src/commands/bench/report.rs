//! What was measured, against what was asked for.

use serde::{Serialize, Serializer};

use crate::output;

/// Everything that was measured, in order.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    results: Vec<Measured>,
}

/// One number.
#[derive(Debug, Serialize)]
pub(super) struct Measured {
    name: String,
    value: f64,
    unit: Unit,
    /// Of what it is measured against, the floor or the disk.
    ratio: Option<f64>,
    /// Bound of the ratio, or of the value when it has none.
    target: Option<f64>,
    met: Option<bool>,
}

/// Units.
#[derive(Clone, Copy, Debug)]
pub(super) enum Unit {
    EventsPerSecond,
    BytesPerEvent,
    MicrosPerEvent,
    NanosPerEvent,
    Micros,
    Millis,
    Mebibytes,
    Times,
}

impl Unit {
    fn as_str(self) -> &'static str {
        match self {
            Self::EventsPerSecond => "events/s",
            Self::BytesPerEvent => "bytes/event",
            Self::MicrosPerEvent => "us/event",
            Self::NanosPerEvent => "ns/event",
            Self::Micros => "us",
            Self::Millis => "ms",
            Self::Mebibytes => "MiB",
            Self::Times => "x",
        }
    }
}

impl Serialize for Unit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A bound.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target {
    AtLeast(f64),
    AtMost(f64),
}

/// The number may not be smaller.
pub(super) fn at_least(bound: f64) -> Target {
    Target::AtLeast(bound)
}

/// The number may not be larger.
pub(super) fn at_most(bound: f64) -> Target {
    Target::AtMost(bound)
}

impl Measured {
    pub(super) fn new(name: impl Into<String>, value: f64, unit: Unit) -> Self {
        Self { name: name.into(), value, unit, ratio: None, target: None, met: None }
    }

    pub(super) fn against(mut self, other: f64) -> Self {
        self.ratio = Some(self.value / other);
        self
    }

    /// Sets the ratio where it is not that of the value to another.
    pub(super) fn ratio(mut self, ratio: f64) -> Self {
        self.ratio = Some(ratio);
        self
    }

    pub(super) fn target(mut self, target: Target, found: f64) -> Self {
        let (bound, met) = match target {
            Target::AtLeast(bound) => (bound, found >= bound),
            Target::AtMost(bound) => (bound, found <= bound),
        };
        self.target = Some(bound);
        self.met = Some(met);
        self
    }
}

impl Report {
    pub(super) fn add(&mut self, name: impl Into<String>, value: f64, unit: Unit) {
        self.push(Measured::new(name, value, unit));
    }

    pub(super) fn push(&mut self, measured: Measured) {
        self.results.push(measured);
    }

    /// Prints a table.
    pub(super) fn print(&self) -> anyhow::Result<()> {
        let rows = self.results.iter().map(|measured| {
            [
                measured.name.clone(),
                // Three digits are more than the noise leaves.
                output::number(if measured.value >= 1000.0 {
                    measured.value.round()
                } else {
                    (measured.value * 100.0).round() / 100.0
                }),
                measured.unit.as_str().to_owned(),
                measured.ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
                measured.target.map(|target| format!("{target:.2}")).unwrap_or_default(),
                match measured.met {
                    None => String::new(),
                    Some(true) => "met".to_owned(),
                    Some(false) => "MISSED".to_owned(),
                },
            ]
        });
        let header = ["measured", "value", "unit", "ratio", "target", ""];
        output::line(output::table(&header, rows))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_met_from_its_side() {
        let met = |target, found| {
            Measured::new("a", found, Unit::Times).target(target, found).met.unwrap()
        };
        assert!(met(at_least(0.6), 0.6) && !met(at_least(0.6), 0.59));
        assert!(met(at_most(3.0), 3.0) && !met(at_most(3.0), 3.1));
    }

    #[test]
    fn the_document_has_the_fields_that_scripts_read() {
        let mut report = Report::default();
        report.push(Measured::new("a", 3.0, Unit::EventsPerSecond).against(6.0));
        assert_eq!(
            serde_json::to_value(&report).unwrap(),
            serde_json::json!({"results": [{
                "name": "a", "value": 3.0, "unit": "events/s",
                "ratio": 0.5, "target": null, "met": null,
            }]})
        );
    }
}
