//! The executive report: one headline, three drivers, three controls, and what
//! changed, why, and what is next, by business unit.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use northstar_domain::kpi::{Kpi, Layer, Status, Window, evaluation_window};
use northstar_domain::metric::{Definition, EventSelector, Metric};
use northstar_domain::pillar::Pillar;
use northstar_domain::timestamp;
use northstar_engine::{Dimension, Filter, Grain, Query};
use northstar_proto::metrics::v1 as pb;
use northstar_store::metrics::definition::Stored;

use super::belongs::Belongs;
use super::drivers::{Change, kpi_driver, told};
use super::tasks::{self, Task};
use super::weekly::{movement, title};
use crate::convert::kpi::status_of;
use crate::convert::to_timestamp;
use crate::dataset::View;
use crate::plan::{self, instant};
use crate::provenance::Sources;
use crate::scorecard::{self, Versions};
use crate::{Error, Result};

/// Most values of a property that are units.
const MOST_UNITS: usize = 10;

/// What makes a business unit.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum UnitBy {
    /// Who answers for pillars.
    Owner,
    /// A property, by its dotted path.
    Property(String),
}

/// What a report is made of.
pub(super) struct Material {
    pub(super) end: DateTime<Utc>,
    pub(super) days: u32,
    pub(super) zone: Tz,
    pub(super) unit: UnitBy,
    pub(super) dimensions: Vec<String>,
    pub(super) pillars: Vec<Stored<Pillar>>,
    pub(super) kpis: Vec<Stored<Kpi>>,
    pub(super) versions: Versions,
    /// What people were asked to look into, and which pillar that belongs to.
    pub(super) tasks: Vec<Task>,
    pub(super) belongs: Belongs,
    /// Questions that wait for people, when they could be counted, and thresholds
    /// with an open episode.
    pub(super) waiting: Option<usize>,
    pub(super) open_thresholds: usize,
    pub(super) gaps: Vec<String>,
}

/// Computes the report from one view of the log.
pub(super) fn report(
    view: &View,
    sources: &Sources,
    material: Material,
) -> Result<pb::ExecutiveReport> {
    let window = evaluation_window(material.end, material.days, material.zone)
        .map_err(|error| Error::field("end_time", error.to_string()))?;
    let writer = Writer { view, sources, window, material };
    let units = match &writer.material.unit {
        UnitBy::Owner => writer.by_owner()?,
        UnitBy::Property(path) => writer.by_property(path)?,
    };
    Ok(pb::ExecutiveReport {
        start_time: Some(to_timestamp(window.start)),
        end_time: Some(to_timestamp(window.end)),
        time_zone: writer.material.zone.name().to_owned(),
        units,
        gaps: writer.material.gaps,
        log_position: view.head.position,
    })
}

struct Writer<'a> {
    view: &'a View,
    sources: &'a Sources,
    window: Window,
    material: Material,
}

/// A KPI and how it moved.
struct Moved<'a> {
    kpi: &'a Stored<Kpi>,
    movement: pb::KpiMovement,
}

impl Moved<'_> {
    fn status(&self) -> Option<Status> {
        self.movement.kpi.as_ref().and_then(status_of)
    }

    fn value(&self) -> Option<f64> {
        self.movement.kpi.as_ref().and_then(|kpi| kpi.value)
    }

    /// Outcomes come first, then what moved most, by its own measure.
    fn weight(&self) -> (bool, f64) {
        let outcome = self.kpi.document.layer == Some(Layer::Outcome);
        let moved = match (self.movement.before, self.value()) {
            (Some(before), Some(after)) if before == after => 0.0,
            (Some(before), Some(after)) => {
                (after - before).abs() / before.abs().max(f64::MIN_POSITIVE)
            }
            _ => -1.0,
        };
        (outcome, moved)
    }
}

