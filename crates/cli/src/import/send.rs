//! Sends batches, as columns, over one stream with a window of unanswered ones; after a lost
//! connection, sends what was not answered again. Duplicates are harmless.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use northstar_client::Clients;
use northstar_client::columns::ColumnsBuilder;
use northstar_client::result_runs::expand;
use northstar_proto::ingestion::v1 as pb;
use northstar_server::outbox::SOURCE;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use super::progress::Progress;
use super::rows::{Batch, Read};
use super::{BadRow, Summary};

/// Unanswered batches.
const WINDOW: usize = 8;
/// Before events are sent again for which there was no room.
const PAUSE: Duration = Duration::from_millis(250);
/// Tries to reach the suite again before giving up.
const ATTEMPTS: u32 = 8;

struct Pending {
    sequence: i64,
    rows: Rows,
}

/// Events of one source, with the lines they come from.
struct Rows {
    source: Arc<str>,
    events: Vec<pb::Event>,
    lines: Vec<u64>,
}

/// Everything that is known about an import under way.
struct Import<'a> {
    clients: &'a Clients,
    progress: &'a Progress,
    summary: Summary,
    pending: VecDeque<Pending>,
    next_sequence: i64,
    failures: u32,
    /// Whether what the suite told of itself is taken from us; asked when it comes up.
    for_the_suite: Option<bool>,
}

/// Sends every batch and adds up what became of the rows.
///
/// # Errors
/// When the file cannot be read on, or the suite stays away; what was answered
/// is in the log.
pub async fn send_all(
    clients: &Clients,
    mut batches: mpsc::Receiver<Read>,
    progress: &Progress,
) -> anyhow::Result<Summary> {
    let mut import = Import {
        clients,
        progress,
        summary: Summary::default(),
        pending: VecDeque::new(),
        next_sequence: 1,
        failures: 0,
        for_the_suite: None,
    };
    let mut ended = false;
    while !ended || !import.pending.is_empty() {
        match import.stream(&mut batches, &mut ended).await? {
            Ok(()) => {}
            Err(status) => import.wait_after(status).await?,
        }
    }
    Ok(import.summary)
}

