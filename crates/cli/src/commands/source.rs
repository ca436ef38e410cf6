//! `northstar source`: webhook sources, beside their documents.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use northstar_domain::webhook::{Headers, Mapped, Mapping};
use northstar_ingestion::presets;
use northstar_proto::ingestion::v1 as pb;
use rand::RngCore as _;
use serde::Serialize;
use serde_json::{Value, json};

use crate::connection::Connection;
use crate::documents::{Document, Spec};
use crate::{output, time};

/// Bytes of a secret that is made here; standard-webhooks asks for 24 to 64.
const SECRET_BYTES: usize = 32;

/// Webhook sources: presets, secrets and trying a mapping out.
#[derive(clap::Subcommand)]
#[command(after_help = "\
Examples:
  northstar source preset
  northstar source preset stripe-billing > stripe-billing.yaml
  northstar apply stripe-billing.yaml
  northstar source secret stripe-billing --file signing-secret.txt
  northstar source try stripe-billing.yaml payload.json
  northstar get webhooksource")]
pub enum Source {
    /// Print a webhook source that is ready to apply; without a name, list them.
    #[command(after_help = "\
Examples:
  northstar source preset zendesk-tickets > zendesk-tickets.yaml
  northstar source preset zendesk-tickets --payload > payload.json")]
    Preset {
        /// hubspot-deals, intercom-conversations, stripe-billing or zendesk-tickets.
        name: Option<String>,
        /// Print an example of what the other system sends instead.
        #[arg(long, requires = "name")]
        payload: bool,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Set the secret that a webhook source signs with.
    #[command(after_help = "\
The secret is never an argument, which other users of the machine could see.

Examples:
  northstar source secret stripe-billing --file signing-secret.txt
  northstar source secret stripe-billing --env STRIPE_SIGNING_SECRET --keep-previous 1d
  northstar source secret our-backend --generate")]
    Secret {
        /// Name of the webhook source.
        name: String,
        /// File that holds the secret.
        #[arg(long, group = "given")]
        file: Option<PathBuf>,
        /// Environment variable that holds the secret.
        #[arg(long, group = "given")]
        env: Option<String>,
        /// Make a secret and show it, this once, to be given to the other system.
        #[arg(long, group = "given")]
        generate: bool,
        /// How long the secret before is accepted too, for example 1d; at most 7d.
        #[arg(long)]
        keep_previous: Option<String>,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Show what a document makes of a payload; needs no server.
    #[command(after_help = "\
Example:
  northstar source try stripe-billing.yaml payload.json --json")]
    Try {
        /// YAML file with the webhook source.
        document: PathBuf,
        /// File with a payload.
        payload: PathBuf,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Take a webhook source and its secret away; its events stay.
    #[command(after_help = "\
Example:
  northstar source delete stripe-billing")]
    Delete {
        /// Name of the webhook source.
        name: String,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
}

/// Runs the command.
pub async fn run(command: Source, connection: &Connection) -> anyhow::Result<()> {
    match command {
        Source::Preset { name, payload, json } => preset(name.as_deref(), payload, json),
        Source::Try { document, payload, json } => try_out(&document, &payload, json),
        Source::Secret { name, file, env, generate, keep_previous, json } => {
            let secret = match (file, env, generate) {
                (Some(file), None, false) => read_secret(&file)?,
                (None, Some(variable), false) => std::env::var(&variable)
                    .with_context(|| format!("the variable {variable} holds no secret"))?,
                (None, None, true) => {
                    let mut bits = [0; SECRET_BYTES];
                    rand::rng().fill_bytes(&mut bits);
                    format!("whsec_{}", STANDARD.encode(bits))
                }
                _ => bail!("say where the secret is: --file FILE, --env VARIABLE or --generate"),
            };
            let keep = keep_previous.as_deref().map_or(Ok(0), seconds)?;
            let request = pb::SetWebhookSecretRequest {
                name: name.clone(),
                secret: secret.clone(),
                keep_previous_seconds: keep,
                request_id: uuid::Uuid::new_v4().to_string(),
            };
            let set = connection.clients()?.webhook_sources().set_webhook_secret(request).await?;
            let set = set.into_inner();
            let until = time::text(set.previous_until_time.as_ref());
            let path = set.path;
            if json {
                let secret = generate.then_some(secret);
                return output::json(&SecretSet { name, path, secret, previous_until: until });
            }
            if generate {
                output::line(secret)?;
                output::note("keep it now: it cannot be shown again");
            } else {
                output::line(format!("the secret of {name} is set"))?;
            }
            output::note(format!("payloads are sent to {path} at the HTTP address"));
            if let Some(until) = until {
                output::note(format!("the secret before is accepted until {until}"));
            }
            Ok(())
        }
        Source::Delete { name, json } => {
            let request = pb::DeleteWebhookSourceRequest {
                name: name.clone(),
                request_id: uuid::Uuid::new_v4().to_string(),
            };
            connection.clients()?.webhook_sources().delete_webhook_source(request).await?;
            if json {
                return output::json(&json!({ "deleted": name }));
            }
            output::line(format!("deleted {name}")).map_err(Into::into)
        }
    }
}

#[derive(Serialize)]
struct SecretSet {
    name: String,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_until: Option<String>,
}

fn preset(name: Option<&str>, payload: bool, json: bool) -> anyhow::Result<()> {
    let Some(name) = name else {
        let names: Vec<_> = presets::ALL.iter().map(|preset| preset.name).collect();
        if json {
            return output::json(&names);
        }
        return output::line(names.join("\n")).map_err(Into::into);
    };
    let preset = presets::find(name).with_context(|| {
        let names: Vec<_> = presets::ALL.iter().map(|preset| preset.name).collect();
        format!("there is no preset {name:?}; there are {}", names.join(", "))
    })?;
    if json {
        return output::json(&json!({
            "name": preset.name,
            "document": preset.document,
            "payload": preset.payload,
        }));
    }
    let text = if payload { preset.payload } else { preset.document };
    output::line(text.trim_end()).map_err(Into::into)
}

fn read_secret(file: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    Ok(text.trim().to_owned())
}

fn seconds(text: &str) -> anyhow::Result<i32> {
    let duration = northstar_domain::duration::parse(text)?;
    i32::try_from(duration.num_seconds()).context("--keep-previous is at most 7d")
}

fn try_out(document: &Path, payload: &Path, json: bool) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(document)
        .with_context(|| format!("{} cannot be read", document.display()))?;
    let documents = Document::read_all(&text, &document.display().to_string())?;
    let mut sources = documents.iter().filter_map(|document| match &document.spec {
        Spec::WebhookSource(spec) => Some((document, spec)),
        _ => None,
    });
    let (source, spec) =
        sources.next().with_context(|| format!("{} holds no WebhookSource", document.display()))?;
    ensure!(sources.next().is_none(), "{} holds several sources", document.display());
    let violations = source.violations();
    if let Some(violation) = violations.first() {
        bail!("{}: {violation}", source.title());
    }
    let bytes =
        std::fs::read(payload).with_context(|| format!("{} cannot be read", payload.display()))?;
    let body: Value = serde_json::from_slice(&bytes)
        .with_context(|| format!("{} is no JSON", payload.display()))?;
    let items = tell(&spec.mapping, &body);
    if json {
        output::json(&items)?;
    } else {
        for item in &items {
            output::line(serde_json::to_string_pretty(item)?)?;
        }
    }
    let unread = items.iter().filter(|item| item.get("reason").is_some()).count();
    ensure!(unread == 0, "{unread} of {} items would wait in quarantine", items.len());
    Ok(())
}

/// What becomes of each item of a payload.
fn tell(mapping: &Mapping, body: &Value) -> Vec<Value> {
    let items = match mapping.items(body) {
        Ok(items) => items,
        Err(unread) => {
            return vec![
                json!({ "reason": unread.reason, "field": unread.field, "message": unread.message }),
            ];
        }
    };
    // Headers are the request's, and here is none.
    let headers = Headers::new();
    items
        .into_iter()
        .map(|item| match mapping.read(body, item, &headers) {
            Ok(Mapped::Ignored) => json!({ "ignored": true }),
            Ok(Mapped::Event {
                event,
                message_id,
                user_id,
                anonymous_id,
                account_id,
                occurred_at,
                properties,
            }) => json!({
                "event": event,
                "message_id": message_id,
                "user_id": user_id,
                "anonymous_id": anonymous_id,
                "account_id": account_id,
                "occurred_time": occurred_at.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true),
                "properties": properties,
            }),
            Err(unread) => json!({
                "reason": unread.reason, "field": unread.field, "message": unread.message,
            }),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_a_valid_document_that_reads_its_payload() {
        for preset in presets::ALL {
            let documents = Document::read_all(preset.document, preset.name).unwrap();
            let [document] = documents.as_slice() else { panic!("{}", preset.name) };
            assert_eq!(document.name, preset.name);
            assert_eq!(document.violations(), [], "{}", preset.name);
            let Spec::WebhookSource(spec) = &document.spec else { panic!("{}", preset.name) };
            let body: Value = serde_json::from_str(preset.payload).unwrap();
            for item in tell(&spec.mapping, &body) {
                assert!(item["event"].is_string(), "{}: {item}", preset.name);
            }
            // What is printed reads back as the same.
            let again = Document::read_all(&document.to_yaml().unwrap(), "again").unwrap();
            assert_eq!(again[0].to_yaml().unwrap(), document.to_yaml().unwrap());
        }
    }

    #[test]
    fn a_time_to_keep_the_secret_before_is_a_duration() {
        assert_eq!(seconds("1d").unwrap(), 86_400);
        assert!(seconds("soon").is_err());
    }
}
