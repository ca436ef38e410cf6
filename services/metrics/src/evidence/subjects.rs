//! ListSubjects: the subjects behind a cell.

use northstar_domain::ProjectId;
use northstar_engine::SubjectName;
use northstar_proto::metrics::v1 as pb;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::cell::Found;
use crate::ask::ask;
use crate::cohorts::{after, subject};
use crate::service::Metrics as Service;
use crate::{Error, Result};

/// Subjects of one message: some tens of kilobytes.
const SUBJECTS_A_MESSAGE: usize = 1_000;

/// Messages that wait for the reader.
const MESSAGES_IN_FLIGHT: usize = 4;

/// Answers the question.
pub(super) async fn list_subjects(
    service: &Service,
    project: ProjectId,
    request: pb::ListSubjectsRequest,
) -> Result<ReceiverStream<Result<pb::ListSubjectsResponse, Status>>> {
    let limit = read_limit(request.limit)?;
    let found = Found::compute(service, project, request.cell).await?;
    let Found { computed, cell, row, provenance, .. } = found;
    let query = computed.query;
    let names: Vec<SubjectName> = ask(&computed.view.snapshot, move |snapshot| {
        Ok::<_, Error>(snapshot.names(&snapshot.behind(&query, &cell)?))
    })
    .await?;
    let summary =
        pb::SubjectsSummary { row, subjects: names.len() as i64, provenance: Some(provenance) };
    let start = after(request.after.as_ref(), &names);
    let (sender, receiver) = mpsc::channel(MESSAGES_IN_FLIGHT);
    tokio::spawn(async move {
        let first = pb::ListSubjectsResponse { summary: Some(summary), subjects: Vec::new() };
        if sender.send(Ok(first)).await.is_err() {
            return;
        }
        let end = start.saturating_add(limit).min(names.len());
        for names in names[start..end].chunks(SUBJECTS_A_MESSAGE) {
            let subjects = names.iter().map(subject).collect();
            let part = pb::ListSubjectsResponse { summary: None, subjects };
            if sender.send(Ok(part)).await.is_err() {
                return;
            }
        }
    });
    Ok(ReceiverStream::new(receiver))
}

/// Reads a limit; 0 is none.
pub(super) fn read_limit(limit: i64) -> Result<usize> {
    match usize::try_from(limit) {
        Ok(0) => Ok(usize::MAX),
        Ok(limit) => Ok(limit),
        Err(_) => Err(Error::field("limit", "must not be negative")),
    }
}