impl Import<'_> {
    /// One stream, until everything is answered or it breaks.
    async fn stream(
        &mut self,
        batches: &mut mpsc::Receiver<Read>,
        ended: &mut bool,
    ) -> anyhow::Result<Result<(), tonic::Status>> {
        let (requests, outgoing) = mpsc::channel(2 * WINDOW);
        for pending in &self.pending {
            requests.send(self.request(pending)).await.context("the stream ended at once")?;
        }
        let opened = self.clients.ingestion().stream_events(ReceiverStream::new(outgoing)).await;
        let mut answers = match opened {
            Ok(response) => response.into_inner(),
            Err(status) => return Ok(Err(status)),
        };
        loop {
            if *ended && self.pending.is_empty() {
                return Ok(Ok(()));
            }
            let room = !*ended && self.pending.len() < WINDOW;
            tokio::select! {
                batch = batches.recv(), if room => match batch {
                    None => *ended = true,
                    Some(batch) => {
                        let batch = batch?;
                        self.summary.read += (batch.events.len() + batch.malformed.len()) as u64;
                        if &*batch.source == SOURCE && !self.for_the_suite().await? {
                            self.summary.left_out += batch.events.len() as u64;
                            self.progress.rows(batch.events.len() as u64);
                            continue;
                        }
                        let rows = self.quarantine(batch).await?;
                        if !rows.events.is_empty() {
                            self.push(rows);
                            let request = self.pending.back().map(|last| self.request(last));
                            if let Some(request) = request {
                                // A broken stream shows in its answers.
                                let _ = requests.send(request).await;
                            }
                        }
                    }
                },
                answer = answers.message(), if !self.pending.is_empty() => match answer {
                    Ok(Some(answer)) => {
                        self.failures = 0;
                        if let Some(again) = self.tally(answer) {
                            tokio::time::sleep(PAUSE).await;
                            let _ = requests.send(again).await;
                        }
                    }
                    Ok(None) => return Ok(Err(tonic::Status::unavailable("the stream ended"))),
                    Err(status) => return Ok(Err(status)),
                },
            }
        }
    }

    /// Asks, with no events, whether the key may tell what the suite tells of itself.
    async fn for_the_suite(&mut self) -> anyhow::Result<bool> {
        loop {
            if let Some(known) = self.for_the_suite {
                return Ok(known);
            }
            let nothing = pb::IngestEventsRequest { source: SOURCE.to_owned(), events: Vec::new() };
            match self.clients.ingestion().ingest_events(nothing).await {
                Ok(_) => self.for_the_suite = Some(true),
                Err(status) if status.code() == Code::PermissionDenied => {
                    self.for_the_suite = Some(false);
                }
                Err(status) => self.wait_after(status).await?,
            }
        }
    }

    fn push(&mut self, rows: Rows) {
        self.pending.push_back(Pending { sequence: self.next_sequence, rows });
        self.next_sequence += 1;
    }

    fn request(&self, pending: &Pending) -> pb::StreamEventsRequest {
        let mut columns = ColumnsBuilder::default();
        for event in &pending.rows.events {
            columns.push_event(event);
        }
        pb::StreamEventsRequest {
            sequence: pending.sequence,
            source: pending.rows.source.to_string(),
            columns: Some(columns.finish()),
            ..pb::StreamEventsRequest::default()
        }
    }

    /// Adds an answer up; events to be sent again become a new batch.
    fn tally(&mut self, answer: pb::StreamEventsResponse) -> Option<pb::StreamEventsRequest> {
        let place = self.pending.iter().position(|pending| pending.sequence == answer.sequence)?;
        let answered = self.pending.remove(place)?;
        let Rows { source, events, lines } = answered.rows;
        let mut again = Rows { source, events: Vec::new(), lines: Vec::new() };
        for ((event, line), result) in events.into_iter().zip(lines).zip(expand(answer.result_runs))
        {
            if result.outcome() == pb::EventOutcome::Retry {
                again.events.push(event);
                again.lines.push(line);
                continue;
            }
            self.progress.rows(1);
            self.count(line, &result);
        }
        if again.events.is_empty() {
            return None;
        }
        self.push(again);
        self.pending.back().map(|last| self.request(last))
    }

    fn count(&mut self, line: u64, result: &pb::EventResult) {
        match result.outcome() {
            pb::EventOutcome::Accepted => self.summary.accepted += 1,
            pb::EventOutcome::Duplicate => self.summary.duplicate += 1,
            pb::EventOutcome::Quarantined => {
                self.summary.quarantined += 1;
                self.report(line, result);
            }
            pb::EventOutcome::Rejected
            | pb::EventOutcome::Retry
            | pb::EventOutcome::Unspecified => {
                self.summary.rejected += 1;
                self.report(line, result);
            }
        }
    }

    fn report(&mut self, line: u64, result: &pb::EventResult) {
        self.summary.report(BadRow {
            line,
            reason: result.reason.clone(),
            field: result.field.clone(),
            message: result.message.clone(),
        });
    }

    /// Hands rows that are no events to quarantine, and gives the events back.
    async fn quarantine(&mut self, batch: Batch) -> anyhow::Result<Rows> {
        let Batch { source, events, lines, malformed, bad } = batch;
        for bad in bad {
            self.summary.report(bad);
        }
        let rows = Rows { source, events, lines };
        if malformed.is_empty() {
            return Ok(rows);
        }
        let request =
            pb::QuarantineRecordsRequest { source: rows.source.to_string(), records: malformed };
        let answer = loop {
            match self.clients.ingestion().quarantine_records(request.clone()).await {
                Ok(answer) => break answer.into_inner(),
                Err(status) => self.wait_after(status).await?,
            }
        };
        self.failures = 0;
        self.progress.rows(answer.results.len() as u64);
        for result in &answer.results {
            match result.outcome() {
                pb::EventOutcome::Quarantined => self.summary.quarantined += 1,
                pb::EventOutcome::Duplicate => self.summary.duplicate += 1,
                _ => self.summary.rejected += 1,
            }
        }
        Ok(rows)
    }

    /// Waits before the next try, or gives up.
    async fn wait_after(&mut self, status: tonic::Status) -> anyhow::Result<()> {
        self.failures += 1;
        let passing = matches!(
            status.code(),
            Code::Unavailable | Code::ResourceExhausted | Code::Aborted | Code::Unknown
        );
        if !passing || self.failures >= ATTEMPTS {
            return Err(status).context(format!(
                "the import stopped after {} rows; run it again to finish it",
                self.summary.read
            ));
        }
        tokio::time::sleep(Duration::from_millis(100 << self.failures.min(6))).await;
        Ok(())
    }
}
