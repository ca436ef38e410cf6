//! ExportSubject: everything that is held about a subject, piece by piece.
//!
//! The pieces are read while they are sent, a page at a time, so an export of
//! any size takes little memory; a reader that is slow makes the reading slow.

use northstar_domain::ProjectId;
use northstar_proto::errors::v1::ErrorReason;
use northstar_proto::ingestion::v1 as pb;
use northstar_server::Caller;
use northstar_server::status::failure;
use northstar_store::ingestion::erasure::Pseudonym;
use northstar_store::ingestion::quarantine::{Content, Filter, Quarantined};
use northstar_store::ingestion::{heads, identity as facts, log, notes, quarantine, retention};
use northstar_store::page::PageSize;
use northstar_store::{PgPool, audit};
use pb::export_subject_response::Item;
use prost::Message as _;
use tokio::sync::mpsc::{self, Sender};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::Subjects;
use super::consent::states;
use super::convert::{fact_to_proto, identifier, identifier_to_proto, reason};
use crate::convert::{logged_to_proto, quarantined_to_proto};
use crate::erasure::{Forgotten, before_next};
use crate::error::Error;
use crate::identity::{Subject, subject_of};
use crate::notes::unsealed;
use crate::retention::{logged, read_archived};
use crate::sealing::SealingKey;

/// Events read at once.
const PAGE_EVENTS: i64 = 5_000;
/// Pieces read ahead of the reader.
const AHEAD: usize = 64;

type Piece = Result<pb::ExportSubjectResponse, Status>;

pub(super) async fn export_subject(
    service: &Subjects,
    caller: &Caller,
    request: &pb::ExportSubjectRequest,
) -> Result<ReceiverStream<Piece>, Error> {
    let identifier = identifier("identifier", request.identifier.as_ref())?;
    let reason = reason(&request.reason)?;
    let project = caller.project;
    let mut transaction = service.pool.begin().await.map_err(northstar_store::Error::from)?;
    let head = heads::read(&mut transaction, project).await?;
    let version = head.identity_version;
    let subject = subject_of(&mut transaction, project, &identifier, version).await?;
    let states = states(&mut transaction, service, project, &subject).await?;
    let detail = serde_json::json!({
        "identifiers": subject.identifiers().len(),
        "reason": reason,
        "log_position": head.position,
    });
    let entry = audit::NewEntry {
        project,
        actor: &caller.principal,
        action: "subject.export",
        resource: "subjects",
        detail: &detail,
        at: service.clock.now(),
    };
    audit::append(&mut transaction, &entry).await?;
    transaction.commit().await.map_err(northstar_store::Error::from)?;

    let (pieces, stream) = mpsc::channel(AHEAD);
    let export = Export {
        pool: service.pool.clone(),
        project,
        subject,
        position: head.position,
        sealing: service.contracts.sealing().cloned(),
    };
    let consent = states.into_states();
    tokio::spawn(async move {
        if let Err(error) = export.run(consent, &pieces).await {
            // A reader that is gone needs no error.
            let _ = pieces.send(Err(error.into())).await;
        }
    });
    Ok(ReceiverStream::new(stream))
}

struct Export {
    pool: PgPool,
    project: ProjectId,
    subject: Subject,
    position: i64,
    /// What values kept aside are sealed with.
    sealing: Option<SealingKey>,
}

impl Export {
    async fn run(
        self,
        consent: Vec<pb::ConsentState>,
        pieces: &Sender<Piece>,
    ) -> Result<(), Error> {
        let mut summary = pb::ExportSummary { log_position: self.position, ..Default::default() };
        let subject = pb::ExportedSubject {
            subject: Some(identifier_to_proto(&self.subject.name)),
            identifiers: self.subject.others.iter().map(identifier_to_proto).collect(),
        };
        if !send(pieces, Item::Subject(subject)).await {
            return Ok(());
        }
        let identifiers = self.subject.identifiers();
        let mut connection = self.pool.acquire().await.map_err(northstar_store::Error::from)?;
        let found = facts::facts_of(&mut connection, self.project, &identifiers).await?;
        drop(connection);
        for fact in &found {
            summary.facts += 1;
            if !send(pieces, Item::Fact(fact_to_proto(fact, ""))).await {
                return Ok(());
            }
        }
        for state in consent {
            if !send(pieces, Item::Consent(state)).await {
                return Ok(());
            }
        }
        let named = Forgotten::new(
            identifiers
                .into_iter()
                .map(|identifier| Pseudonym {
                    kind: identifier.kind.to_string(),
                    value: identifier.value,
                    pseudonym: String::new(),
                })
                .collect(),
        );
        self.archived(&named, pieces, &mut summary).await?;
        self.events(&named, pieces, &mut summary).await?;
        self.quarantined(&named, pieces, &mut summary).await?;
        send(pieces, Item::Summary(summary)).await;
        Ok(())
    }