impl Writer<'_> {
    fn by_owner(&self) -> Result<Vec<pb::UnitReport>> {
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

    fn movement(&self, kpi: &Stored<Kpi>) -> Result<pb::KpiMovement> {
        let Window { start, end } = self.window;
        movement(self.view, self.sources, &self.material.versions, kpi, start, end)
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

    fn with_change<T>(
        &self,
        kpi: &Stored<Kpi>,
        filter: Option<&Filter>,
        filter_text: &str,
        look: impl FnOnce(&Change<'_>) -> Result<T>,
    ) -> Result<T> {
        let then = scorecard::judge(kpi.clone(), self.window.start)?;
        let now = scorecard::judge(kpi.clone(), self.window.end)?;
        let metric = kpi.document.metric.as_str();
        let (metrics, _) = scorecard::needed(&self.material.versions, metric)?;
        look(&Change {
            view: self.view,
            metrics: &metrics,
            metric,
            then: &then,
            now: &now,
            filter,
            filter_text,
            unit: &kpi.document.unit,
        })
    }

    /// What keeps the numbers honest: guardrails, data, people.
    fn controls(&self, moved: &[Moved<'_>]) -> Vec<pb::Control> {
        vec![guardrails(moved), self.data(moved), self.people()]
    }

    fn data(&self, moved: &[Moved<'_>]) -> pb::Control {
        let provenances =
            || moved.iter().filter_map(|moved| moved.movement.kpi.as_ref()?.provenance.as_ref());
        let mut breached: Vec<&str> = provenances()
            .flat_map(|provenance| provenance.breached_sources.iter().map(String::as_str))
            .collect();
        breached.sort_unstable();
        breached.dedup();
        let fresh = provenances().all(|provenance| provenance.freshness() == pb::Freshness::Fresh);
        let waiting = provenances().map(|provenance| provenance.excluded_quarantined_events).max();
        let quarantined = match waiting.unwrap_or_default() {
            0 => "nothing waits in quarantine".to_owned(),
            1 => "one event waits in quarantine and is in no number".to_owned(),
            events => format!("{events} events wait in quarantine and are in no number"),
        };
        let sentence = if fresh {
            format!("The sources deliver, and {quarantined}.")
        } else if breached.is_empty() {
            format!("No event arrived for more than a day, or none at all; {quarantined}.")
        } else {
            format!(
                "These sources do not deliver what they owe: {}; {quarantined}.",
                breached.join(", ")
            )
        };
        pb::Control {
            name: "data".to_owned(),
            holds: fresh,
            sentence,
            command: "northstar sources".to_owned(),
        }
    }

    fn people(&self) -> pb::Control {
        let thresholds = match self.material.open_thresholds {
            0 => "no threshold is breached".to_owned(),
            1 => "one threshold is breached".to_owned(),
            open => format!("{open} thresholds are breached"),
        };
        let (holds, questions) = match self.material.waiting {
            None => (false, "How many questions wait for people could not be told".to_owned()),
            Some(0) => (true, "No question waits for people".to_owned()),
            Some(1) => (false, "One question waits for people".to_owned()),
            Some(waiting) => (false, format!("{waiting} questions wait for people")),
        };
        pb::Control {
            name: "people".to_owned(),
            holds: holds && self.material.open_thresholds == 0,
            sentence: format!("{questions}, and {thresholds}."),
            command: "northstar decision list --state pending".to_owned(),
        }
    }

    /// Units are the values of a property that most events carry. A target is for
    /// everybody, so a unit is told what moved, not how it stands.
    fn by_property(&self, path: &str) -> Result<Vec<pb::UnitReport>> {
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

/// What is most worth telling first.
fn sort(moved: &mut [Moved<'_>]) {
    moved.sort_by(|a, b| {
        let ((outcome, by), (other_outcome, other_by)) = (b.weight(), a.weight());
        outcome
            .cmp(&other_outcome)
            .then_with(|| by.total_cmp(&other_by))
            .then_with(|| a.kpi.name.cmp(&b.kpi.name))
    });
}

fn guardrails(moved: &[Moved<'_>]) -> pb::Control {
    let all = || {
        moved.iter().filter_map(|moved| moved.movement.kpi.as_ref()).flat_map(|kpi| &kpi.guardrails)
    };
    let judged = all().filter(|guardrail| guardrail.breached.is_some()).count();
    let unknown = all().count() - judged;
    let mut broken: Vec<_> = all()
        .filter(|guardrail| guardrail.breached == Some(true))
        .map(|guardrail| guardrail.metric.as_str())
        .collect();
    broken.sort_unstable();
    broken.dedup();
    let unjudged = match unknown {
        0 => String::new(),
        unknown => format!("; {unknown} cannot be judged for want of data"),
    };
    let sentence = match broken.as_slice() {
        [] => format!("{judged} of {judged} guardrails hold{unjudged}."),
        broken => {
            format!("Worse by more than its margin: {}{unjudged}.", broken.join(", "))
        }
    };
    pb::Control {
        name: "guardrails".to_owned(),
        holds: broken.is_empty(),
        sentence,
        command: "northstar scorecard --json".to_owned(),
    }
}

fn sentences<'a>(sentences: impl Iterator<Item = &'a str>) -> String {
    sentences.collect::<Vec<_>>().join(" ")
}

fn why(drivers: &[pb::Driver]) -> String {
    if drivers.is_empty() {
        return "No value of a dimension, and no KPI that drives this one, explains it: it moved \
                everywhere alike, or not enough."
            .to_owned();
    }
    sentences(drivers.iter().map(|driver| driver.sentence.as_str()))
}

/// What the KPIs ask for, once each, and what the controls ask for before.
fn what_next(steps: &[&str], controls: &[pb::Control]) -> String {
    let mut told: Vec<&str> = Vec::new();
    let broken = controls.iter().filter(|control| !control.holds && control.name == "people");
    for control in broken {
        told.push(&control.sentence);
    }
    for step in steps.iter().filter(|step| !step.is_empty()) {
        if !told.contains(step) {
            told.push(step);
        }
    }
    if told.is_empty() {
        return "Keep going: nothing asks for a decision.".to_owned();
    }
    told.join(" ")
}

/// The period in words, for titles.
pub(super) fn period(report: &pb::ExecutiveReport) -> String {
    let day = |time: Option<&prost_types::Timestamp>| {
        time.and_then(crate::convert::from_timestamp).map(timestamp::format).unwrap_or_default()
    };
    format!("{} to {}", day(report.start_time.as_ref()), day(report.end_time.as_ref()))
}
