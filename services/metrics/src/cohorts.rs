//! Cohorts: who is in them, and questions about them only or by them.

mod members;
mod query;
mod rule;
mod service;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use northstar_domain::cohort::Cohort;
use northstar_domain::{Problems, ProjectId};
use northstar_engine::{Dimension, FirstEvent, Side, Snapshot, SubjectSet};
use northstar_proto::metrics::v1 as pb;
use northstar_store::metrics::cohort::{self, Member};
use northstar_store::metrics::definition::{self, Stored};
use northstar_store::metrics::log::Head;
use northstar_store::{Error as StoreError, PgConnection};
use serde::Serialize;

use crate::ask::ask;
use crate::dataset::{Lists, View};
use crate::plan::{self, Metrics};
use crate::provenance;
use crate::service::Metrics as Service;
use crate::{Error, Result};
pub(crate) use query::{after, subject};

/// Most cohorts of a question.
const MAX_COHORTS: usize = 10;

/// Which cohorts a question is about.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope {
    /// Only subjects in every one of these count.
    pub(crate) filter: Vec<String>,
    /// The answer is broken down by these.
    pub(crate) breakdowns: Vec<String>,
    /// Position of the log up to which events are known; `None` for all of it.
    pub(crate) position: Option<i64>,
    /// Where every subject has an instant of its own at which it is judged: its first such event.
    pub(crate) first: Option<FirstEvent>,
}

impl Scope {
    /// The cohorts that narrow a question, and those among its dimensions.
    pub(crate) fn of(filter: &[String], breakdowns: &[Dimension]) -> Self {
        let cohort = |dimension: &Dimension| match dimension {
            Dimension::Cohort(name) => Some(name.clone()),
            _ => None,
        };
        Self {
            filter: filter.to_vec(),
            breakdowns: breakdowns.iter().filter_map(cohort).collect(),
            position: None,
            first: None,
        }
    }

    fn names(&self) -> BTreeSet<&str> {
        self.filter.iter().chain(&self.breakdowns).map(String::as_str).collect()
    }
}

/// A cohort that had a part in an answer, for its digest.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Used {
    /// Its name.
    pub(crate) name: String,
    /// Its version.
    pub(crate) version: i64,
    /// Whether it narrowed the answer.
    pub(crate) is_filter: bool,
}

/// A cohort with its members, where they are listed.
pub(crate) struct Loaded {
    pub(crate) stored: Stored<Cohort>,
    pub(crate) list: Option<Arc<Vec<Member>>>,
}

/// A view of the log, narrowed to the cohorts of a question and broken down by
/// them as they stood at an instant, and the cohorts that were used. Cohorts and
/// events are of the same moment.
pub(crate) async fn view(
    service: &Service,
    project: ProjectId,
    scope: &Scope,
    as_of: DateTime<Utc>,
) -> Result<(View, Vec<Used>)> {
    let names = scope.names();
    if names.is_empty() {
        return Ok((service.datasets.view(project).await?, Vec::new()));
    }
    let mut connection = service.pool.acquire().await.map_err(StoreError::from)?;
    let mut loaded = Vec::new();
    for name in names {
        loaded.push(load(&mut connection, project, name).await?);
    }
    drop(connection);
    let (mut view, sets) = service.datasets.view_with(project, lists(&loaded)).await?;
    let used = loaded
        .iter()
        .map(|cohort| {
            let name = cohort.stored.name.to_string();
            let is_filter = scope.filter.contains(&name);
            Used { name, version: cohort.stored.version, is_filter }
        })
        .collect();
    let scope = scope.clone();
    let narrowed =
        ask(&view.snapshot, move |snapshot| narrow(snapshot, &loaded, sets, &scope, as_of));
    view.snapshot = narrowed.await?.limited_as(&view.snapshot);
    Ok((view, used))
}

/// Notes that a question is narrowed to too many cohorts.
pub(crate) fn check_number(problems: &mut Problems, cohorts: &[String]) {
    if cohorts.len() > MAX_COHORTS {
        let problem = format!("at most {MAX_COHORTS} are allowed, not {}", cohorts.len());
        problems.fields.push("cohorts", problem);
    }
}

/// Reads a breakdown that knows cohorts only: their names, in order.
pub(crate) fn read_breakdowns(problems: &mut Problems, breakdowns: &[String]) -> Vec<String> {
    let dimensions = crate::query::read_breakdowns(problems, breakdowns);
    let mut cohorts = Vec::new();
    for (index, dimension) in dimensions.into_iter().enumerate() {
        match dimension {
            Dimension::Cohort(name) => cohorts.push(name),
            _ => {
                let problem = "must be a cohort, as \"cohort.x\": subjects are broken down here, \
                               and not events";
                problems.fields.push(format!("breakdowns[{index}]"), problem);
            }
        }
    }
    cohorts
}

