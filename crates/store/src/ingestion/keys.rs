//! Which message ids are in the log.
//!
//! New keys are written as they come, in one value a commit; a process that
//! writes a project's log holds them in memory. Every few hundred thousand
//! become a *run*: sorted pages with one index, and a filter. So a commit pays
//! for the bytes of its keys and for no random page of an index, however long
//! the log is.

use std::collections::HashMap;

use northstar_domain::ProjectId;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{SourceId, copy};
use crate::{Error, Result};

/// A message id of one source of a project.
///
/// The source is mixed into the hash with a constant. Two keys are equal by
/// chance or by intent only when two SHA-256 agree in 128 bits but for a known
/// difference, which is as hard to find as two that agree.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct MessageKey(pub u128);

impl MessageKey {
    /// The key of a message id.
    pub fn new(source: SourceId, message_hash: Uuid) -> Self {
        // Odd, so that different sources differ; the digits of pi, so that they
        // do in every part.
        const MIX: u128 = 0x243f_6a88_85a3_08d3_1319_8a2e_0370_7345;
        Self(message_hash.as_u128() ^ u128::from(source.0.cast_unsigned()).wrapping_mul(MIX))
    }
}

/// A body hash cut to 64 bits. It only tells a repeated event from another with
/// the same id, and an id is the producer's own: for a wrong answer the producer
/// must find two bodies that agree (2^32 tries) and send both under one id,
/// and then it has lost the second of its own events.
pub fn short_body_hash(body_hash: Uuid) -> u64 {
    body_hash.as_u64_pair().0
}

/// The event that holds a message id.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Key {
    /// Its position.
    pub position: i64,
    /// Digest of its body, see [`short_body_hash`].
    pub body: u64,
}

/// Bytes of a key among the fresh ones, and on a page.
const KEY_BYTES: usize = 28;
/// Keys of a page, see the table.
const PAGE_KEYS: usize = 55;

/// The keys of a commit, in the order of their positions.
#[derive(Clone, Debug, Default)]
pub struct NewKeys(Vec<u8>);

impl NewKeys {
    /// Room for so many.
    pub fn with_capacity(keys: usize) -> Self {
        Self(Vec::with_capacity(keys * KEY_BYTES))
    }

