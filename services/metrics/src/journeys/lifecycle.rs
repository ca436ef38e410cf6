//! QueryLifecycle and ListLifecycleSubjects.

use northstar_domain::ProjectId;
use northstar_engine::journeys::{LifecycleAnswer, LifecycleCell, LifecycleQuery, LifecycleRow};
use northstar_engine::{Grain, Lifecycle};
use northstar_proto::metrics::v1 as pb;

use super::ROWS_PER_MESSAGE;
use super::ask::{Asked, Reply};
use super::page::{Page, page};
use super::read::{Reader, instant};
use super::times;
use crate::service::Metrics as Service;
use crate::{Error, Result};

/// Answers a question, in parts.
pub(super) async fn query(
    service: &Service,
    project: ProjectId,
    request: pb::QueryLifecycleRequest,
) -> Result<Vec<pb::QueryLifecycleResponse>> {
    let mut reader = Reader::default();
    let compare = reader.compare(request.compare_start_time, request.compare);
    let asked = Asked { compare, ..read(reader, request.question.unwrap_or_default())? };
    let replies = asked.answer(service, project).await?;
    Ok(replies.into_iter().flat_map(tell).collect())
}

/// Lists the subjects behind a number.
pub(super) async fn list(
    service: &Service,
    project: ProjectId,
    request: pb::ListLifecycleSubjectsRequest,
) -> Result<pb::ListLifecycleSubjectsResponse> {
    let state = match request.state() {
        pb::LifecycleState::New => Lifecycle::New,
        pb::LifecycleState::Returning => Lifecycle::Returning,
        pb::LifecycleState::Resurrecting => Lifecycle::Resurrecting,
        pb::LifecycleState::Dormant => Lifecycle::Dormant,
        pb::LifecycleState::Unspecified => return Err(Error::field("state", "is required")),
    };
    let bucket_start = instant(request.bucket_time)
        .ok_or_else(|| Error::field("bucket_time", "is required: the start of the period"))?;
    let asked = read(Reader::default(), request.question.unwrap_or_default())?;
    let cell = LifecycleCell { bucket_start, state };
    let list = (request.page_size, request.page_token.as_str());
    let Page { subjects, next_page_token, total_size, log_position } =
        page(service, project, asked, cell, list).await?;
    Ok(pb::ListLifecycleSubjectsResponse { subjects, next_page_token, total_size, log_position })
}

fn read(mut reader: Reader, question: pb::LifecycleQuestion) -> Result<Asked<LifecycleQuery>> {
    let scope = reader.scope(question.scope);
    let event = reader.selector("event", question.event);
    let period = reader.grain("period", question.period).unwrap_or(Grain::Day);
    let reads = reader.finish()?;
    let scope = scope.ok_or_else(|| Error::field("question.scope", "is required"))?;
    let question = LifecycleQuery { scope: scope.scope.clone(), event, period };
    Ok(Asked { question, scope, reads, compare: None })
}

/// An answer in messages.
fn tell(reply: Reply<LifecycleAnswer>) -> Vec<pb::QueryLifecycleResponse> {
    let Reply { period, answer, provenance } = reply;
    let periods: Vec<pb::LifecyclePeriod> = answer.rows.iter().map(period_to_proto).collect();
    let mut messages: Vec<pb::QueryLifecycleResponse> = periods
        .chunks(ROWS_PER_MESSAGE)
        .map(|periods| pb::QueryLifecycleResponse {
            periods: periods.to_vec(),
            provenance: None,
            period: period.into(),
        })
        .collect();
    if messages.is_empty() {
        let period = period.into();
        messages.push(pb::QueryLifecycleResponse { period, ..Default::default() });
    }
    if let Some(last) = messages.last_mut() {
        last.provenance = Some(provenance);
    }
    messages
}

fn period_to_proto(row: &LifecycleRow) -> pb::LifecyclePeriod {
    pb::LifecyclePeriod {
        bucket_time: times::instant(row.bucket_start),
        new: row.new.cast_signed(),
        returning: row.returning.cast_signed(),
        resurrecting: row.resurrecting.cast_signed(),
        dormant: row.dormant.cast_signed(),
        active: row.active().cast_signed(),
        complete: row.complete,
    }
}
