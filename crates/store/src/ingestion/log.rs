//! The events themselves, in blocks.

use std::ops::RangeInclusive;

use chrono::{DateTime, Utc};
use northstar_domain::ProjectId;
use northstar_domain::event::Event;
use northstar_domain::time_correction::TimeCorrection;
use sqlx::PgConnection;

use super::SourceId;
use super::accounting::Appendix;
use super::identity::ShownLink;
use super::keys::NewKeys;
use crate::block::{Block, BlockWriter, Events, NotABlock, Row};
use crate::{Error, Result};

/// Events of a block, at most: enough for its dictionaries to pay, and little
/// enough to decode for one of them.
const BLOCK_EVENTS: usize = 4_096;
/// Bytes of a block before it is encoded, not much more than that.
const BLOCK_BYTES: usize = 8 << 20;
/// Positions of a partition. A block lies in one, so that a partition that goes
/// takes its own events and no others.
const PARTITION_POSITIONS: i64 = 20_000_000;

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

/// Events noted by whoever received them, in parallel; the writer picks those
/// that are new.
#[derive(Debug, Default)]
pub struct EncodedEvents(Events);

impl EncodedEvents {
    /// Room for so many events and bytes of text.
    pub fn with_capacity(events: usize, bytes: usize) -> Self {
        Self(Events::with_capacity(events, bytes))
    }

    /// Notes an event and returns its index.
    pub fn push(&mut self, new: &NewEvent<'_>) -> usize {
        self.0.push(&Row::of_event(
            new.source.0,
            &new.event,
            new.received_at.timestamp_micros(),
            new.effective_at.timestamp_micros(),
            new.correction,
        ))
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.0.bytes()
    }
}

/// Blocks that hold the positions from one to another.
#[derive(Debug, Default)]
pub struct Blocks {
    first_positions: Vec<i64>,
    last_positions: Vec<i64>,
    contents: Vec<Vec<u8>>,
}

impl Blocks {
    /// Encodes events, the first of which gets the position after `after`. This
    /// is the work of a core: do not hold up others with it.
    pub fn encode<'a>(
        after: i64,
        events: impl IntoIterator<Item = (&'a EncodedEvents, usize)>,
    ) -> Self {
        let mut blocks = Self::default();
        let mut writer = BlockWriter::default();
        let (mut bytes, mut position) = (0, after);
        for (encoded, index) in events {
            let row = encoded.0.get(index);
            let begins_partition = (position + 1) % PARTITION_POSITIONS == 0;
            if writer.len() == BLOCK_EVENTS || bytes >= BLOCK_BYTES || begins_partition {
                blocks.close(std::mem::take(&mut writer), position);
                bytes = 0;
            }
            position += 1;
            bytes += row.properties.len();
            writer.push(&row);
        }
        blocks.close(writer, position);
        blocks
    }

    fn close(&mut self, writer: BlockWriter<'_>, last_position: i64) {
        if writer.is_empty() {
            return;
        }
        let events = i64::try_from(writer.len()).expect("a block holds some thousand events");
        self.first_positions.push(last_position - events + 1);
        self.last_positions.push(last_position);
        self.contents.push(writer.finish());
    }

    /// The last position.
    fn last_position(&self) -> Option<i64> {
        self.last_positions.last().copied()
    }
}

/// What became of an attempt to append.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Appended {
    /// The events are in the log when the transaction commits.
    At {
        /// Version of the identity map before them.
        identity_version: i64,
        /// Erasures before them.
        erasure_version: i64,
    },
    /// Somebody else has moved the head: nothing was written.
    HeadMoved,
}

/// Appends blocks and the keys of their events after the position `after`, if the
/// project's head is there. The head stays locked until the transaction ends,
/// which is what makes positions visible in order and without gaps. Lock the
/// heads of several projects in ascending order.
pub async fn append(
    connection: &mut PgConnection,
    project: ProjectId,
    after: i64,
    blocks: &Blocks,
    keys: &NewKeys,
) -> Result<Appended> {
    let head = sqlx::query!(
        "WITH head AS (
             UPDATE ingestion.log_heads SET position = $3
             WHERE project_id = $1 AND position = $2
             RETURNING identity_version, erasure_version
         ), blocks AS (
             INSERT INTO ingestion.event_blocks
                 (project_id, first_position, last_position, content)
             SELECT $1, block.first_position, block.last_position, block.content
             FROM head, unnest($4::bigint[], $5::bigint[], $6::bytea[])
                 AS block (first_position, last_position, content)
         ), keys AS (
             INSERT INTO ingestion.fresh_keys (project_id, first_position, last_position, keys)
             SELECT $1, $2 + 1, $3, $7 FROM head
         )
         SELECT identity_version, erasure_version FROM head",
        project.0,
        after,
        blocks.last_position().unwrap_or(after),
        &blocks.first_positions,
        &blocks.last_positions,
        &blocks.contents,
        keys.as_bytes(),
    )
    .fetch_optional(connection)
    .await?;
    Ok(head.map_or(Appended::HeadMoved, |head| Appended::At {
        identity_version: head.identity_version,
        erasure_version: head.erasure_version,
    }))
}

