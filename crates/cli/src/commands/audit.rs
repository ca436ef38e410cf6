//! `northstar audit`: the hash-chained record of who changed what.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use chrono::{DateTime, SecondsFormat, Utc};
use northstar_client::Clients;
use northstar_domain::ProjectId;
use northstar_proto::approvals::v1 as pb;
use northstar_store::audit::{self, ChainCheck};
use serde::{Deserialize, Serialize};

use crate::connection::Connection;
use crate::{output, time};

/// List, verify and export the audit log.
#[derive(clap::Subcommand)]
#[command(after_help = "\
Examples:
  northstar audit verify
  northstar audit list --json > audit.json
  northstar audit export audit.jsonl
  northstar audit verify audit.jsonl     without a server")]
pub enum Audit {
    /// Recompute the whole hash chain; exit code 1 when it does not verify.
    #[command(after_help = "\
Examples:
  northstar audit verify
  northstar audit verify audit.jsonl --head 9f86d081...

A file is checked without a server: every hash, every link, no gap. That its end was not cut
off shows only when the head is known from elsewhere: give it with --head.")]
    Verify {
        /// File written by `northstar audit export`; the service's own log when
        /// absent.
        file: Option<PathBuf>,
        /// Hash that the last entry of the file must have, in hex.
        #[arg(long, requires = "file")]
        head: Option<String>,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Write every entry as JSON Lines, oldest first, to be verified anywhere.
    #[command(after_help = "\
Examples:
  northstar audit export audit.jsonl
  northstar audit export --after 1000 >> audit.jsonl")]
    Export {
        /// File to write; standard output when absent.
        file: Option<PathBuf>,
        /// Only entries after this number.
        #[arg(long, default_value_t = 0)]
        after: i64,
    },
    /// List every entry, oldest first.
    List {
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Serialize)]
struct Verified {
    valid: bool,
    entries: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_invalid_sequence: Option<i64>,
    head_hash: String,
}

#[derive(Serialize)]
struct Entry {
    sequence: i64,
    time: Option<String>,
    actor: String,
    action: String,
    resource: String,
    detail: serde_json::Value,
    previous_hash: String,
    hash: String,
}

/// Runs the command.
pub async fn run(command: Audit, connection: &Connection) -> anyhow::Result<()> {
    if let Audit::Verify { file: Some(file), head, json } = &command {
        return verify_file(file, head.as_deref(), *json);
    }
    let clients = connection.clients()?;
    let mut approvals = clients.approvals();
    match command {
        Audit::Export { file, after } => return export(&clients, file.as_deref(), after).await,
        Audit::Verify { json, .. } => {
            let found =
                approvals.verify_audit_log(pb::VerifyAuditLogRequest {}).await?.into_inner();
            let verified = Verified {
                valid: found.valid,
                entries: found.entries,
                first_invalid_sequence: (!found.valid).then_some(found.first_invalid_sequence),
                head_hash: found.head_hash,
            };
            if json {
                output::json(&verified)?;
            } else if verified.valid {
                output::line(format!(
                    "valid: {} entries, head {}",
                    verified.entries, verified.head_hash
                ))?;
            }
            if !verified.valid {
                bail!(
                    "the audit log does not verify from entry {}: it was changed outside Northstar",
                    found.first_invalid_sequence
                );
            }
        }
        Audit::List { json } => {
            let mut entries = Vec::new();
            let mut page_token = String::new();
            loop {
                let request = pb::ListAuditEntriesRequest { page_size: 1000, page_token };
                let page = approvals.list_audit_entries(request).await?.into_inner();
                entries.extend(page.entries.into_iter().map(|entry| Entry {
                    sequence: entry.sequence,
                    time: time::text(entry.create_time.as_ref()),
                    detail: serde_json::from_str(&entry.detail_json).unwrap_or_default(),
                    actor: entry.actor,
                    action: entry.action,
                    resource: entry.resource,
                    previous_hash: entry.previous_hash,
                    hash: entry.hash,
                }));
                page_token = page.next_page_token;
                if page_token.is_empty() {
                    break;
                }
            }
            if json {
                return output::json(&entries);
            }
            let rows = entries.into_iter().map(|entry| {
                [
                    entry.sequence.to_string(),
                    entry.time.unwrap_or_default(),
                    entry.actor,
                    entry.action,
                    entry.resource,
                ]
            });
            output::line(output::table(&["#", "time", "actor", "action", "resource"], rows))?;
        }
    }
    Ok(())
}

/// One line of an export. The detail is the very text that was hashed.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Line {
    project: i32,
    sequence: i64,
    time: String,
    actor: String,
    action: String,
    resource: String,
    detail: String,
    previous_hash: String,
    hash: String,
}