    /// Appends the key of the next position.
    pub fn push(&mut self, source: SourceId, message_hash: Uuid, body_hash: Uuid) {
        self.0.extend_from_slice(message_hash.as_bytes());
        self.0.extend_from_slice(&source.0.to_be_bytes());
        self.0.extend_from_slice(&short_body_hash(body_hash).to_be_bytes());
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The keys of one commit, as they are stored.
#[derive(Clone, Debug)]
pub struct FreshKeys {
    /// Position of the first key.
    pub first_position: i64,
    /// Position of the last.
    pub last_position: i64,
    keys: Vec<u8>,
}

impl FreshKeys {
    /// Each key, in the order of positions.
    pub fn iter(&self) -> impl Iterator<Item = (MessageKey, Key)> {
        self.keys.as_chunks::<KEY_BYTES>().0.iter().zip(self.first_position..).map(
            |(bytes, position)| {
                let (hash, source, body) = parts(bytes);
                let hash = Uuid::from_u128(hash);
                let source = SourceId(source.cast_signed());
                (MessageKey::new(source, hash), Key { position, body })
            },
        )
    }
}

/// The 16, 4 and 8 bytes of a key, as numbers.
fn parts(bytes: &[u8; KEY_BYTES]) -> (u128, u32, u64) {
    let (hash, rest) = bytes.split_first_chunk::<16>().expect("a key has 28 bytes");
    let (number, body) = rest.split_first_chunk::<4>().expect("12 are left");
    let body = body.first_chunk::<8>().expect("8 are left");
    (u128::from_be_bytes(*hash), u32::from_be_bytes(*number), u64::from_be_bytes(*body))
}

/// Keys in sorted pages, and the filter over them.
#[derive(Clone, Debug)]
pub struct Run {
    /// Position of the first event.
    pub first_position: i64,
    /// Position of the last.
    pub last_position: i64,
    /// The filter.
    pub filter: Vec<u8>,
}

/// Fresh keys that begin after a position, oldest first; at most `limit` commits.
pub async fn fresh(
    connection: &mut PgConnection,
    project: ProjectId,
    after: i64,
    limit: i64,
) -> Result<Vec<FreshKeys>> {
    let fresh = sqlx::query_as!(
        FreshKeys,
        "SELECT first_position, last_position, keys FROM ingestion.fresh_keys
         WHERE project_id = $1 AND last_position > $2
         ORDER BY last_position LIMIT $3",
        project.0,
        after,
        limit,
    )
    .fetch_all(connection)
    .await?;
    Ok(fresh)
}

/// Runs that begin after a position, oldest first; at most `limit`.
pub async fn runs(
    connection: &mut PgConnection,
    project: ProjectId,
    after: i64,
    limit: i64,
) -> Result<Vec<Run>> {
    let runs = sqlx::query_as!(
        Run,
        "SELECT first_position, last_position, filter FROM ingestion.key_runs
         WHERE project_id = $1 AND last_position > $2
         ORDER BY last_position LIMIT $3",
        project.0,
        after,
        limit,
    )
    .fetch_all(connection)
    .await?;
    Ok(runs)
}

/// Looks keys up in the pages of runs, each in the run that ends at the position
/// beside it. Call [`super::prefer_indexes`] before, or it may read all of them.
///
/// # Errors
/// [`Error::Corrupt`] when a page is not one.
pub async fn find_sealed(
    connection: &mut PgConnection,
    project: ProjectId,
    wanted: &[(i64, MessageKey)],
) -> Result<HashMap<MessageKey, Key>> {
    let runs: Vec<i64> = wanted.iter().map(|(run, _)| *run).collect();
    let keys: Vec<Uuid> = wanted.iter().map(|(_, key)| Uuid::from_u128(key.0)).collect();
    // One look into the index for each: the page that begins at the key or
    // before it.
    let pages = sqlx::query!(
        r#"SELECT wanted.key AS "key!", run.first_position AS "first_position!",
               page.keys AS "keys!"
           FROM unnest($2::bigint[], $3::uuid[]) AS wanted (run, key)
           CROSS JOIN LATERAL (
               SELECT keys FROM ingestion.key_pages
               WHERE project_id = $1 AND last_position = wanted.run AND first_key <= wanted.key
               ORDER BY first_key DESC LIMIT 1
           ) AS page
           JOIN ingestion.key_runs AS run ON run.project_id = $1 AND run.last_position = wanted.run"#,
        project.0,
        &runs,
        &keys,
    )
    .fetch_all(connection)
    .await?;
    let mut found = HashMap::new();
    for page in pages {
        let (keys, rest) = page.keys.as_chunks::<KEY_BYTES>();
        if !rest.is_empty() {
            return Err(Error::Corrupt {
                table: "ingestion.key_pages",
                column: "keys",
                row: format!("{project}/{}", page.key),
                value: format!("{} bytes", page.keys.len()),
            });
        }
        let wanted = page.key.as_u128();
        if let Ok(index) = keys.binary_search_by_key(&wanted, |bytes| parts(bytes).0) {
            let (_, offset, body) = parts(&keys[index]);
            let position = page.first_position + i64::from(offset);
            found.insert(MessageKey(wanted), Key { position, body });
        }
    }
    Ok(found)
}

/// Which of these message ids of a source are taken, and by what, for those who
/// ask seldom: it reads the fresh keys of the project and looks into every run.
/// Whoever writes the log knows it from memory. Call [`super::prefer_indexes`]
/// before.
///
/// # Errors
/// [`Error::Corrupt`] when a page is not one.
pub async fn find(
    connection: &mut PgConnection,
    project: ProjectId,
    source: SourceId,
    message_hashes: &[Uuid],
) -> Result<HashMap<Uuid, Key>> {
    let wanted: HashMap<MessageKey, Uuid> =
        message_hashes.iter().map(|hash| (MessageKey::new(source, *hash), *hash)).collect();
    let mut found = HashMap::new();
    // First those that are fresh: what is sealed meanwhile is found in its run.
    let mut after = 0;
    loop {
        let commits = fresh(connection, project, after, 64).await?;
        let Some(last) = commits.last() else { break };
        after = last.last_position;
        for (key, of) in commits.iter().flat_map(FreshKeys::iter) {
            if let Some(hash) = wanted.get(&key) {
                found.insert(*hash, of);
            }
        }
    }
    let mut after = 0;
    loop {
        let some = runs(connection, project, after, 4).await?;
        let Some(last) = some.last() else { return Ok(found) };
        after = last.last_position;
        let asked: Vec<(i64, MessageKey)> = some
            .iter()
            .flat_map(|run| wanted.keys().map(|key| (run.last_position, *key)))
            .collect();
        let sealed = find_sealed(connection, project, &asked).await?;
        found.extend(sealed.into_iter().map(|(key, of)| (wanted[&key], of)));
    }
}

/// Makes a run of sorted keys and forgets them among the fresh ones. Call it in a
/// transaction.
///
/// # Errors
/// [`Error::Conflict`] when another process has sealed some of them meanwhile.
pub async fn seal(
    connection: &mut PgConnection,
    project: ProjectId,
    run: &Run,
    keys: &[(MessageKey, Key)],
) -> Result<()> {
    debug_assert!(keys.is_sorted_by_key(|(key, _)| *key), "pages are searched");
    sqlx::query!(
        "INSERT INTO ingestion.key_runs (project_id, first_position, last_position, filter)
         VALUES ($1, $2, $3, $4)",
        project.0,
        run.first_position,
        run.last_position,
        run.filter,
    )
    .execute(&mut *connection)
    .await
    .map_err(|error| match error.as_database_error().and_then(|error| error.constraint()) {
        Some("key_runs_pkey" | "key_runs_first_position_key") => Error::Conflict(error),
        _ => error.into(),
    })?;
    let mut pages = keys.chunks(PAGE_KEYS);
    let mut page = Vec::with_capacity(PAGE_KEYS * KEY_BYTES);
    copy::copy(
        connection,
        "COPY ingestion.key_pages (project_id, last_position, first_key, keys)
         FROM STDIN (FORMAT binary)",
        |out| {
            let Some(keys) = pages.next() else { return false };
            page.clear();
            for (key, Key { position, body }) in keys {
                let offset = u32::try_from(position - run.first_position)
                    .expect("a run is sealed far below four thousand million keys");
                page.extend_from_slice(&key.0.to_be_bytes());
                page.extend_from_slice(&offset.to_be_bytes());
                page.extend_from_slice(&body.to_be_bytes());
            }
            copy::begin_row(out, 4);
            copy::integer(out, project.0);
            copy::bigint(out, run.last_position);
            copy::uuid(out, Uuid::from_u128(keys[0].0.0));
            copy::bytes(out, &page);
            true
        },
    )
    .await?;
    sqlx::query!("SELECT ingestion.forget_sealed_keys($1)", project.0)
        .fetch_one(connection)
        .await?;
    Ok(())
}
