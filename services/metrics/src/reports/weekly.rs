//! The weekly scorecard.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use northstar_domain::kpi::{Kpi, Layer, Window};
use northstar_domain::pillar::Pillar;
use northstar_domain::report::{self, Week, weighted_median};
use northstar_proto::metrics::v1 as pb;
use northstar_store::metrics::definition::Stored;
use northstar_store::metrics::note::Note;

use super::belongs::Belongs;
use super::tasks::Task;
use super::work::{CONCLUDED, EXPIRED, RAISED, RUNS, STARTED, STOPPED, Told, VERDICTS, Work};
use crate::convert::kpi::{direction_of, status_of};
use crate::convert::to_timestamp;
use crate::dataset::View;
use crate::provenance::Sources;
use crate::scorecard::{self, Versions};
use crate::{Error, Result};

/// What a scorecard is made of.
pub(super) struct Material {
    pub(super) week: Week,
    pub(super) zone: Tz,
    pub(super) now: DateTime<Utc>,
    pub(super) pillars: Vec<Stored<Pillar>>,
    pub(super) kpis: Vec<Stored<Kpi>>,
    pub(super) versions: Versions,
    pub(super) belongs: Belongs,
    pub(super) notes: Vec<Note>,
    pub(super) tasks: Vec<Task>,
    pub(super) gaps: Vec<String>,
}

/// What was done for a pillar.
#[derive(Clone, Debug, Default)]
struct Tally {
    runs: u64,
    decided: u64,
    handling_seconds: Vec<(f64, u64)>,
    started: u64,
    stopped: u64,
    concluded: u64,
    expired: u64,
    raised: u64,
}

impl Tally {
    fn throughput(&self) -> f64 {
        (self.runs + self.decided + self.stopped) as f64
    }

    fn median_hours(&self) -> Option<f64> {
        weighted_median(&self.handling_seconds).map(|seconds| seconds / 3_600.0)
    }

    fn automatic_share(&self) -> Option<f64> {
        let all = self.runs + self.decided;
        (all > 0).then(|| self.runs as f64 / all as f64)
    }

    fn is_nothing(&self) -> bool {
        self.throughput() == 0.0 && self.started + self.concluded + self.expired + self.raised == 0
    }
}

type Tallies = BTreeMap<String, Tally>;

fn tally(work: &Work, belongs: &Belongs) -> Tallies {
    let mut tallies = Tallies::new();
    let mut add = |pillar: &str, add: &dyn Fn(&mut Tally)| {
        add(tallies.entry(pillar.to_owned()).or_default());
    };
    for group in work.groups(RUNS) {
        add(belongs.of_automation(&group.values[0]), &|tally| tally.runs += group.count);
    }
    for group in work.groups(VERDICTS) {
        add(belongs.of_subject(&group.values[0]), &|tally| {
            tally.decided += group.count;
            if let Ok(seconds) = group.values[1].parse() {
                tally.handling_seconds.push((seconds, group.count));
            }
        });
    }
    for group in work.groups(EXPIRED) {
        add(belongs.of_subject(&group.values[0]), &|tally| tally.expired += group.count);
    }
    for group in work.groups(RAISED) {
        let pillar = match group.values[0].as_str() {
            "" => belongs.of_automation(&group.values[1]),
            pillar => pillar,
        };
        add(pillar, &|tally| tally.raised += group.count);
    }
    let mut tests = |told: Told, count: fn(&mut Tally) -> &mut u64| {
        for group in work.groups(told) {
            let tally =
                tallies.entry(belongs.of_experiment(&group.values[0]).to_owned()).or_default();
            *count(tally) += group.count;
        }
    };
    tests(STARTED, |tally| &mut tally.started);
    tests(STOPPED, |tally| &mut tally.stopped);
    tests(CONCLUDED, |tally| &mut tally.concluded);
    tallies
}

/// A number of a scorecard: what it is made of and how.
struct Formula {
    unit: &'static str,
    says: &'static str,
    of: &'static [Told],
}