impl Line {
    fn entry(&self) -> anyhow::Result<audit::Entry> {
        let time: DateTime<Utc> =
            self.time.parse().with_context(|| format!("{:?} is no time", self.time))?;
        Ok(audit::Entry {
            sequence: self.sequence,
            actor: self.actor.clone(),
            action: self.action.clone(),
            resource: self.resource.clone(),
            detail: self.detail.clone(),
            created_at: time,
            previous_hash: hex::decode(&self.previous_hash).context("previous_hash is no hex")?,
            hash: hex::decode(&self.hash).context("hash is no hex")?,
        })
    }
}

async fn export(clients: &Clients, file: Option<&Path>, after: i64) -> anyhow::Result<()> {
    let mut approvals = clients.approvals();
    let mut out: Box<dyn Write + Send> = match file {
        Some(path) => {
            let file = File::create(path).with_context(|| path.display().to_string())?;
            Box::new(BufWriter::new(file))
        }
        None => Box::new(BufWriter::new(io::stdout())),
    };
    let mut page_token = if after > 0 { after.to_string() } else { String::new() };
    let (mut entries, mut head) = (0_u64, String::new());
    loop {
        let request = pb::ListAuditEntriesRequest { page_size: 1000, page_token };
        let page = approvals.list_audit_entries(request).await?.into_inner();
        for entry in page.entries {
            let created = entry.create_time.unwrap_or_default();
            let nanos = u32::try_from(created.nanos).unwrap_or_default();
            let line = Line {
                project: page.project,
                sequence: entry.sequence,
                time: DateTime::from_timestamp(created.seconds, nanos)
                    .unwrap_or_default()
                    .to_rfc3339_opts(SecondsFormat::Micros, true),
                actor: entry.actor,
                action: entry.action,
                resource: entry.resource,
                detail: entry.detail_json,
                previous_hash: entry.previous_hash,
                hash: entry.hash,
            };
            serde_json::to_writer(&mut out, &line)?;
            out.write_all(b"\n")?;
            entries += 1;
            head = line.hash;
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    out.flush()?;
    output::note(format!("{entries} entries, head {head}"));
    Ok(())
}

/// Checks an export line by line, without a server.
fn verify_file(path: &Path, head: Option<&str>, json: bool) -> anyhow::Result<()> {
    let place = path.display();
    let file = File::open(path).with_context(|| place.to_string())?;
    let mut chain: Option<ChainCheck> = None;
    let (mut entries, mut first, mut project) = (0_i64, 0, 0);
    let mut invalid = None;
    for (index, line) in BufReader::new(file).lines().enumerate() {
        let number = index + 1;
        let line = line.with_context(|| format!("{place}:{number}"))?;
        let line: Line = serde_json::from_str(&line)
            .with_context(|| format!("{place}:{number} is no line of an export"))?;
        let entry = line.entry().with_context(|| format!("{place}:{number}"))?;
        let chain = chain.get_or_insert_with(|| {
            (first, project) = (line.sequence, line.project);
            match line.sequence {
                1 => ChainCheck::from_start(ProjectId(line.project)),
                _ => ChainCheck::from_entry(ProjectId(line.project), &entry),
            }
        });
        if line.project != project || !chain.follows(&entry) {
            invalid = Some((number, line.sequence));
            break;
        }
        entries += 1;
    }
    let found_head = chain.map(|chain| hex::encode(chain.head_hash())).unwrap_or_default();
    if invalid.is_none() && head.is_some_and(|head| head != found_head) {
        invalid = Some((usize::try_from(entries).unwrap_or_default() + 1, first + entries));
    }
    let verified = Verified {
        valid: invalid.is_none(),
        entries,
        first_invalid_sequence: invalid.map(|(_, sequence)| sequence),
        head_hash: found_head,
    };
    if json {
        output::json(&verified)?;
    } else if verified.valid {
        let from = if first > 1 { format!(" from entry {first}") } else { String::new() };
        output::line(format!("valid: {entries} entries{from}, head {}", verified.head_hash))?;
    }
    if let Some((line, sequence)) = invalid {
        bail!("{place}:{line}: entry {sequence} does not verify: it or one before it was changed");
    }
    Ok(())
}
