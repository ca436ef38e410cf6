//! `northstar pack`: metrics that others have thought of already.

mod dry_run;

use std::collections::BTreeMap;

use anyhow::{Context as _, anyhow};
use northstar_client::Clients;
use northstar_metrics::packs::{self, Pack as Ready};
use serde::Serialize;

use crate::connection::Connection;
use crate::documents::{self, Document, Mode, Outcome};
use crate::output;

/// Apply ready-made metrics, with your events in place of the usual ones.
#[derive(clap::Subcommand)]
pub enum Pack {
    /// List the packs.
    #[command(after_help = "Example:\n  northstar pack list --json")]
    List {
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Show a pack as the YAML documents it would apply.
    #[command(after_help = "\
Examples:
  northstar pack show product
  northstar pack show support --set ticket_opened=\"Case Created\"")]
    Show {
        /// Its name.
        name: String,
        /// What stands for a setting, for example signed_up=\"Account Created\".
        #[arg(long = "set", value_name = "KEY=VALUE", value_parser = setting)]
        settings: Vec<(String, String)>,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Apply a pack. Applied again it changes nothing.
    #[command(after_help = "\
Examples:
  northstar pack apply product --dry-run
  northstar pack apply product --set active_event=\"Report Opened\"
  northstar pack apply saas-revenue --set gross_margin=0.75")]
    Apply {
        /// Its name.
        name: String,
        /// What stands for a setting, for example signed_up=\"Account Created\".
        #[arg(long = "set", value_name = "KEY=VALUE", value_parser = setting)]
        settings: Vec<(String, String)>,
        /// Tell what would be created or changed, and which events and properties the log lacks; write nothing.
        #[arg(long)]
        dry_run: bool,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
}

fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE, for example signed_up=\"Account Created\"".to_owned()),
    }
}

#[derive(Serialize)]
struct Applied {
    kind: documents::Kind,
    name: String,
    outcome: Outcome,
}

/// Runs the command.
pub async fn run(command: Pack, connection: &Connection) -> anyhow::Result<()> {
    match command {
        Pack::List { json } => list(json),
        Pack::Show { name, settings, json } => show(&name, settings, json),
        Pack::Apply { name, settings, dry_run, json } => {
            let documents = read(&name, settings)?;
            let clients = connection.clients()?;
            if dry_run {
                dry_run::run(&clients, &name, documents, json).await
            } else {
                apply(&clients, &name, documents, json).await
            }
        }
    }
}

fn list(json: bool) -> anyhow::Result<()> {
    let packs = packs::all()?;
    if json {
        let packs: Vec<_> = packs.iter().map(|pack| pack.about()).collect();
        return output::json(&packs);
    }
    let rows = packs.iter().map(|pack| {
        let about = pack.about();
        let settings: Vec<_> = about
            .settings
            .iter()
            .map(|(key, setting)| format!("{key}={:?}: {}", setting.default, setting.description))
            .collect();
        [about.name.clone(), about.title.clone(), settings.join("\n")]
    });
    output::line(output::table(&["name", "what it measures", "settings"], rows))?;
    Ok(())
}

fn find(name: &str) -> anyhow::Result<Ready> {
    let packs = packs::all()?;
    let names: Vec<_> = packs.iter().map(|pack| pack.about().name.clone()).collect();
    let found = packs.into_iter().find(|pack| pack.about().name == name);
    found.ok_or_else(|| anyhow!("there is no pack {name:?}; there are {}", names.join(", ")))
}

fn read(name: &str, settings: Vec<(String, String)>) -> anyhow::Result<Vec<Document>> {
    let settings: BTreeMap<String, String> = settings.into_iter().collect();
    let text = find(name)?.render(&settings).with_context(|| format!("pack {name}"))?;
    Ok(documents::in_order(Document::read_all(&text, &format!("pack {name}"))?))
}

fn show(name: &str, settings: Vec<(String, String)>, json: bool) -> anyhow::Result<()> {
    let documents = read(name, settings)?;
    if json {
        let all: Vec<_> = documents.iter().map(Document::to_json).collect::<anyhow::Result<_>>()?;
        return output::json(&all);
    }
    let texts: Vec<_> = documents.iter().map(Document::to_yaml).collect::<anyhow::Result<_>>()?;
    output::line(texts.join("---\n").trim_end())?;
    Ok(())
}

async fn apply(
    clients: &Clients,
    name: &str,
    documents: Vec<Document>,
    json: bool,
) -> anyhow::Result<()> {
    let mut applied = Vec::new();
    for document in documents {
        let outcome = documents::apply(clients, &document, Mode::Write).await;
        let outcome = outcome.with_context(|| document.title())?;
        if !json {
            output::line(format!("{} {}", document.title(), outcome.as_str()))?;
        }
        applied.push(Applied { kind: document.kind, name: document.name, outcome });
    }
    if json {
        return output::json(&serde_json::json!({ "pack": name, "applied": applied }));
    }
    Ok(())
}
