//! The append-only, hash-chained record of who changed what. One chain per
//! project, one implementation for every service.

use chrono::{DateTime, SubsecRound as _, Utc};
use northstar_domain::ProjectId;
use sha2::{Digest as _, Sha256};
use sqlx::PgConnection;

use crate::Result;
use crate::page::PageSize;

/// What is to be recorded.
#[derive(Clone, Debug)]
pub struct NewEntry<'a> {
    /// The project.
    pub project: ProjectId,
    /// Who did it.
    pub actor: &'a str,
    /// What was done, for example `policy.apply`.
    pub action: &'a str,
    /// To what, for example `policies/ship`.
    pub resource: &'a str,
    /// The change: an object with `before` and `after` where both exist.
    pub detail: &'a serde_json::Value,
    /// When.
    pub at: DateTime<Utc>,
}

/// A recorded change.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// Number in the chain, from 1, without gaps.
    pub sequence: i64,
    /// Who did it.
    pub actor: String,
    /// What was done.
    pub action: String,
    /// To what.
    pub resource: String,
    /// The change, as JSON text.
    pub detail: String,
    /// When.
    pub created_at: DateTime<Utc>,
    /// Hash of the entry before; 32 zero bytes for the first.
    pub previous_hash: Vec<u8>,
    /// Hash of this entry.
    pub hash: Vec<u8>,
}

/// The result of checking a chain.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Verification {
    /// Entries checked.
    pub entries: i64,
    /// The first entry that does not verify.
    pub first_invalid: Option<i64>,
    /// Hash of the last entry.
    pub head_hash: Vec<u8>,
}

const GENESIS: [u8; 32] = [0; 32];

impl Entry {
    /// SHA-256 over every field, each preceded by its length, so that no two
    /// entries share an encoding.
    pub fn compute_hash(&self, project: ProjectId) -> [u8; 32] {
        let mut hasher = Sha256::new();
        hasher.update(project.0.to_be_bytes());
        hasher.update(self.sequence.to_be_bytes());
        hasher.update(self.created_at.timestamp_micros().to_be_bytes());
        for field in [
            self.previous_hash.as_slice(),
            self.actor.as_bytes(),
            self.action.as_bytes(),
            self.resource.as_bytes(),
            self.detail.as_bytes(),
        ] {
            hasher.update((field.len() as u64).to_be_bytes());
            hasher.update(field);
        }
        hasher.finalize().into()
    }
}

/// A chain that is checked entry by entry, wherever the entries come from.
#[derive(Clone, Debug)]
pub struct ChainCheck {
    project: ProjectId,
    last: i64,
    previous: Vec<u8>,
}

impl ChainCheck {
    /// The chain of a project from its first entry.
    pub fn from_start(project: ProjectId) -> Self {
        Self { project, last: 0, previous: GENESIS.to_vec() }
    }

    /// A part of a chain: what came before its first entry is taken as said.
    pub fn from_entry(project: ProjectId, first: &Entry) -> Self {
        Self { project, last: first.sequence - 1, previous: first.previous_hash.clone() }
    }

    /// Whether this is the next entry, unchanged. Once it is not, the rest says
    /// nothing.
    pub fn follows(&mut self, entry: &Entry) -> bool {
        let sound = entry.sequence == self.last + 1
            && entry.previous_hash == self.previous
            && entry.hash == entry.compute_hash(self.project);
        if sound {
            self.last = entry.sequence;
            self.previous.clone_from(&entry.hash);
        }
        sound
    }

    /// Number of the last entry that was sound.
    pub fn last(&self) -> i64 {
        self.last
    }

    /// Its hash.
    pub fn head_hash(&self) -> &[u8] {
        &self.previous
    }
}

/// Appends an entry to the chain of its project. The chain's head stays locked
/// until the transaction ends, so the entry stands or falls with the change it
/// records.
pub async fn append(connection: &mut PgConnection, new: &NewEntry<'_>) -> Result<Entry> {
    sqlx::query!(
        "INSERT INTO audit.heads (project_id, sequence, hash) VALUES ($1, 0, $2)
         ON CONFLICT DO NOTHING",
        new.project.0,
        GENESIS.as_slice(),
    )
    .execute(&mut *connection)
    .await?;
    let head = sqlx::query!(
        "SELECT sequence, hash FROM audit.heads WHERE project_id = $1 FOR UPDATE",
        new.project.0,
    )
    .fetch_one(&mut *connection)
    .await?;

    let mut entry = Entry {
        sequence: head.sequence + 1,
        actor: new.actor.to_owned(),
        action: new.action.to_owned(),
        resource: new.resource.to_owned(),
        detail: new.detail.to_string(),
        created_at: new.at.trunc_subsecs(6),
        previous_hash: head.hash,
        hash: Vec::new(),
    };
    entry.hash = entry.compute_hash(new.project).to_vec();

    sqlx::query!(
        "INSERT INTO audit.entries (project_id, sequence, actor, action, resource, detail,
                                    created_at, previous_hash, hash)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        new.project.0,
        entry.sequence,
        entry.actor,
        entry.action,
        entry.resource,
        entry.detail,
        entry.created_at,
        entry.previous_hash,
        entry.hash,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "UPDATE audit.heads SET sequence = $2, hash = $3 WHERE project_id = $1",
        new.project.0,
        entry.sequence,
        entry.hash,
    )
    .execute(connection)
    .await?;
    Ok(entry)
}

/// Lists entries, oldest first, after the given number.
pub async fn list(
    connection: &mut PgConnection,
    project: ProjectId,
    after: i64,
    size: PageSize,
) -> Result<Vec<Entry>> {
    let entries = sqlx::query_as!(
        Entry,
        "SELECT sequence, actor, action, resource, detail, created_at, previous_hash, hash
         FROM audit.entries WHERE project_id = $1 AND sequence > $2
         ORDER BY sequence LIMIT $3",
        project.0,
        after,
        size.limit(),
    )
    .fetch_all(connection)
    .await?;
    Ok(entries)
}

/// Recomputes the whole chain of a project, a page at a time: every hash, every
/// link, no gap, and the head.
pub async fn verify(connection: &mut PgConnection, project: ProjectId) -> Result<Verification> {
    let size = PageSize::from_request(1000).expect("1000 is the largest page");
    let mut chain = ChainCheck::from_start(project);
    loop {
        let (entries, more) = size.cut(list(&mut *connection, project, chain.last, size).await?);
        for entry in entries {
            if !chain.follows(&entry) {
                return Ok(Verification {
                    entries: chain.last,
                    first_invalid: Some(chain.last + 1),
                    head_hash: chain.previous,
                });
            }
        }
        if !more {
            break;
        }
    }
    let ChainCheck { last, previous, .. } = chain;
    // An entry cut off at the end leaves the chain sound but not the head.
    let head =
        sqlx::query!("SELECT sequence, hash FROM audit.heads WHERE project_id = $1", project.0,)
            .fetch_optional(connection)
            .await?;
    let complete = head.is_none_or(|head| head.sequence == last && head.hash == previous);
    Ok(Verification {
        entries: last,
        first_invalid: (!complete).then_some(last + 1),
        head_hash: previous,
    })
}