/// Where the head of a project must be for anything to be appended.
#[derive(Clone, Copy, Debug)]
pub struct HeadAt {
    /// The project.
    pub project: ProjectId,
    /// The last position.
    pub position: i64,
    /// The erasure version, when it matters.
    pub erasures: Option<i64>,
}

/// As [`append`], and leaves the counts of what was appended, which are those of one
/// source, beside its keys: a whole transaction in one round trip when it is called
/// outside of one. [`super::accounting`] reads such counts at once and adds them up
/// later.
pub async fn append_and_count(
    connection: &mut PgConnection,
    HeadAt { project, position: after, erasures }: HeadAt,
    blocks: &Blocks,
    keys: &NewKeys,
    (source, counts): (SourceId, &Appendix),
) -> Result<Appended> {
    let head = sqlx::query!(
        "SELECT identity_version, erasure_version
         FROM ingestion.append_and_count($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        project.0,
        after,
        blocks.last_position().unwrap_or(after),
        &blocks.last_positions,
        &blocks.contents,
        keys.as_bytes(),
        erasures,
        source.0,
        &counts.names,
        &counts.counts,
        &counts.times as &[Option<DateTime<Utc>>],
    )
    .fetch_one(connection)
    .await?;
    Ok(match (head.identity_version, head.erasure_version) {
        (Some(identity_version), Some(erasure_version)) => {
            Appended::At { identity_version, erasure_version }
        }
        _ => Appended::HeadMoved,
    })
}

/// Links that events show of devices, with which nobody else was seen yet and of which
/// no person said anything.
#[derive(Debug)]
pub struct NewDevices<'a> {
    /// The etag of the identity policy that allows them and limits no devices; `None`
    /// when the project has none.
    pub policy: Option<&'a str>,
    /// By anonymous id, each of which occurs once.
    pub links: &'a [ShownLink],
    /// When they are recorded.
    pub recorded_at: DateTime<Utc>,
}

/// As [`append_and_count`], and adds links to the identity map, in the same round
/// trip. `None` when more is known of a device, or the policy is another: then nothing
/// was written.
pub async fn append_and_link(
    connection: &mut PgConnection,
    HeadAt { project, position: after, erasures }: HeadAt,
    blocks: &Blocks,
    keys: &NewKeys,
    (source, counts): (SourceId, &Appendix),
    NewDevices { policy, links, recorded_at }: NewDevices<'_>,
) -> Result<Option<Appended>> {
    let anonymous_ids: Vec<String> = links.iter().map(|link| link.anonymous_id.clone()).collect();
    let user_ids: Vec<String> = links.iter().map(|link| link.user_id.clone()).collect();
    let linked_at: Vec<DateTime<Utc>> = links.iter().map(|link| link.linked_at).collect();
    let positions: Vec<i64> = links.iter().map(|link| link.position).collect();
    let head = sqlx::query!(
        r#"SELECT identity_version, erasure_version, linked AS "linked!"
           FROM ingestion.append_and_link(
               $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)"#,
        project.0,
        after,
        blocks.last_position().unwrap_or(after),
        &blocks.last_positions,
        &blocks.contents,
        keys.as_bytes(),
        erasures,
        source.0,
        &counts.names,
        &counts.counts,
        &counts.times as &[Option<DateTime<Utc>>],
        policy,
        &anonymous_ids,
        &user_ids,
        &linked_at,
        &positions,
        recorded_at,
    )
    .fetch_one(connection)
    .await?;
    Ok(match (head.identity_version, head.erasure_version) {
        _ if !head.linked => None,
        (Some(identity_version), Some(erasure_version)) => {
            Some(Appended::At { identity_version, erasure_version })
        }
        _ => Some(Appended::HeadMoved),
    })
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
/// they have no gaps, it decodes little more than it returns.
///
/// # Errors
/// [`Error::Corrupt`] names the block that cannot be read.
pub async fn read_after(
    connection: &mut PgConnection,
    project: ProjectId,
    after: i64,
    limit: i64,
) -> Result<Vec<LoggedEvent>> {
    let up_to = after.saturating_add(limit);
    // Those that end on the way, and the one that goes on beyond: no more rows
    // than events, whatever the size of blocks.
    let blocks = sqlx::query!(
        r#"SELECT first_position AS "first_position!", last_position AS "last_position!",
               content AS "content!"
           FROM (
               (SELECT first_position, last_position, content FROM ingestion.event_blocks
                WHERE project_id = $1 AND last_position > $2 AND last_position <= $3)
               UNION ALL
               (SELECT first_position, last_position, content FROM ingestion.event_blocks
                WHERE project_id = $1 AND last_position > $3
                ORDER BY last_position LIMIT 1)
           ) AS block
           WHERE first_position <= $3 ORDER BY last_position"#,
        project.0,
        after,
        up_to,
    )
    .fetch_all(&mut *connection)
    .await?;
    if blocks.is_empty() {
        return Ok(Vec::new());
    }
    let sources = super::sources::names(connection, project).await?;
    let mut events = Vec::new();
    for block in blocks {
        let first = block.first_position;
        let read = Block::open(block.content).and_then(|block| {
            let row = |position: i64| usize::try_from(position - first).unwrap_or(0);
            let rows = row(after + 1)..row(up_to.saturating_add(1));
            let mut position = first + i64::try_from(rows.start).unwrap_or(0);
            let mut wrong = None;
            block.visit(rows, |row| {
                let source = sources.get(&row.source).map_or("", String::as_str);
                match logged(position, source, &row) {
                    Ok(event) => events.push(event),
                    Err(not) => wrong = Some(not),
                }
                position += 1;
            })?;
            wrong.map_or(Ok(()), Err)
        });
        read.map_err(|not| corrupt(project, first, block.last_position, not))?;
    }
    Ok(events)
}

/// The error for a block that cannot be read.
pub(crate) fn corrupt(project: ProjectId, first: i64, last: i64, not: NotABlock) -> Error {
    Error::Corrupt {
        table: "ingestion.event_blocks",
        column: "content",
        row: format!("project {project}, positions {first} to {last}"),
        value: not.to_string(),
    }
}

fn logged(position: i64, source: &str, row: &Row<'_>) -> Result<LoggedEvent, NotABlock> {
    let time = |micros| {
        DateTime::from_timestamp_micros(micros).ok_or(NotABlock("a time beyond its range"))
    };
    Ok(LoggedEvent {
        position,
        source: source.to_owned(),
        message_id: row.message_id.to_owned(),
        name: row.name.to_owned(),
        user_id: row.user_id.to_owned(),
        anonymous_id: row.anonymous_id.to_owned(),
        account_id: row.account_id.to_owned(),
        occurred_at: time(row.occurred_micros)?,
        sent_at: row.sent_micros.map(time).transpose()?,
        received_at: time(row.received_micros)?,
        effective_at: time(row.effective_micros)?,
        correction: row.time_correction().ok_or(NotABlock("a correction that is never written"))?,
        sequence: row.sequence,
        properties: row.properties.to_owned(),
        region: row.region.to_owned(),
        consent: row.consent.to_owned(),
    })
}

/// What may be changed of an event that is in the log: what erasure takes away.
/// Its times, its name and its place stay, and so does its message id's key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Erasable {
    /// Id given by the producer.
    pub message_id: String,
    /// Id of a known person; empty when unknown, like the other ids.
    pub user_id: String,
    /// Id of a device or session.
    pub anonymous_id: String,
    /// Id of the account.
    pub account_id: String,
    /// The properties as JSON text.
    pub properties: String,
}

