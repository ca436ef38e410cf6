//! Units that are the owners of pillars.

use std::collections::BTreeMap;

use northstar_domain::kpi::{Kpi, Layer, Status};
use northstar_proto::metrics::v1 as pb;
use northstar_store::metrics::definition::Stored;

use super::{Material, Moved, Writer, sentences, sort, what_next, why};
use crate::reports::drivers::{kpi_driver, told};
use crate::reports::tasks;
use crate::{Error, Result};

impl Writer<'_> {
    pub(super) fn by_owner(&self) -> Result<Vec<pb::UnitReport>> {
        let owners: BTreeMap<&str, &str> = self
            .material
            .pillars
            .iter()
            .map(|pillar| (pillar.name.as_str(), pillar.document.owner.as_str()))
            .collect();
        let mut units: BTreeMap<&str, Vec<&Stored<Kpi>>> = BTreeMap::new();
        for kpi in &self.material.kpis {
            let of_pillar = owners.get(kpi.document.pillar.as_str()).copied().unwrap_or_default();
            let owner = if of_pillar.is_empty() { kpi.document.owner.as_str() } else { of_pillar };
            units.entry(owner).or_default().push(kpi);
        }
        units.into_iter().map(|(owner, kpis)| self.unit(owner, &kpis)).collect()
    }

    fn unit(&self, owner: &str, kpis: &[&Stored<Kpi>]) -> Result<pb::UnitReport> {
        let mut moved = kpis
            .iter()
            .map(|kpi| Ok(Moved { kpi, movement: self.movement(kpi)? }))
            .collect::<Result<Vec<_>>>()?;
        sort(&mut moved);
        let Some((first, others)) = moved.split_first() else {
            return Err(Error::field("unit", "holds no KPI"));
        };
        let headline = first.movement.sentence.clone();
        let drivers = self.drivers(first, others)?;
        let controls = self.controls(&moved);
        let tasks = self.tasks(owner);
        let asked: Vec<_> = tasks.iter().map(tasks::sentence).collect();
        let steps = moved
            .iter()
            .filter(|moved| !matches!(moved.status(), Some(Status::OnTrack)))
            .chain(moved.iter().take(1))
            .filter_map(|moved| moved.movement.kpi.as_ref())
            .map(|kpi| kpi.next_step.as_str());
        let next: Vec<_> = asked.iter().map(String::as_str).chain(steps).collect();
        Ok(pb::UnitReport {
            unit: owner.to_owned(),
            what_changed: sentences(moved.iter().map(|moved| moved.movement.sentence.as_str())),
            why: why(&drivers),
            what_next: what_next(&next, &controls),
            headline,
            drivers,
            controls,
            kpi: Some(first.movement.clone()),
            tasks,
        })
    }

    /// What waits to be looked into for the pillars of an owner, or by that owner.
    fn tasks(&self, owner: &str) -> Vec<pb::ReportTask> {
        let Material { tasks, belongs, pillars, .. } = &self.material;
        let is_of = |task: &pb::ReportTask| {
            let pillar = belongs.of_subject(&task.subject);
            let of_pillar = pillars.iter().find(|known| known.name.as_str() == pillar);
            match of_pillar.map(|known| known.document.owner.as_str()) {
                None | Some("") => task.owner == owner,
                Some(answers) => answers == owner,
            }
        };
        let waiting = tasks.iter().filter(|task| task.waits() && is_of(&task.told));
        waiting.map(|task| task.told.clone()).collect()
    }

    fn drivers(&self, first: &Moved<'_>, others: &[Moved<'_>]) -> Result<Vec<pb::Driver>> {
        let found = self
            .with_change(first.kpi, None, "", |change| change.drivers(&self.material.dimensions))?;
        let of_pillar = |other: &&Moved<'_>| {
            other.kpi.document.pillar == first.kpi.document.pillar
                && other.kpi.document.layer > Some(Layer::Outcome)
                && other.movement.before != other.value()
        };
        let more = others.iter().filter(of_pillar).filter_map(|other| kpi_driver(&other.movement));
        Ok(told(found, more.collect()))
    }
}
