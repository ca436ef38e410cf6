//! Why a KPI moved: which values of which dimension make up the change, and which
//! KPIs that drive it moved with it.

use std::collections::BTreeMap;

use northstar_domain::kpi::Window;
use northstar_domain::metric::Definition;
use northstar_domain::report::{self, number};
use northstar_domain::timestamp;
use northstar_engine::{Dimension, Filter, Grain, Query, Row};
use northstar_proto::metrics::v1 as pb;
use northstar_stats::attribution::{Leaf, RateMix, Search, Segment, search};

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

    /// Whether the number is a sum, or else what is above the line of all parts over
    /// what is below it; `None` of one that has no parts, such as a median.
    fn is_sum(&self) -> Result<Option<bool>> {
        Ok(match plan::definition(self.metrics, self.metric)? {
            Definition::Count { .. } | Definition::Sum { .. } | Definition::Unique { .. } => {
                Some(true)
            }
            Definition::Mean { .. }
            | Definition::Ratio { .. }
            | Definition::Funnel { .. }
            | Definition::Retention { .. } => Some(false),
            _ => None,
        })
    }

    /// The values that make up most of the change, in the dimension that explains
    /// most of it beyond the size of its values; none when no dimension does.
    pub(super) fn drivers(&self, named: &[String]) -> Result<Vec<pb::Driver>> {
        let Some(is_sum) = self.is_sum()? else { return Ok(Vec::new()) };
        let wanted = Search {
            additive: is_sum,
            explain: 0.9,
            minimum_share: 0.05,
            depth: 1,
            segments: MOST_DRIVERS,
        };
        let mut best: Option<(f64, String, Vec<Segment>)> = None;
        for name in self.dimensions(named) {
            let Some(leaves) = self.leaves(is_sum, &name)? else { continue };
            let Some(found) = search(&leaves, 1, &wanted) else { continue };
            let explained = found.share - found.weight;
            // Of what explains as much, the first by name.
            if !found.segments.is_empty()
                && best.as_ref().is_none_or(|(most, _, _)| explained > *most)
            {
                best = Some((explained, name, found.segments));
            }
        }
        let Some((_, name, found)) = best else { return Ok(Vec::new()) };
        Ok(found.into_iter().map(|segment| self.driver(&name, &segment, is_sum)).collect())
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

    /// What each value of a dimension holds, before and after; `None` when it splits
    /// nothing, splits it into too many, or counts a subject in several.
    fn leaves(&self, is_sum: bool, by: &str) -> Result<Option<Vec<Leaf>>> {
        let dimension = plan::dimension(by);
        let mut found: BTreeMap<Option<String>, RateMix> = BTreeMap::new();
        for (window, is_now) in [(self.then.window, false), (self.now.window, true)] {
            let (mut above, mut below) = (0.0, 0.0);
            for row in self.rows(window, Some(&dimension))? {
                let part = amounts(&row, is_sum);
                (above, below) = (above + part.0, below + part.1);
                let name = row.dimensions.into_iter().next().flatten();
                let numbers = found.entry(name).or_default();
                let (numerator, denominator) = (&mut numbers.numerator, &mut numbers.denominator);
                if is_now {
                    (numerator.after, denominator.after) = part;
                } else {
                    (numerator.before, denominator.before) = part;
                }
            }
            let whole = self.rows(window, None)?;
            let whole = whole.first().map(|row| amounts(row, is_sum)).unwrap_or_default();
            let differs = |sum: f64, whole: f64| (sum - whole).abs() > 1e-6 * (1.0 + whole.abs());
            if differs(above, whole.0) || differs(below, whole.1) || found.len() > MOST_VALUES {
                return Ok(None);
            }
        }
        let leaves = found
            .into_iter()
            .map(|(name, numbers)| Leaf { values: vec![name], numbers })
            .collect::<Vec<_>>();
        Ok((leaves.len() >= 2).then_some(leaves))
    }

    fn driver(&self, by: &str, segment: &Segment, is_sum: bool) -> pb::Driver {
        let property = by.trim_start_matches("properties.");
        let value = segment.values.first().and_then(|(_, value)| value.as_deref());
        let name = match value {
            Some(value) => format!("{property} {value}"),
            None => format!("no {property}"),
        };
        let (before, after) = if is_sum {
            let numerator = segment.numbers.numerator;
            (Some(numerator.before), Some(numerator.after))
        } else {
            segment.numbers.rates()
        };
        let own = match (before, after) {
            (Some(before), Some(after)) => {
                format!("from {} to {}", number(before), number(after))
            }
            (None, Some(after)) => format!("new, at {}", number(after)),
            (Some(before), None) => format!("from {} to nothing", number(before)),
            (None, None) => "without a number of its own".to_owned(),
        };
        let why = if is_sum || segment.contribution.rate.abs() >= segment.contribution.mix.abs() {
            ""
        } else {
            ", mostly because it became a larger or smaller part of the whole"
        };
        let percent = number((segment.share.unwrap_or_default() * 100.0).round());
        pb::Driver {
            sentence: format!("{name} makes up {percent} % of the change: {own}{why}."),
            name,
            contribution: Some(segment.contribution.total),
            share: segment.share,
            before,
            after,
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

/// What a part adds above and below the line; of a sum, nothing below.
fn amounts(row: &Row, is_sum: bool) -> (f64, f64) {
    if is_sum {
        (row.value.unwrap_or_default(), 0.0)
    } else {
        (row.numerator.unwrap_or_default(), row.denominator.unwrap_or_default())
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
