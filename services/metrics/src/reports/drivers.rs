//! Why a KPI moved: which values of which dimension make up the change, and which
//! KPIs that drive it moved with it.

use std::collections::BTreeMap;

use northstar_domain::kpi::Window;
use northstar_domain::metric::Definition;
use northstar_domain::report::{
    self, Amount, Composition, Contribution, Part, contributions, explains, number,
};
use northstar_domain::timestamp;
use northstar_engine::{Dimension, Filter, Grain, Query, Row};
use northstar_proto::metrics::v1 as pb;

use crate::Result;
use crate::dataset::View;
use crate::plan::{self, Metrics, instant};
use crate::scorecard::Judged;

/// Dimensions that are looked at when none are named, and values that one may have
/// to be told: what has more of them names subjects.
const MOST_DIMENSIONS: usize = 24;
const MOST_VALUES: usize = 50;
/// Drivers that are told.
const MOST_DRIVERS: usize = 3;

/// A KPI over two windows, of everybody or of one unit.
pub(super) struct Change<'a> {
    pub(super) view: &'a View,
    pub(super) metrics: &'a Metrics,
    pub(super) metric: &'a str,
    pub(super) then: &'a Judged,
    pub(super) now: &'a Judged,
    pub(super) filter: Option<&'a Filter>,
    pub(super) filter_text: &'a str,
    pub(super) unit: &'a str,
}

