//! What a threshold sees in a view of the log.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use northstar_domain::ProjectId;
use northstar_domain::kpi::{Charter, Kpi};
use northstar_domain::metric::Definition;
use northstar_domain::threshold::{
    Breakdown, Condition, Evaluation, Observation, Reading, Rules, State, Subject, Threshold,
    Versus,
};
use northstar_engine::{Answer, Grain, Query};
use northstar_proto::metrics::v1 as pb;
use northstar_store::PgPool;
use northstar_store::metrics::definition::Stored;
use northstar_store::metrics::threshold::Logged;
use prost::Message as _;

use super::past;
use super::periods::{Pair, Period, Shape, periods, shape};
use crate::dataset::View;
use crate::plan::{self, Metrics, instant};
use crate::provenance::{Answered, Sources, digest, provenance};
use crate::scorecard::{self, Judged, Versions};
use crate::{Error, Result};

/// Most values of a dimension that are judged.
pub(super) const MAX_SEGMENTS: usize = 10_000;

/// A threshold with everything that its evaluation needs beside the log.
pub(super) struct Watched {
    pub(super) stored: Stored<Threshold>,
    pub(super) rules: Rules,
    /// The KPI, when it watches one, with its window at the evaluation time.
    pub(super) kpi: Option<Stored<Kpi>>,
    pub(super) charter: Option<Charter>,
    /// Name of the metric, and everything it is computed from.
    pub(super) metric: String,
    pub(super) metrics: Metrics,
    pub(super) metric_version: i64,
    /// Every metric of the project, for guardrails.
    pub(super) versions: Versions,
    pub(super) zone: Tz,
    shape: Shape,
}

/// What was found.
pub(super) struct Found {
    pub(super) evaluation: Evaluation,
    pub(super) provenance: pb::Provenance,
}

impl Watched {
    /// Loads what a threshold needs.
    pub(super) async fn load(
        pool: &PgPool,
        project: ProjectId,
        stored: Stored<Threshold>,
    ) -> Result<Self> {
        let rules =
            stored.document.rules().map_err(|violations| northstar_store::Error::Corrupt {
                table: "metrics.definitions",
                column: "document",
                row: format!("threshold {}", stored.name),
                value: violations.to_string(),
            })?;
        let (kpis, versions) = scorecard::load(pool, project).await?;
        let (kpi, metric) = match &rules.subject {
            Subject::Metric(name) => (None, name.to_string()),
            Subject::Kpi(name) => {
                let none = || Error::NotFound { kind: "Kpi", name: name.to_string() };
                let kpi = kpis.into_iter().find(|kpi| kpi.name == *name).ok_or_else(none)?;
                let metric = kpi.document.metric.clone();
                (Some(kpi), metric)
            }
        };
        let charter = match &kpi {
            // The time only decides the window, which is not the charter's.
            Some(kpi) => Some(scorecard::judge(kpi.clone(), DateTime::UNIX_EPOCH)?.charter),
            None => None,
        };
        let (metrics, metric_version) = scorecard::needed(&versions, &metric)?;
        let zone = rules.zone.or_else(|| charter.map(|charter| charter.zone)).unwrap_or(Tz::UTC);
        let days = rules.window_days.or_else(|| charter.map(|charter| charter.window_days));
        let shape = shape(rules.grain, days.unwrap_or(1), rules.every, &metrics);
        Ok(Self {
            stored,
            rules,
            kpi,
            charter,
            metric,
            metrics,
            metric_version,
            versions,
            zone,
            shape,
        })
    }

    /// Evaluates at an instant; what happened later is not known.
    pub(super) fn evaluate(
        &self,
        view: &View,
        sources: &Sources,
        at: DateTime<Utc>,
    ) -> Result<Found> {
        let pairs = self.periods(self.rules.of, at)?;
        let mut asked = Asked { watched: self, view, answers: BTreeMap::new() };
        let observations = asked.observe(&pairs, self.rules.breakdown.as_ref())?;
        let provenance = match pairs.last() {
            Some(newest) => asked.provenance(newest.period, sources)?,
            None => pb::Provenance::default(),
        };
        let freshness = sources.freshness_of(&self.metrics);
        Ok(Found { evaluation: Evaluation { observations, freshness }, provenance })
    }

