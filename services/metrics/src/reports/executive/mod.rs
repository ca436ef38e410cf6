//! The executive report: one headline, three drivers, three controls, and what
//! changed, why, and what is next, by business unit.

mod controls;
mod owners;
mod properties;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use northstar_domain::kpi::{Kpi, Layer, Status, Window, evaluation_window};
use northstar_domain::pillar::Pillar;
use northstar_domain::timestamp;
use northstar_engine::Filter;
use northstar_proto::metrics::v1 as pb;
use northstar_store::metrics::definition::Stored;

use super::belongs::Belongs;
use super::drivers::Change;
use super::tasks::Task;
use super::weekly::movement;
use crate::convert::kpi::status_of;
use crate::convert::to_timestamp;
use crate::dataset::View;
use crate::provenance::Sources;
use crate::scorecard::{self, Versions};
use crate::{Error, Result};

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
    fn movement(&self, kpi: &Stored<Kpi>) -> Result<pb::KpiMovement> {
        let Window { start, end } = self.window;
        movement(self.view, self.sources, &self.material.versions, kpi, start, end)
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