const THROUGHPUT: Formula = Formula {
    unit: "pieces of work",
    says: "actions of automations, plus questions that people decided, plus experiments that \
           were stopped",
    of: &[RUNS, VERDICTS, STOPPED],
};
const HANDLING: Formula = Formula {
    unit: "hours",
    says: "median time from a question to the verdict that decided it",
    of: &[VERDICTS],
};
const AUTOMATIC: Formula = Formula {
    unit: "share",
    says: "actions of automations, over these plus questions that people decided",
    of: &[RUNS, VERDICTS],
};
const LAUNCHED: Formula =
    Formula { unit: "experiments", says: "experiments that were started", of: &[STARTED] };
const COMPLETED: Formula =
    Formula { unit: "experiments", says: "experiments that were stopped", of: &[STOPPED] };
const DOCUMENTED: Formula = Formula {
    unit: "experiments",
    says: "experiments that were concluded with a learning",
    of: &[CONCLUDED],
};
const ESCALATIONS: Formula = Formula {
    unit: "escalations",
    says: "questions that nobody decided in time, plus thresholds that asked for a decision",
    of: &[EXPIRED, RAISED],
};

/// Computes the scorecard from one view of the log.
pub(super) fn scorecard(
    view: &View,
    sources: &Sources,
    material: Material,
) -> Result<pb::WeeklyScorecard> {
    let Material { week, zone, .. } = material;
    let beyond = || Error::field("week", "lies at the end of the calendar");
    let window = week.window(zone).ok_or_else(beyond)?;
    let before = week.before().and_then(|week| week.window(zone)).ok_or_else(beyond)?;
    let work = Work::read(view, window)?;
    let now = tally(&work, &material.belongs);
    let earlier = tally(&Work::read(view, before)?, &material.belongs);
    let card = Card { view, sources, work, window, material };
    let nothing = Tally::default();
    let of = |tallies: &Tallies, pillar: &str| {
        tallies.get(pillar).cloned().unwrap_or_else(|| nothing.clone())
    };
    let mut pillars = Vec::new();
    for pillar in &card.material.pillars {
        let name = pillar.name.as_str();
        pillars.push(card.pillar(name, &pillar.document, &of(&now, name), &of(&earlier, name))?);
    }
    let unowned = of(&now, "");
    if !unowned.is_nothing() || !card.tasks("").is_empty() {
        pillars.push(card.pillar("", &Pillar::default(), &unowned, &of(&earlier, ""))?);
    }
    Ok(pb::WeeklyScorecard {
        week: week.monday().to_string(),
        start_time: Some(to_timestamp(window.start)),
        end_time: Some(to_timestamp(window.end)),
        time_zone: zone.name().to_owned(),
        pillars,
        gaps: card.material.gaps,
        log_position: view.head.position,
    })
}

struct Card<'a> {
    view: &'a View,
    sources: &'a Sources,
    work: Work,
    window: Window,
    material: Material,
}

