//! Units that are the values of a property.

use northstar_domain::metric::{Definition, EventSelector, Metric};
use northstar_engine::{Dimension, Filter, Grain, Query};
use northstar_proto::metrics::v1 as pb;

use super::{Moved, UnitBy, Writer, sentences, sort, what_next, why};
use crate::Result;
use crate::plan::{self, instant};
use crate::reports::weekly::title;

/// Most values of a property that are units.
const MOST_UNITS: usize = 10;

impl Writer<'_> {
    /// Units are the values of a property that most events carry. A target is for
    /// everybody, so a unit is told what moved, not how it stands.
    pub(super) fn by_property(&self, path: &str) -> Result<Vec<pb::UnitReport>> {
        let everybody = self
            .material
            .kpis
            .iter()
            .map(|kpi| Ok(Moved { kpi, movement: self.movement(kpi)? }))
            .collect::<Result<Vec<_>>>()?;
        let mut reports = Vec::new();
        for value in self.values_of(path)? {
            let text = format!("properties.{path} == {}", serde_json::Value::from(value.as_str()));
            let Ok(filter) = Filter::parse(&text) else { continue };
            reports.push(self.unit_of_property(&value, &filter, &text, &everybody)?);
        }
        Ok(reports)
    }

    fn unit_of_property(
        &self,
        value: &str,
        filter: &Filter,
        filter_text: &str,
        everybody: &[Moved<'_>],
    ) -> Result<pb::UnitReport> {
        let mut moved = Vec::new();
        for of_everybody in everybody {
            let kpi = of_everybody.kpi;
            let (before, after, sentence, command) =
                self.with_change(kpi, Some(filter), filter_text, |change| {
                    let (before, after) = change.values()?;
                    Ok((before, after, change.sentence(title(kpi))?, change.command(None)))
                })?;
            let Some(mut whole) = of_everybody.movement.kpi.clone() else { continue };
            whole.value = after;
            // These are everybody's, not the unit's.
            whole.status = pb::KpiStatus::Unspecified.into();
            whole.guardrails.clear();
            whole.next_step.clear();
            let movement = pb::KpiMovement { kpi: Some(whole), before, sentence, command };
            moved.push(Moved { kpi, movement });
        }
        sort(&mut moved);
        let drivers = match moved.first() {
            None => Vec::new(),
            Some(first) => self.with_change(first.kpi, Some(filter), filter_text, |change| {
                let own = format!("properties.{}", self.unit_path());
                let dimensions: Vec<_> = self
                    .material
                    .dimensions
                    .iter()
                    .filter(|dimension| **dimension != own && **dimension != self.unit_path())
                    .cloned()
                    .collect();
                change.drivers(&dimensions)
            })?,
        };
        let controls = self.controls(everybody);
        let worse: Vec<_> = moved
            .iter()
            .filter(|moved| {
                let direction = moved.kpi.document.direction;
                match (moved.movement.before, moved.value(), direction) {
                    (Some(before), Some(after), Some(direction)) => {
                        direction.gain(after, before) < 0.0
                    }
                    _ => false,
                }
            })
            .map(|moved| {
                format!(
                    "{} looks at {}, which got worse in {value}.",
                    moved.kpi.document.owner,
                    title(moved.kpi)
                )
            })
            .collect();
        let next: Vec<_> = worse.iter().map(String::as_str).collect();
        let nothing = "There is no KPI to tell of.".to_owned();
        Ok(pb::UnitReport {
            unit: value.to_owned(),
            headline: moved.first().map_or(nothing, |first| first.movement.sentence.clone()),
            what_changed: sentences(moved.iter().map(|moved| moved.movement.sentence.as_str())),
            why: why(&drivers),
            what_next: what_next(&next, &controls),
            drivers,
            controls,
            kpi: moved.first().map(|first| first.movement.clone()),
            tasks: Vec::new(),
        })
    }

    fn unit_path(&self) -> String {
        match &self.material.unit {
            UnitBy::Owner => String::new(),
            UnitBy::Property(path) => path.clone(),
        }
    }

    /// The values that most events of the period carry, by name.
    fn values_of(&self, path: &str) -> Result<Vec<String>> {
        let mut metrics = plan::Metrics::new();
        let event = EventSelector::default();
        let any = Metric { definition: Some(Definition::Count { event }), ..Metric::default() };
        if let Ok(name) = "any-event".parse() {
            metrics.insert(name, any);
        }
        let query = Query {
            metric: plan::spec(&metrics, "any-event")?,
            from_micros: instant(self.window.start),
            to_micros: instant(self.window.end),
            zone: self.material.zone,
            grain: Grain::Total,
            breakdowns: vec![Dimension::Property(path.to_owned())],
            filter: None,
            as_of_micros: Some(instant(self.window.end)),
        };
        let mut rows = self.view.snapshot.query(&query)?.rows;
        rows.sort_by(|a, b| b.n.cmp(&a.n).then_with(|| a.dimensions.cmp(&b.dimensions)));
        let mut values: Vec<String> = rows
            .into_iter()
            .filter_map(|row| row.dimensions.into_iter().next().flatten())
            .take(MOST_UNITS)
            .collect();
        values.sort_unstable();
        Ok(values)
    }
}