impl Change<'_> {
    /// The rows of a window by a dimension, or its one row.
    pub(super) fn rows(&self, window: Window, by: Option<&Dimension>) -> Result<Vec<Row>> {
        let query = Query {
            metric: plan::spec(self.metrics, self.metric)?,
            from_micros: instant(window.start),
            to_micros: instant(window.end),
            zone: self.now.charter.zone,
            grain: Grain::Total,
            breakdowns: by.cloned().into_iter().collect(),
            filter: self.filter.cloned(),
            as_of_micros: Some(instant(window.end)),
        };
        Ok(self.view.snapshot.query(&query)?.rows)
    }

    /// The number before and after.
    pub(super) fn values(&self) -> Result<(Option<f64>, Option<f64>)> {
        let value = |window| {
            Ok::<_, crate::Error>(self.rows(window, None)?.first().and_then(|row| row.value))
        };
        Ok((value(self.then.window)?, value(self.now.window)?))
    }

    /// How the number is made up; `None` of one that has no parts, such as a median.
    fn composition(&self) -> Result<Option<Composition>> {
        Ok(match plan::definition(self.metrics, self.metric)? {
            Definition::Count { .. } | Definition::Sum { .. } | Definition::Unique { .. } => {
                Some(Composition::Sum)
            }
            Definition::Ratio { .. } | Definition::Funnel { .. } | Definition::Retention { .. } => {
                Some(Composition::Rate)
            }
            _ => None,
        })
    }

    /// The values that make up most of the change, in the dimension that explains
    /// most of it; none when no dimension explains anything.
    pub(super) fn drivers(&self, named: &[String]) -> Result<Vec<pb::Driver>> {
        let (Some(before), Some(after)) = self.values()? else { return Ok(Vec::new()) };
        let Some(composition) = self.composition()? else { return Ok(Vec::new()) };
        let change = after - before;
        if change == 0.0 {
            return Ok(Vec::new());
        }
        let mut best: Option<(f64, String, Vec<Contribution>)> = None;
        for name in self.dimensions(named) {
            let Some(parts) = self.parts(composition, &name)? else { continue };
            let found = contributions(composition, &parts);
            let explained = explains(&found);
            // Of what explains as much, the first by name.
            if best.as_ref().is_none_or(|(most, _, _)| explained > *most) {
                best = Some((explained, name, found));
            }
        }
        let Some((explained, name, mut found)) = best else { return Ok(Vec::new()) };
        if explained <= change.abs() * 0.05 {
            return Ok(Vec::new());
        }
        found.retain(|part| part.contribution * change > 0.0);
        found.sort_by(|a, b| {
            b.contribution.abs().total_cmp(&a.contribution.abs()).then_with(|| a.name.cmp(&b.name))
        });
        found.truncate(MOST_DRIVERS);
        Ok(found.into_iter().map(|part| self.driver(&name, part, change)).collect())
    }

    fn dimensions(&self, named: &[String]) -> Vec<String> {
        if !named.is_empty() {
            return named.to_vec();
        }
        let mut paths = self.view.snapshot.property_paths();
        paths.sort_unstable();
        paths.truncate(MOST_DIMENSIONS);
        paths
    }

    /// What each value of a dimension holds; `None` when it splits nothing, or into
    /// too many.
    fn parts(&self, composition: Composition, by: &str) -> Result<Option<Vec<Part>>> {
        let dimension = plan::dimension(by);
        let mut parts: BTreeMap<Option<String>, Part> = BTreeMap::new();
        for (window, is_now) in [(self.then.window, false), (self.now.window, true)] {
            for row in self.rows(window, Some(&dimension))? {
                let name = row.dimensions.first().cloned().flatten();
                let amount = match composition {
                    Composition::Sum => Amount { above: row.value.unwrap_or_default(), below: 0.0 },
                    Composition::Rate => Amount {
                        above: row.numerator.unwrap_or_default(),
                        below: row.denominator.unwrap_or_default(),
                    },
                };
                let part = parts.entry(name.clone()).or_insert_with(|| Part {
                    name,
                    before: Amount::default(),
                    after: Amount::default(),
                });
                *(if is_now { &mut part.after } else { &mut part.before }) = amount;
            }
            if parts.len() > MOST_VALUES {
                return Ok(None);
            }
        }
        Ok((parts.len() >= 2).then(|| parts.into_values().collect()))
    }

    fn driver(&self, by: &str, part: Contribution, change: f64) -> pb::Driver {
        let property = by.trim_start_matches("properties.");
        let name = match &part.name {
            Some(value) => format!("{property} {value}"),
            None => format!("no {property}"),
        };
        let share = part.contribution / change;
        let own = match (part.before, part.after) {
            (Some(before), Some(after)) => {
                format!("from {} to {}", number(before), number(after))
            }
            (None, Some(after)) => format!("new, at {}", number(after)),
            (Some(before), None) => format!("from {} to nothing", number(before)),
            (None, None) => "without a number of its own".to_owned(),
        };
        let percent = number((share * 100.0).round());
        pb::Driver {
            sentence: format!("{name} makes up {percent} % of the change: {own}."),
            name,
            contribution: Some(part.contribution),
            share: Some(share),
            before: part.before,
            after: part.after,
            command: self.command(Some(by)),
        }
    }

    /// What shows the number over its window again.
    pub(super) fn command(&self, by: Option<&str>) -> String {
        let Window { start, end } = self.now.window;
        let mut command = format!(
            "northstar query {} --from {} --to {}",
            self.metric,
            timestamp::format(start),
            timestamp::format(end),
        );
        if let Some(by) = by {
            command += &format!(" --by {by}");
        }
        if !self.filter_text.is_empty() {
            command += &format!(" --where \"{}\"", self.filter_text.replace('"', "'"));
        }
        command
    }

    /// The number in a sentence about what moved.
    pub(super) fn sentence(&self, title: &str) -> Result<String> {
        let (before, after) = self.values()?;
        let direction = Some(self.now.charter.direction);
        Ok(report::movement(title, self.unit, before, after, direction, None))
    }
}

/// A KPI that drives another one.
pub(super) fn kpi_driver(movement: &pb::KpiMovement) -> Option<pb::Driver> {
    let value = movement.kpi.as_ref()?;
    let kpi = value.kpi.as_ref()?;
    Some(pb::Driver {
        name: format!("KPI {}", kpi.name),
        contribution: None,
        share: None,
        before: Some(movement.before?),
        after: Some(value.value?),
        sentence: movement.sentence.clone(),
        command: movement.command.clone(),
    })
}

/// The drivers that are told, at most three.
pub(super) fn told(mut drivers: Vec<pb::Driver>, more: Vec<pb::Driver>) -> Vec<pb::Driver> {
    drivers.extend(more);
    drivers.truncate(MOST_DRIVERS);
    drivers
}
