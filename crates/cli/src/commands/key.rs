//! `northstar key`: API keys.

use northstar_proto::approvals::v1 as pb;
use serde::Serialize;

use crate::connection::Connection;
use crate::{output, time};

/// Create, list and revoke API keys.
#[derive(clap::Subcommand)]
#[command(after_help = "\
Examples:
  northstar key create --principal web-shop --role ingest
  northstar key list --json
  northstar key revoke 0199f3b0-7c1e-7aa0-8000-0123456789ab")]
pub enum Key {
    /// Make a key and show its secret, this once.
    Create {
        /// Who or what will use it; authors and approvers go by this name.
        #[arg(long)]
        principal: String,
        /// ingest, viewer, analyst, operator, approver or admin.
        #[arg(long)]
        role: northstar_domain::Role,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// List keys, without secrets.
    List {
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// End a key.
    Revoke {
        /// Its id, from `northstar key list`.
        id: String,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Serialize)]
struct Shown {
    id: String,
    principal: String,
    role: String,
    created: Option<String>,
    revoked: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

impl From<pb::ApiKey> for Shown {
    fn from(key: pb::ApiKey) -> Self {
        Self {
            created: time::text(key.create_time.as_ref()),
            revoked: time::text(key.revoke_time.as_ref()),
            id: key.api_key_id,
            principal: key.principal,
            role: key.role,
            secret: None,
        }
    }
}

/// Runs the command.
pub async fn run(command: Key, connection: &Connection) -> anyhow::Result<()> {
    let mut access = connection.clients()?.access();
    match command {
        Key::Create { principal, role, json } => {
            let request = pb::CreateApiKeyRequest { principal, role: role.to_string() };
            let made = access.create_api_key(request).await?.into_inner();
            if json {
                let mut shown = Shown::from(made.api_key.unwrap_or_default());
                shown.secret = Some(made.secret);
                return output::json(&shown);
            }
            output::line(made.secret)?;
            output::note("keep it now: it is stored as a hash and cannot be shown again");
        }
        Key::List { json } => {
            let mut keys = Vec::new();
            let mut page_token = String::new();
            loop {
                let request = pb::ListApiKeysRequest { page_size: 1000, page_token };
                let page = access.list_api_keys(request).await?.into_inner();
                keys.extend(page.api_keys.into_iter().map(Shown::from));
                page_token = page.next_page_token;
                if page_token.is_empty() {
                    break;
                }
            }
            if json {
                return output::json(&keys);
            }
            let rows = keys.into_iter().map(|key| {
                [
                    key.id,
                    key.principal,
                    key.role,
                    key.created.unwrap_or_default(),
                    key.revoked.unwrap_or_default(),
                ]
            });
            output::line(output::table(&["id", "principal", "role", "created", "revoked"], rows))?;
        }
        Key::Revoke { id, json } => {
            let request = pb::RevokeApiKeyRequest { api_key_id: id };
            let key = access.revoke_api_key(request).await?.into_inner().api_key;
            let shown = Shown::from(key.unwrap_or_default());
            if json {
                return output::json(&shown);
            }
            output::line(format!("revoked {} ({})", shown.id, shown.principal))?;
        }
    }
    Ok(())
}
