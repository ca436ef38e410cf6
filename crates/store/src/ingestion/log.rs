//! The events themselves.

use chrono::{DateTime, Utc};
use northstar_domain::ProjectId;
use northstar_domain::event::Event;
use northstar_domain::time_correction::TimeCorrection;
use sqlx::{Connection as _, PgConnection};

use super::{SourceId, copy, prefer_indexes};
use crate::{Error, Result};

/// An event on its way into the log, all but its position.
#[derive(Clone, Copy, Debug)]
pub struct NewEvent<'a> {
    /// The project.
    pub project: ProjectId,
    /// Who sent it.
    pub source: SourceId,
    /// The event, checked.
    pub event: Event<'a>,
    /// When it was received.
    pub received_at: DateTime<Utc>,
    /// The time every KPI uses.
    pub effective_at: DateTime<Utc>,
    /// How that was derived.
    pub correction: TimeCorrection,
}

/// Events encoded for COPY by whoever received them, in parallel; the writer
/// only fills in positions.
#[derive(Debug, Default)]
pub struct EncodedEvents {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

/// Where the value of the first column, the position, lies in a row: after the
/// number of fields and its own length.
const POSITION: std::ops::Range<usize> = 6..14;

impl EncodedEvents {
    /// Room for so many events and bytes.
    pub fn with_capacity(events: usize, bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), ends: Vec::with_capacity(events) }
    }

    /// Encodes an event and returns its index.
    pub fn push(&mut self, new: &NewEvent<'_>) -> usize {
        let out = &mut self.bytes;
        let event = &new.event;
        copy::begin_row(out, 17);
        copy::bigint(out, 0);
        copy::time(out, event.occurred_at);
        match event.sent_at {
            Some(sent_at) => copy::time(out, sent_at),
            None => copy::null(out),
        }
        copy::time(out, new.received_at);
        copy::time(out, new.effective_at);
        copy::bigint(out, event.sequence);
        copy::integer(out, new.project.0);
        copy::integer(out, new.source.0);
        copy::smallint(out, correction_code(new.correction));
        copy::text(out, event.message_id);
        copy::text(out, event.name);
        copy::optional_text(out, event.user_id);
        copy::optional_text(out, event.anonymous_id);
        copy::optional_text(out, event.account_id);
        copy::text(out, event.properties);
        copy::optional_text(out, event.region);
        copy::optional_text(out, event.consent);
        self.ends.push(self.bytes.len());
        self.ends.len() - 1
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    fn row(&self, index: usize) -> &[u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.bytes[start..self.ends[index]]
    }
}

/// Appends encoded events at the given positions, which must come from
/// [`super::heads::advance`] in the same transaction.
pub async fn append<'a>(
    connection: &mut PgConnection,
    events: impl IntoIterator<Item = (&'a EncodedEvents, usize, i64)>,
) -> Result<u64> {
    let mut events = events.into_iter();
    copy::copy(
        connection,
        "COPY ingestion.events (position, occurred_at, sent_at, received_at, effective_at,
             sequence, project_id, source_id, correction, message_id, name, user_id,
             anonymous_id, account_id, properties, region, consent)
         FROM STDIN (FORMAT binary)",
        |out| {
            let Some((encoded, index, position)) = events.next() else { return false };
            let start = out.len();
            out.extend_from_slice(encoded.row(index));
            out[start..][POSITION].copy_from_slice(&position.to_be_bytes());
            true
        },
    )
    .await
}

/// An event as the log holds it.
#[derive(Clone, Debug)]
pub struct LoggedEvent {
    /// Position in the log.
    pub position: i64,
    /// Name of the producing system.
    pub source: String,
    /// Id given by the producer.
    pub message_id: String,
    /// What happened.
    pub name: String,
    /// Id of a known person; empty when unknown, like the other ids.
    pub user_id: String,
    /// Id of a device or session.
    pub anonymous_id: String,
    /// Id of the account.
    pub account_id: String,
    /// When it happened, by the producer's clock.
    pub occurred_at: DateTime<Utc>,
    /// When it was sent, by the producer's clock.
    pub sent_at: Option<DateTime<Utc>>,
    /// When it was received.
    pub received_at: DateTime<Utc>,
    /// The time every KPI uses.
    pub effective_at: DateTime<Utc>,
    /// How that was derived.
    pub correction: TimeCorrection,
    /// Orders events of the same time.
    pub sequence: i64,
    /// The properties as JSON text.
    pub properties: String,
    /// Region it belongs to; empty when not said.
    pub region: String,
    /// The text form of its [`Consent`](northstar_domain::consent::Consent);
    /// empty when not said.
    pub consent: String,
}

/// Reads at most `limit` events after a position, in order. Since positions
/// become visible in order, whatever this returns leaves nothing behind; since
/// they have no gaps, it reads no more than it returns.
pub async fn read_after(
    connection: &mut PgConnection,
    project: ProjectId,
    after: i64,
    limit: i64,
) -> Result<Vec<LoggedEvent>> {
    let mut transaction = connection.begin().await?;
    prefer_indexes(&mut transaction).await?;
    let rows = sqlx::query!(
        r#"SELECT position, s.name AS source, message_id, e.name,
               coalesce(user_id, '') AS "user_id!",
               coalesce(anonymous_id, '') AS "anonymous_id!",
               coalesce(account_id, '') AS "account_id!",
               occurred_at, sent_at, received_at, effective_at, correction, sequence,
               properties::text AS "properties!",
               coalesce(region, '') AS "region!", coalesce(consent, '') AS "consent!"
           FROM ingestion.events e JOIN ingestion.sources s USING (project_id, source_id)
           WHERE project_id = $1 AND position > $2 AND position <= $2 + $3
           ORDER BY position"#,
        project.0,
        after,
        limit,
    )
    .fetch_all(&mut *transaction)
    .await?;
    transaction.commit().await?;
    rows.into_iter()
        .map(|row| {
            Ok(LoggedEvent {
                position: row.position,
                source: row.source,
                message_id: row.message_id,
                name: row.name,
                user_id: row.user_id,
                anonymous_id: row.anonymous_id,
                account_id: row.account_id,
                occurred_at: row.occurred_at,
                sent_at: row.sent_at,
                received_at: row.received_at,
                effective_at: row.effective_at,
                correction: correction(row.correction).ok_or_else(|| Error::Corrupt {
                    table: "ingestion.events",
                    column: "correction",
                    row: format!("{project}/{}", row.position),
                    value: row.correction.to_string(),
                })?,
                sequence: row.sequence,
                properties: row.properties,
                region: row.region,
                consent: row.consent,
            })
        })
        .collect()
}

fn correction_code(correction: TimeCorrection) -> i16 {
    match correction {
        TimeCorrection::None => 0,
        TimeCorrection::Skew => 1,
        TimeCorrection::Clamped => 2,
    }
}

fn correction(code: i16) -> Option<TimeCorrection> {
    match code {
        0 => Some(TimeCorrection::None),
        1 => Some(TimeCorrection::Skew),
        2 => Some(TimeCorrection::Clamped),
        _ => None,
    }
}