    /// The events that left the log for the archive.
    async fn archived(
        &self,
        named: &Forgotten,
        pieces: &Sender<Piece>,
        summary: &mut pb::ExportSummary,
    ) -> Result<(), Error> {
        let mut after = 0;
        loop {
            let mut connection = self.pool.acquire().await.map_err(northstar_store::Error::from)?;
            let next = retention::detached_after(&mut connection, self.project, after).await?;
            drop(connection);
            let Some(file) = next else { return Ok(()) };
            after = file.first_position;
            let events = read_archived(&file).await.map_err(|error| {
                tracing::error!(
                    error = &*error as &dyn std::error::Error,
                    location = file.location,
                    "an archived file cannot be read"
                );
                let message = format!("the archived file {} cannot be read", file.location);
                Error::Failed(failure(ErrorReason::DependencyUnavailable, message))
            })?;
            let mut positions = Vec::new();
            for event in events {
                if !named.has(&event.user_id, &event.anonymous_id) {
                    continue;
                }
                positions.push(event.position);
                let properties = serde_json::from_str(&event.properties).unwrap_or_default();
                summary.events += 1;
                summary.archived_events += 1;
                if !send(pieces, Item::Event(logged_to_proto(logged(event), properties))).await {
                    return Ok(());
                }
            }
            self.kept_aside(&positions, pieces, summary).await?;
        }
    }

    /// What contracts kept aside from some events.
    async fn kept_aside(
        &self,
        positions: &[i64],
        pieces: &Sender<Piece>,
        summary: &mut pb::ExportSummary,
    ) -> Result<(), Error> {
        if positions.is_empty() {
            return Ok(());
        }
        let mut connection = self.pool.acquire().await.map_err(northstar_store::Error::from)?;
        let found = notes::kept_aside(&mut connection, self.project, positions).await?;
        drop(connection);
        for note in found {
            let omitted = unsealed(&note, self.project, self.sealing.as_ref());
            summary.kept_aside += 1;
            let aside = pb::KeptAside {
                position: note.position,
                name: note.name,
                omitted_json: omitted.unwrap_or_default(),
            };
            if !send(pieces, Item::KeptAside(aside)).await {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn events(
        &self,
        named: &Forgotten,
        pieces: &Sender<Piece>,
        summary: &mut pb::ExportSummary,
    ) -> Result<(), Error> {
        let mut position = 0;
        while position < self.position {
            // No connection is held while the reader takes its time.
            let mut connection = self.pool.acquire().await.map_err(northstar_store::Error::from)?;
            let events =
                log::read_after(&mut connection, self.project, position, PAGE_EVENTS).await?;
            position = match events.last() {
                Some(last) => last.position,
                None => before_next(&mut connection, self.project, position).await?,
            };
            drop(connection);
            let mut positions = Vec::new();
            for event in events {
                if event.position > self.position || !named.owns(&event) {
                    continue;
                }
                positions.push(event.position);
                let properties = serde_json::from_str(&event.properties).unwrap_or_default();
                summary.events += 1;
                if !send(pieces, Item::Event(logged_to_proto(event, properties))).await {
                    return Ok(());
                }
            }
            self.kept_aside(&positions, pieces, summary).await?;
        }
        Ok(())
    }

    async fn quarantined(
        &self,
        named: &Forgotten,
        pieces: &Sender<Piece>,
        summary: &mut pb::ExportSummary,
    ) -> Result<(), Error> {
        let size = PageSize::from_request(1_000).expect("1000 is the largest page");
        let mut after = None;
        loop {
            let mut connection = self.pool.acquire().await.map_err(northstar_store::Error::from)?;
            let found =
                quarantine::list(&mut connection, self.project, Filter::default(), after, size)
                    .await?;
            drop(connection);
            let (page, more) = size.cut(found);
            after = page.last().map(|last| last.id);
            for quarantined in page.into_iter().filter(|found| concerns(named, found)) {
                summary.quarantined_events += 1;
                let event = quarantined_to_proto(quarantined);
                if !send(pieces, Item::QuarantinedEvent(event)).await {
                    return Ok(());
                }
            }
            if !more {
                return Ok(());
            }
        }
    }
}

/// Whether a quarantined event is one of the subject's, or a record names it.
fn concerns(named: &Forgotten, quarantined: &Quarantined) -> bool {
    match &quarantined.content {
        Content::Event(bytes) => pb::Event::decode(bytes.as_slice())
            .is_ok_and(|event| named.has(&event.user_id, &event.anonymous_id)),
        Content::Raw(bytes) => named.is_named_by(bytes),
    }
}

/// Sends a piece; whether somebody still reads.
async fn send(pieces: &Sender<Piece>, item: Item) -> bool {
    pieces.send(Ok(pb::ExportSubjectResponse { item: Some(item) })).await.is_ok()
}
