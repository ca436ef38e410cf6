//! PreviewMerge: what would come together.
//!
//! The events of both sides are counted from the log itself, in one pass over
//! it: exact, and for an answer that people wait for once.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use northstar_client::Clients;
use northstar_domain::ProjectId;
use northstar_domain::identity::{Fact, Identifier, SaidBy, Verb, resolve};
use northstar_proto::ingestion::v1 as pb;
use northstar_proto::metrics::v1 as metrics;
use northstar_store::ingestion::log::LoggedEvent;
use northstar_store::ingestion::{heads, log};
use tonic::Status;

use super::Subjects;
use super::convert::{identifier, identifier_to_proto};
use crate::convert::time_to_proto;
use crate::error::Error;
use crate::identity::{Subject, closure, policy, subject_of};

/// Events read at once.
const PAGE_EVENTS: i64 = 5_000;
/// Longest wait for the metrics service.
const TIMEOUT: Duration = Duration::from_secs(5);

pub(super) async fn preview_merge(
    service: &Subjects,
    project: ProjectId,
    request: &pb::PreviewMergeRequest,
) -> Result<pb::PreviewMergeResponse, Error> {
    let from = identifier("from", request.from.as_ref())?;
    let to = identifier("to", request.to.as_ref())?;
    let mut connection = service.pool.acquire().await.map_err(northstar_store::Error::from)?;
    let head = heads::read(&mut connection, project).await?;
    let from = subject_of(&mut connection, project, &from, head.identity_version).await?;
    let to = subject_of(&mut connection, project, &to, head.identity_version).await?;
    let already_one = from.name == to.name;

    let policy = policy(&mut connection, project).await?;
    let seeds = BTreeSet::from([from.name.clone(), to.name.clone()]);
    let mut facts = closure(&mut connection, project, seeds).await?;
    let before = resolve(&policy, &facts);
    if !already_one {
        facts.push(Fact {
            effective_at: service.clock.now(),
            id: i64::MAX,
            verb: Verb::Merge,
            from: from.name.clone(),
            to: to.name.clone(),
            said_by: SaidBy::Person,
            undoes: None,
        });
    }
    let after = resolve(&policy, &facts);
    let changed = after
        .subjects
        .iter()
        .filter(|(identifier, subject)| before.subject(identifier) != *subject)
        .count();

    let mut sides = [Side::of(&from), Side::of(&to)];
    let mut position = 0;
    while position < head.position {
        let events = log::read_after(&mut connection, project, position, PAGE_EVENTS).await?;
        // What was archived away leaves a gap; the log goes on behind it.
        position = events.last().map_or(position + PAGE_EVENTS, |last| last.position);
        for event in &events {
            sides.iter_mut().for_each(|side| side.count(event));
        }
    }
    drop(connection);
    let [left, right] = sides;
    let kpis = affected_kpis(&service.clients.for_project(project.0), &left, &right).await;
    if let Err(status) = &kpis {
        tracing::warn!(code = ?status.code(), "the preview of a merge names no kpis: metrics is away");
    }
    Ok(pb::PreviewMergeResponse {
        from: Some(left.into_proto(&from)),
        to: Some(right.into_proto(&to)),
        already_one,
        changed_identifiers: i64::try_from(changed).unwrap_or(i64::MAX),
        kpis_known: kpis.is_ok(),
        affected_kpis: kpis.unwrap_or_default(),
        log_position: head.position,
    })
}

/// The events of one subject.
struct Side {
    actors: HashSet<Identifier>,
    by_name: BTreeMap<String, i64>,
    times: Option<(DateTime<Utc>, DateTime<Utc>)>,
}

impl Side {
    fn of(subject: &Subject) -> Self {
        let actors = subject.identifiers().into_iter().collect();
        Self { actors, by_name: BTreeMap::new(), times: None }
    }

    fn count(&mut self, event: &LoggedEvent) {
        let actor = if event.user_id.is_empty() {
            Identifier::anonymous(event.anonymous_id.as_str())
        } else {
            Identifier::user(event.user_id.as_str())
        };
        if !self.actors.contains(&actor) {
            return;
        }
        *self.by_name.entry(event.name.clone()).or_default() += 1;
        let at = event.effective_at;
        self.times =
            Some(self.times.map_or((at, at), |(first, last)| (first.min(at), last.max(at))));
    }