/// Puts another block in the place of the one that holds a position, with the
/// same events except for what `edit` changes. It is called for every event of
/// the block, with its position and its name, in order. Returns the positions
/// that the block holds; `None` when the log has no such position. Nothing else
/// in the log can be changed. What was read by others before stays with them:
/// tell them.
///
/// # Errors
/// [`Error::Corrupt`] when the block cannot be read; [`Error::Conflict`] when
/// another rewrite came in between: call it again.
pub async fn rewrite(
    connection: &mut PgConnection,
    project: ProjectId,
    position: i64,
    mut edit: impl FnMut(i64, &str, &mut Erasable),
) -> Result<Option<RangeInclusive<i64>>> {
    let found = sqlx::query!(
        "SELECT first_position, last_position, content FROM ingestion.event_blocks
         WHERE project_id = $1 AND last_position >= $2
         ORDER BY last_position LIMIT 1",
        project.0,
        position,
    )
    .fetch_optional(&mut *connection)
    .await?;
    let Some(found) = found.filter(|found| found.first_position <= position) else {
        return Ok(None);
    };
    let (first, last) = (found.first_position, found.last_position);
    let mut events = Events::default();
    let mut position = first;
    Block::open(found.content.clone())
        .and_then(|block| {
            block.visit(0..block.len(), |row| {
                let mut erasable = Erasable {
                    message_id: row.message_id.to_owned(),
                    user_id: row.user_id.to_owned(),
                    anonymous_id: row.anonymous_id.to_owned(),
                    account_id: row.account_id.to_owned(),
                    properties: row.properties.to_owned(),
                };
                edit(position, row.name, &mut erasable);
                position += 1;
                events.push(&Row {
                    message_id: &erasable.message_id,
                    user_id: &erasable.user_id,
                    anonymous_id: &erasable.anonymous_id,
                    account_id: &erasable.account_id,
                    properties: &erasable.properties,
                    ..row
                });
            })
        })
        .map_err(|not| corrupt(project, first, last, not))?;
    let mut writer = BlockWriter::default();
    for index in 0..events.len() {
        writer.push(&events.get(index));
    }
    let replaced = sqlx::query_scalar!(
        r#"SELECT ingestion.replace_block($1, $2, $3, $4) AS "replaced!""#,
        project.0,
        last,
        found.content,
        writer.finish(),
    )
    .fetch_one(connection)
    .await?;
    if replaced { Ok(Some(first..=last)) } else { Err(Error::Conflict(sqlx::Error::RowNotFound)) }
}