impl Card<'_> {
    fn pillar(
        &self,
        name: &str,
        pillar: &Pillar,
        now: &Tally,
        before: &Tally,
    ) -> Result<pb::PillarWeek> {
        let count = |of: fn(&Tally) -> u64, formula: &Formula| {
            self.figure(formula, Some(of(now) as f64), Some(of(before) as f64))
        };
        let kpis = self.primary_kpis(name);
        Ok(pb::PillarWeek {
            pillar: name.to_owned(),
            title: pillar.title.clone(),
            owner: pillar.owner.clone(),
            throughput: self.figure(
                &THROUGHPUT,
                Some(now.throughput()),
                Some(before.throughput()),
            )?,
            median_handling_time: self.figure(
                &HANDLING,
                now.median_hours(),
                before.median_hours(),
            )?,
            automatic_share: self.figure(
                &AUTOMATIC,
                now.automatic_share(),
                before.automatic_share(),
            )?,
            kpis: kpis.into_iter().map(|kpi| self.kpi(kpi)).collect::<Result<_>>()?,
            tests_launched: count(|tally| tally.started, &LAUNCHED)?,
            tests_completed: count(|tally| tally.stopped, &COMPLETED)?,
            tests_documented: count(|tally| tally.concluded, &DOCUMENTED)?,
            escalations: count(|tally| tally.expired + tally.raised, &ESCALATIONS)?,
            notes: self
                .material
                .notes
                .iter()
                .filter(|note| note.pillar == name)
                .map(note_to_proto)
                .collect(),
            tasks: self.tasks(name),
        })
    }

    fn figure(
        &self,
        formula: &Formula,
        value: Option<f64>,
        previous: Option<f64>,
    ) -> Result<Option<pb::Figure>> {
        let zone = self.material.zone;
        let provenance = self.work.provenance(formula.of, self.view, self.sources, zone)?;
        let commands: Vec<_> = formula.of.iter().map(|told| told.command()).collect();
        Ok(Some(pb::Figure {
            value,
            previous,
            unit: formula.unit.to_owned(),
            formula: formula.says.to_owned(),
            provenance: Some(provenance),
            command: commands.join("; "),
        }))
    }

    /// What was to be looked into for a pillar.
    fn tasks(&self, pillar: &str) -> Vec<pb::ReportTask> {
        let Material { tasks, belongs, .. } = &self.material;
        tasks
            .iter()
            .filter(|task| task.concerns(self.window))
            .filter(|task| belongs.of_subject(&task.told.subject) == pillar)
            .map(|task| task.told.clone())
            .collect()
    }

    fn primary_kpis(&self, pillar: &str) -> Vec<&Stored<Kpi>> {
        let of_pillar: Vec<_> =
            self.material.kpis.iter().filter(|kpi| kpi.document.pillar == pillar).collect();
        let outcomes: Vec<_> = of_pillar
            .iter()
            .copied()
            .filter(|kpi| kpi.document.layer == Some(Layer::Outcome))
            .collect();
        if outcomes.is_empty() { of_pillar } else { outcomes }
    }

    /// A KPI at the end of the week, or now when the week is not over, and a week
    /// before that.
    fn kpi(&self, kpi: &Stored<Kpi>) -> Result<pb::KpiMovement> {
        let end = self.window.end.min(self.material.now).max(self.window.start);
        let start = end - (self.window.end - self.window.start).max(TimeDelta::zero());
        movement(self.view, self.sources, &self.material.versions, kpi, start, end)
    }
}

/// A KPI at two times.
pub(super) fn movement(
    view: &View,
    sources: &Sources,
    versions: &Versions,
    kpi: &Stored<Kpi>,
    start: DateTime<Utc>,
    end: DateTime<Utc>,
) -> Result<pb::KpiMovement> {
    let then = scorecard::judge(kpi.clone(), start)?;
    let now = scorecard::judge(kpi.clone(), end)?;
    let before = scorecard::number(view, versions, &then)?;
    // A report is read once; what is told again when it changes is the scorecard's value.
    let value = scorecard::value(view, versions, sources, &now, &mut Vec::new())?;
    let document = &kpi.document;
    let sentence = report::movement(
        title(kpi),
        &document.unit,
        before,
        value.value,
        direction_of(&value),
        status_of(&value),
    );
    let command = format!("northstar scorecard --at {}", northstar_domain::timestamp::format(end));
    Ok(pb::KpiMovement { kpi: Some(value), before, sentence, command })
}

/// What people call a KPI.
pub(super) fn title(kpi: &Stored<Kpi>) -> &str {
    match kpi.document.title.as_str() {
        "" => kpi.name.as_str(),
        title => title,
    }
}

/// A note for the wire.
pub(super) fn note_to_proto(note: &Note) -> pb::ScorecardNote {
    pb::ScorecardNote {
        note_id: note.note_id.to_string(),
        pillar: note.pillar.clone(),
        week: note.week.to_string(),
        author: note.author.clone(),
        text: note.body.clone(),
        create_time: Some(to_timestamp(note.created_at)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_nothing_is_none() {
        assert_eq!(Tally::default().automatic_share(), None);
        let tally = Tally { runs: 3, decided: 1, ..Tally::default() };
        assert_eq!(tally.automatic_share(), Some(0.75));
        assert_eq!(tally.throughput(), 4.0);
    }
}