    fn into_proto(self, subject: &Subject) -> pb::MergeSide {
        pb::MergeSide {
            subject: Some(identifier_to_proto(&subject.name)),
            identifiers: subject.others.iter().map(identifier_to_proto).collect(),
            events: self.by_name.values().sum(),
            events_by_name: self.by_name,
            first_event_time: self.times.map(|(first, _)| time_to_proto(first)),
            last_event_time: self.times.map(|(_, last)| time_to_proto(last)),
        }
    }
}

/// The KPIs that look at subjects and read events of both sides.
async fn affected_kpis(
    clients: &Clients,
    left: &Side,
    right: &Side,
) -> Result<Vec<String>, Status> {
    let mut client = clients.metrics();
    let mut definitions = BTreeMap::new();
    let mut page_token = String::new();
    loop {
        let mut request =
            tonic::Request::new(metrics::ListMetricsRequest { page_size: 1_000, page_token });
        request.set_timeout(TIMEOUT);
        let page = client.list_metrics(request).await?.into_inner();
        definitions.extend(page.metrics.into_iter().map(|metric| (metric.name.clone(), metric)));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let mut affected = BTreeSet::new();
    loop {
        let mut request =
            tonic::Request::new(metrics::ListKpisRequest { page_size: 1_000, page_token });
        request.set_timeout(TIMEOUT);
        let page = client.list_kpis(request).await?.into_inner();
        for kpi in page.kpis {
            let read = events_by_subject(&definitions, &kpi.metric);
            let reads = |side: &Side| {
                // An empty selector reads every event.
                side.by_name.keys().any(|name| read.contains(name.as_str()) || read.contains(""))
            };
            if reads(left) && reads(right) {
                affected.insert(kpi.name);
            }
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(affected.into_iter().collect());
        }
    }
}

/// The events that a metric reads by subject. Counts, sums and means over events
/// do not care whose they are.
fn events_by_subject<'a>(
    definitions: &'a BTreeMap<String, metrics::Metric>,
    name: &str,
) -> BTreeSet<&'a str> {
    use metrics::metric::Definition;
    let Some(definition) = definitions.get(name).and_then(|metric| metric.definition.as_ref())
    else {
        return BTreeSet::new();
    };
    let names = |selectors: &[Option<&'a metrics::EventSelector>]| -> BTreeSet<&'a str> {
        selectors.iter().flatten().map(|selector| selector.event.as_str()).collect()
    };
    match definition {
        Definition::Unique(metric) if !metric.activity.is_empty() => BTreeSet::from([""]),
        Definition::Unique(metric) if matches!(metric.of.as_str(), "" | "subject") => {
            names(&[metric.event.as_ref()])
        }
        Definition::Unique(_)
        | Definition::Count(_)
        | Definition::Sum(_)
        | Definition::Mean(_)
        | Definition::Min(_)
        | Definition::Max(_)
        | Definition::Percentile(_)
        | Definition::Nps(_) => BTreeSet::new(),
        // Metrics stand on metrics in no circle.
        Definition::Ratio(metric) => {
            let mut read = events_by_subject(definitions, &metric.numerator);
            read.extend(events_by_subject(definitions, &metric.denominator));
            read
        }
        Definition::Cumulative(metric) => events_by_subject(definitions, &metric.metric),
        Definition::Derived(metric) => {
            let inputs = metric.inputs.iter();
            inputs.flat_map(|input| events_by_subject(definitions, &input.metric)).collect()
        }
        // An activity may hold any event.
        Definition::Stickiness(metric) if !metric.activity.is_empty() => BTreeSet::from([""]),
        Definition::Lifecycle(metric) if !metric.activity.is_empty() => BTreeSet::from([""]),
        Definition::Stickiness(metric) => names(&[metric.event.as_ref()]),
        Definition::Lifecycle(metric) => names(&[metric.event.as_ref()]),
        Definition::PerSubject(metric) => names(&[metric.event.as_ref()]),
        Definition::Conversion(metric) => {
            names(&[metric.base.as_ref(), metric.conversion.as_ref()])
        }
        Definition::Funnel(metric) => {
            metric.steps.iter().map(|selector| selector.event.as_str()).collect()
        }
        Definition::Retention(metric) => names(&[metric.start.as_ref(), metric.r#return.as_ref()]),
        Definition::TimeToEvent(metric) => names(&[metric.from.as_ref(), metric.to.as_ref()]),
    }
}