    /// The newest observations of what breached, for people to see where it comes
    /// from.
    pub(super) fn series(
        &self,
        view: &View,
        segment: Option<&str>,
        count: u32,
        at: DateTime<Utc>,
    ) -> Result<Vec<Observation>> {
        let pairs = self.periods(count, at)?;
        let mut asked = Asked { watched: self, view, answers: BTreeMap::new() };
        let breakdown = self.rules.breakdown.as_ref().map(|breakdown| Breakdown {
            by: breakdown.by.clone(),
            value: segment.map(str::to_owned),
        });
        asked.observe(&pairs, breakdown.as_ref())
    }

    /// How the guardrails of its KPI stand.
    pub(super) fn guardrails(
        &self,
        view: &View,
        at: DateTime<Utc>,
    ) -> Result<Vec<pb::GuardrailValue>> {
        let Some(kpi) = &self.kpi else { return Ok(Vec::new()) };
        let judged: Judged = scorecard::judge(kpi.clone(), at)?;
        let guardrails = kpi.document.guardrails.iter();
        guardrails
            .map(|guardrail| scorecard::guardrail_value(view, &self.versions, guardrail, &judged))
            .collect()
    }

    /// What follows from what was found, as the log of evaluations keeps it.
    pub(super) fn conclude(
        &self,
        found: &Found,
        sequence: i64,
        state: State,
        at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Logged {
        let step = state.step(&self.rules, &found.evaluation, at);
        Logged {
            name: self.stored.name.to_string(),
            sequence,
            version: self.stored.version,
            document: self.stored.document.clone(),
            evaluated_at: at,
            created_at: now,
            observations: found.evaluation.observations.clone(),
            freshness: found.evaluation.freshness,
            reading: step.reading,
            breaches: step.breaches,
            gates: step.gates,
            state_before: state,
            state_after: step.state,
            effect: step.effect,
            log_position: found.provenance.log_position,
            provenance: found.provenance.encode_to_vec(),
        }
    }

    fn periods(&self, count: u32, at: DateTime<Utc>) -> Result<Vec<Pair>> {
        periods(self.shape, self.zone, self.rules.settle, count, at)
    }

    pub(super) fn query(&self, period: Period) -> Result<Query> {
        let breakdown = self.rules.breakdown.iter();
        Ok(Query {
            metric: plan::spec(&self.metrics, &self.metric)?,
            from_micros: instant(period.window.start),
            to_micros: instant(period.window.end),
            zone: self.zone,
            grain: Grain::Total,
            breakdowns: breakdown.map(|breakdown| plan::dimension(&breakdown.by)).collect(),
            filter: None,
            as_of_micros: Some(instant(period.as_of)),
        })
    }

    /// Whether nothing is zero: where a count has no row, nothing happened.
    pub(super) fn counts(&self) -> Result<bool> {
        let definition = plan::definition(&self.metrics, &self.metric)?;
        Ok(definition.is_additive() || matches!(definition, Definition::Unique { .. }))
    }
}

/// The value of one segment in one period.
#[derive(Clone, Copy, Default)]
struct Cell {
    value: Option<f64>,
    sample: u64,
    complete: bool,
}

type Cells = BTreeMap<Option<String>, Cell>;

/// Start, end, and from when on events are not known.
type Stretch = (DateTime<Utc>, DateTime<Utc>, DateTime<Utc>);

/// Answers, each asked for once.
struct Asked<'a> {
    watched: &'a Watched,
    view: &'a View,
    answers: BTreeMap<Stretch, (Query, Answer)>,
}

