//! QueryCohort: how large a cohort is and who is in it, from one view.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use northstar_domain::kpi::{not_a_zone, read_zone};
use northstar_domain::{Problems, ProjectId};
use northstar_engine::calendar::Buckets;
use northstar_engine::{Cohort as Judged, Grain, SubjectName};
use northstar_proto::metrics::v1 as pb;
use northstar_store::Error as StoreError;
use northstar_store::metrics::cohort::Member;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::{Loaded, load, rule, service::cohort};
use crate::ask::ask;
use crate::convert::{from_timestamp, to_timestamp};
use crate::plan;
use crate::query::read_grain;
use crate::service::Metrics as Service;
use crate::{Error, Result};

/// Most instants of sizes over time.
const MAX_SIZES: usize = 1_000;

/// Members of one message: some tens of kilobytes.
const MEMBERS_A_MESSAGE: usize = 1_000;

/// Messages that wait for the reader.
const MESSAGES_IN_FLIGHT: usize = 4;

type Responses = ReceiverStream<Result<pb::QueryCohortResponse, Status>>;

/// A question that makes sense.
struct Question {
    /// The instants, rising; the last is the one that members are judged at.
    instants: Vec<DateTime<Utc>>,
    time: DateTime<Utc>,
}

/// Answers a question.
pub(super) async fn query_cohort(
    service: &Service,
    project: ProjectId,
    request: pb::QueryCohortRequest,
) -> Result<Responses> {
    let question = read(&request, service.clock.now())?;
    let mut connection = service.pool.acquire().await.map_err(StoreError::from)?;
    let loaded = load(&mut connection, project, &request.cohort).await?;
    drop(connection);
    let view = service.datasets.view(project).await?;
    let Loaded { stored, list } = loaded;
    let mut instants: Vec<i64> =
        question.instants.iter().map(|time| plan::instant(*time)).collect();
    instants.push(plan::instant(question.time));
    let document = stored.document.clone();
    let with_members = request.members;
    let (sizes, members) = ask(&view.snapshot, move |snapshot| -> Result<_> {
        match (&document.rule, list) {
            (Some(rule), _) => {
                let Judged { sizes, members } = snapshot.cohort(&rule::rule(rule)?, &instants)?;
                let members = if with_members { snapshot.names(&members) } else { Vec::new() };
                Ok((sizes, members))
            }
            // A list was the same at any time.
            (None, list) => {
                let list = list.unwrap_or_default();
                Ok((vec![list.len() as u64; instants.len()], named(&list)))
            }
        }
    })
    .await?;
    let size = sizes.last().copied().unwrap_or(0).cast_signed();
    let header = pb::CohortSize {
        cohort: Some(cohort(&stored)),
        members: size,
        time: Some(to_timestamp(question.time)),
        sizes: question
            .instants
            .iter()
            .zip(&sizes)
            .map(|(time, members)| pb::CohortSizeAt {
                time: Some(to_timestamp(*time)),
                members: members.cast_signed(),
            })
            .collect(),
        log_position: view.head.position,
        identity_map_version: view.head.identity_version,
        excluded_no_consent_events: view.excluded_events.cast_signed(),
    };
    let (sender, receiver) = mpsc::channel(MESSAGES_IN_FLIGHT);
    tokio::spawn(send(sender, header, page(&request, members)));
    Ok(ReceiverStream::new(receiver))
}

/// Sends until the end or until the reader leaves.
async fn send(
    sender: mpsc::Sender<Result<pb::QueryCohortResponse, Status>>,
    size: pb::CohortSize,
    members: Vec<SubjectName>,
) {
    let first = pb::QueryCohortResponse { size: Some(size), members: Vec::new() };
    if sender.send(Ok(first)).await.is_err() {
        return;
    }
    for members in members.chunks(MEMBERS_A_MESSAGE) {
        let members = members.iter().map(subject).collect();
        let part = pb::QueryCohortResponse { size: None, members };
        if sender.send(Ok(part)).await.is_err() {
            return;
        }
    }
}

/// A subject for the wire.
pub(crate) fn subject(name: &SubjectName) -> pb::Subject {
    pb::Subject { kind: name.kind.clone(), value: name.value.clone() }
}

fn named(list: &Arc<Vec<Member>>) -> Vec<SubjectName> {
    let name =
        |member: &Member| SubjectName { kind: member.kind.clone(), value: member.value.clone() };
    list.iter().map(name).collect()
}

/// The members that are asked for.
fn page(request: &pb::QueryCohortRequest, mut members: Vec<SubjectName>) -> Vec<SubjectName> {
    if !request.members {
        return Vec::new();
    }
    members.drain(..after(request.after.as_ref(), &members));
    if request.limit > 0 {
        members.truncate(usize::try_from(request.limit).unwrap_or(usize::MAX));
    }
    members
}

/// How many of sorted names come up to one.
pub(crate) fn after(after: Option<&pb::Subject>, names: &[SubjectName]) -> usize {
    let Some(pb::Subject { kind, value }) = after else { return 0 };
    names.partition_point(|name| (&name.kind, &name.value) <= (kind, value))
}

fn read(request: &pb::QueryCohortRequest, now: DateTime<Utc>) -> Result<Question> {
    let mut problems = Problems::default();
    let mut read = |field: &str, time: Option<prost_types::Timestamp>| {
        let read = from_timestamp(&time?);
        if read.is_none() {
            problems.fields.push(field, "is not a time: seconds or nanos are out of range");
        }
        read
    };
    let time = read("time", request.time).unwrap_or(now);
    let start = read("start_time", request.start_time);
    if request.limit < 0 {
        problems.fields.push("limit", "must not be negative");
    }
    let zone = read_zone(&request.time_zone);
    if zone.is_none() {
        problems.fields.push("time_zone", not_a_zone(&request.time_zone));
    }
    let grain = read_grain(&mut problems, request.grain);
    if start.is_some_and(|start| start >= time) {
        problems.fields.push("start_time", "must be before time");
    }
    let (Some(zone), Some(grain)) = (zone, grain) else { return Err(Error::Refused(problems)) };
    Error::check(problems)?;
    let instants = match start {
        Some(start) if grain != Grain::Total => {
            let buckets =
                Buckets::covering(plan::instant(start), plan::instant(time), zone, grain)?;
            if buckets.len() > MAX_SIZES {
                let problem = format!(
                    "gives {} sizes; at most {MAX_SIZES} are possible, so choose a coarser grain \
                     or a later start_time",
                    buckets.len()
                );
                return Err(Error::field("grain", problem));
            }
            let ends = (0..buckets.len()).map(|bucket| buckets.end(bucket));
            ends.filter_map(DateTime::from_timestamp_micros).map(|end| end.min(time)).collect()
        }
        _ => Vec::new(),
    };
    Ok(Question { instants, time })
}
