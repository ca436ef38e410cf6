//! `northstar audit`: the hash-chained record of who changed what.

use anyhow::bail;
use northstar_proto::approvals::v1 as pb;
use serde::Serialize;

use crate::connection::Connection;
use crate::{output, time};

/// List and verify the audit log.
#[derive(clap::Subcommand)]
#[command(after_help = "\
Examples:
  northstar audit verify
  northstar audit list --json > audit.json")]
pub enum Audit {
    /// Recompute the whole hash chain; exit code 1 when it does not verify.
    Verify {
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
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
    let mut approvals = connection.clients()?.approvals();
    match command {
        Audit::Verify { json } => {
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