impl Asked<'_> {
    fn answer(&mut self, period: Period) -> Result<&(Query, Answer)> {
        let key = (period.window.start, period.window.end, period.as_of);
        if !self.answers.contains_key(&key) {
            let query = self.watched.query(period)?;
            let answer = self.view.snapshot.query(&query)?;
            if answer.rows.len() > MAX_SEGMENTS {
                let problem = format!("has more than {MAX_SEGMENTS} values");
                return Err(Error::field("breakdown.by", problem));
            }
            self.answers.insert(key, (query, answer));
        }
        Ok(&self.answers[&key])
    }

    fn cells(&mut self, period: Period) -> Result<Cells> {
        let windowed = matches!(self.watched.shape, Shape::Windows { .. });
        let (_, answer) = self.answer(period)?;
        let cells = answer.rows.iter().map(|row| {
            let segment = row.dimensions.first().cloned().flatten();
            // A window is judged as it stood at its end, whatever may still ripen.
            let complete = row.complete || windowed;
            (segment, Cell { value: row.value, sample: row.n, complete })
        });
        Ok(cells.collect())
    }

    fn observe(
        &mut self,
        pairs: &[Pair],
        breakdown: Option<&Breakdown>,
    ) -> Result<Vec<Observation>> {
        if let (Condition::Anomaly { .. }, Some(grain)) =
            (self.watched.rules.condition, self.watched.rules.grain)
        {
            return past::observe(self.watched, self.view, grain, pairs, breakdown);
        }
        let any = breakdown.is_some_and(|breakdown| breakdown.value.is_none());
        let previous = any || self.watched.rules.condition.versus() == Some(Versus::Previous);
        let mut columns = Vec::with_capacity(pairs.len());
        for pair in pairs {
            let before = if previous { self.cells(pair.before)? } else { Cells::new() };
            columns.push((*pair, self.cells(pair.period)?, before));
        }
        let segments: BTreeSet<Option<String>> = match breakdown {
            None => [None].into(),
            Some(Breakdown { value: Some(value), .. }) => [Some(value.clone())].into(),
            // A value that occurred in any of the periods is missing in the others.
            Some(_) => columns
                .iter()
                .flat_map(|(_, now, before)| now.keys().chain(before.keys()))
                .cloned()
                .collect(),
        };
        let counts = self.watched.counts()?;
        let observed = columns.iter().map(|(pair, now, before)| {
            let of_segments = segments.iter().map(|segment| {
                self.watched.observation(pair, segment.clone(), now, before, counts)
            });
            of_segments
                .max_by(|a, b| self.watched.worse(a, b))
                .unwrap_or_else(|| nothing(pair.period))
        });
        Ok(observed.collect())
    }

    fn provenance(&mut self, newest: Period, sources: &Sources) -> Result<pb::Provenance> {
        let (watched, view) = (self.watched, self.view);
        let (query, answer) = self.answer(newest)?;
        let answered = Answered {
            metrics: &watched.metrics,
            metric_version: watched.metric_version,
            window: newest.window,
            time_zone: watched.zone.name(),
            filter: "",
            head: view.head,
            excluded_events: view.excluded_events,
            scanned_events: answer.events_scanned,
            digest: digest(
                &watched.metrics,
                watched.metric_version,
                query,
                view.head,
                &answer.rows,
            )?,
        };
        Ok(provenance(sources, answered))
    }
}

pub(super) fn nothing(period: Period) -> Observation {
    Observation {
        start: period.window.start,
        end: period.window.end,
        segment: None,
        value: None,
        reference: None,
        spread: None,
        sample: 0,
        complete: true,
    }
}

impl Watched {
    fn observation(
        &self,
        pair: &Pair,
        segment: Option<String>,
        now: &Cells,
        before: &Cells,
        counts: bool,
    ) -> Observation {
        let missing = || Cell {
            value: counts.then_some(0.0),
            sample: 0,
            complete: pair.period.window.end <= pair.period.as_of,
        };
        let now = now.get(&segment).copied().unwrap_or_else(missing);
        let before = before.get(&segment).copied().unwrap_or_else(missing);
        let charter = self.charter.as_ref();
        let reference = match self.rules.condition.versus() {
            None => None,
            Some(Versus::Previous) => before.value,
            Some(Versus::Baseline) => charter.map(|charter| charter.baseline),
            Some(Versus::Target) => charter.map(|charter| charter.target),
        };
        // That a count fell to nothing rests on what it was before.
        let compared = counts && self.rules.condition.versus() == Some(Versus::Previous);
        let sample = if compared { now.sample.max(before.sample) } else { now.sample };
        Observation {
            start: pair.period.window.start,
            end: pair.period.window.end,
            segment,
            value: now.value,
            reference,
            spread: None,
            sample,
            complete: now.complete,
        }
    }

    /// A breach is worse than none, one further out is worse, and of what is
    /// equally bad the first by name is taken.
    pub(super) fn worse(&self, a: &Observation, b: &Observation) -> Ordering {
        let rank = |observation: &Observation| match observation.read(&self.rules).0 {
            Reading::Unknown => 0,
            Reading::Clear => 1,
            Reading::Between => 2,
            Reading::Breached => 3,
        };
        let severity = |observation: &Observation| {
            self.rules.condition.severity(observation.value, observation.held_against())
        };
        rank(a)
            .cmp(&rank(b))
            .then_with(|| severity(a).total_cmp(&severity(b)))
            .then_with(|| b.segment.cmp(&a.segment))
    }
}