/// A view on every side of cohorts of its own; of no cohorts, the view itself.
pub(crate) fn parts(snapshot: &Snapshot, cohorts: &[String]) -> Result<Vec<(Vec<Side>, Snapshot)>> {
    let mut parts = vec![(Vec::new(), snapshot.clone())];
    for cohort in cohorts {
        let mut halves = Vec::with_capacity(2 * parts.len());
        for (sides, part) in &parts {
            for side in Side::BOTH {
                let sides = sides.iter().copied().chain([side]).collect();
                halves.push((sides, part.part_of(cohort, side)?));
            }
        }
        parts = halves;
    }
    Ok(parts)
}

/// The values of a row by the dimensions of a breakdown.
pub(crate) fn dimensions(breakdowns: &[String], sides: &[Side]) -> BTreeMap<String, String> {
    let sides = sides.iter().map(|side| side.value().to_owned());
    breakdowns.iter().cloned().zip(sides).collect()
}

/// The digest of an answer in which cohorts had a part; without any, the same as
/// [`provenance::digest`].
pub(crate) fn digest(
    metrics: &Metrics,
    metric_version: i64,
    question: &impl Serialize,
    cohorts: &[Used],
    head: Head,
    answer: &impl Serialize,
) -> Result<String> {
    if cohorts.is_empty() {
        return provenance::digest(metrics, metric_version, question, head, answer);
    }
    provenance::digest(metrics, metric_version, &(question, cohorts), head, answer)
}

/// Finds a cohort and, where it has one, its list.
pub(crate) async fn load(
    connection: &mut PgConnection,
    project: ProjectId,
    name: &str,
) -> Result<Loaded> {
    let stored = definition::find::<Cohort>(connection, project, name)
        .await?
        .ok_or_else(|| Error::NotFound { kind: "Cohort", name: name.to_owned() })?;
    let list = match &stored.document.list {
        Some(_) => Some(Arc::new(cohort::members(connection, project, name).await?)),
        None => None,
    };
    Ok(Loaded { stored, list })
}

/// The lists of cohorts by name, for the data set to find their subjects.
pub(crate) fn lists(cohorts: &[Loaded]) -> Lists {
    cohorts
        .iter()
        .filter_map(|cohort| Some((cohort.stored.name.to_string(), cohort.list.clone()?)))
        .collect()
}

fn narrow(
    snapshot: &Snapshot,
    cohorts: &[Loaded],
    mut sets: BTreeMap<String, SubjectSet>,
    scope: &Scope,
    as_of: DateTime<Utc>,
) -> Result<Snapshot> {
    for Loaded { stored, .. } in cohorts {
        if let Some(rule) = &stored.document.rule {
            let rule = rule::rule(rule)?;
            let members = match &scope.first {
                Some(first) => snapshot.cohort_at_first(&rule, first)?,
                None => {
                    let instant = [plan::instant(as_of)];
                    snapshot.cohort_up_to(&rule, &instant, scope.position)?.members
                }
            };
            sets.insert(stored.name.to_string(), members);
        }
    }
    let mut filters = scope.filter.iter().filter_map(|name| sets.get(name));
    let narrowed = filters.next().cloned().map(|mut first| {
        filters.for_each(|other| first.intersect(other));
        first
    });
    let snapshot = match narrowed {
        Some(subjects) => snapshot.only(&subjects),
        None => snapshot.clone(),
    };
    sets.retain(|name, _| scope.breakdowns.contains(name));
    Ok(snapshot.with_cohorts(sets))
}

/// The cohorts of a question as they are defined now.
pub(crate) async fn used(
    service: &Service,
    project: ProjectId,
    request: &pb::QueryMetricRequest,
) -> Result<Vec<Used>> {
    let breakdowns: Vec<Dimension> =
        request.breakdowns.iter().map(|name| plan::dimension(name)).collect();
    let scope = Scope::of(&request.cohorts, &breakdowns);
    let mut used = Vec::new();
    let mut connection = service.pool.acquire().await.map_err(StoreError::from)?;
    for name in scope.names() {
        let stored = definition::find::<Cohort>(&mut connection, project, name)
            .await?
            .ok_or_else(|| Error::NotFound { kind: "Cohort", name: name.to_owned() })?;
        let name = stored.name.to_string();
        let is_filter = scope.filter.contains(&name);
        used.push(Used { name, version: stored.version, is_filter });
    }
    Ok(used)
}
