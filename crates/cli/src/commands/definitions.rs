//! `northstar apply | diff | validate | get | export`: definitions as code.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::Serialize;
use similar::TextDiff;

use crate::connection::Connection;
use crate::documents::{self, Document, Kind, Mode, Outcome};
use crate::output;

/// Create or replace what YAML documents define.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  northstar apply metrics.yaml kpis.yaml
  northstar apply definitions/ --dry-run --json

Documents are applied in the order of their kinds: sources, contracts, identity and
consent policies, cohorts, activities, pillars, metrics, KPIs, policies, retention policies,
automations, thresholds, experiments, webhook sources.")]
pub struct Apply {
    /// YAML files, or folders of them.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Let the services check everything; write nothing.
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

/// Compare YAML documents with what is defined; exit code 1 when they differ.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  northstar diff definitions/")]
pub struct Diff {
    /// YAML files, or folders of them.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

/// Check YAML documents without a server; exit code 1 when one is wrong.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  northstar validate definitions/ --json")]
pub struct Validate {
    /// YAML files, or folders of them.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

/// Show what is defined.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  northstar get kpi
  northstar get metric revenue
  northstar get automation onboarding-nudge --json")]
pub struct Get {
    /// activity, pillar, metric, kpi, cohort, automation, threshold, experiment, policy, contract, source,
    /// retentionpolicy, identitypolicy, consentpolicy or webhooksource.
    kind: Kind,
    /// Its name; all of the kind when absent.
    name: Option<String>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

impl Get {
    /// The same of another command.
    pub fn of(kind: Kind, name: Option<String>, json: bool) -> Self {
        Self { kind, name, json }
    }
}

/// Write everything that is defined as YAML documents.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  northstar export > definitions.yaml
  northstar export --to definitions/")]
pub struct Export {
    /// Folder for one file per kind; standard output when absent.
    #[arg(long)]
    to: Option<PathBuf>,
    /// Print one JSON document.
    #[arg(long, conflicts_with = "to")]
    json: bool,
}

#[derive(Serialize)]
struct Applied {
    kind: Kind,
    name: String,
    outcome: Outcome,
}

/// Runs `northstar apply`.
pub async fn apply(command: Apply, connection: &Connection) -> anyhow::Result<()> {
    let documents = read(&command.paths)?;
    let clients = connection.clients()?;
    let mode = if command.dry_run { Mode::Check } else { Mode::Write };
    let mut applied = Vec::new();
    for document in documents {
        let outcome = documents::apply(&clients, &document, mode)
            .await
            .with_context(|| document.place().to_owned())?;
        if !command.json {
            let dry = if command.dry_run { " (dry run)" } else { "" };
            output::line(format!("{} {}{dry}", document.title(), outcome.as_str()))?;
        }
        applied.push(Applied { kind: document.kind, name: document.name, outcome });
    }
    if command.json { output::json(&applied) } else { Ok(()) }
}

/// Runs `northstar diff`.
pub async fn diff(command: Diff, connection: &Connection) -> anyhow::Result<()> {
    let documents = read(&command.paths)?;
    let clients = connection.clients()?;
    let mut differing = BTreeMap::new();
    for document in documents {
        let defined = documents::fetch(&clients, document.kind, &document.name).await?;
        let old = defined.map_or_else(|| Ok(String::new()), |defined| defined.to_yaml())?;
        let new = document.to_yaml()?;
        if old != new {
            let unified = TextDiff::from_lines(&old, &new)
                .unified_diff()
                .header("defined", document.place())
                .to_string();
            differing.insert(document.title(), unified);
        }
    }
    if command.json {
        output::json(&differing)?;
    } else {
        for text in differing.values() {
            output::line(text.trim_end())?;
        }
    }
    if !differing.is_empty() {
        bail!("{} documents differ from what is defined", differing.len());
    }
    Ok(())
}

/// Runs `northstar validate`.
pub fn validate(command: &Validate) -> anyhow::Result<()> {
    let documents = read(&command.paths)?;
    let mut wrong = Vec::new();
    for document in &documents {
        for violation in document.violations() {
            wrong.push(serde_json::json!({
                "document": document.title(),
                "place": document.place(),
                "field": violation.field,
                "problem": violation.problem,
            }));
            if !command.json {
                output::line(format!("{}: {}: {violation}", document.place(), document.title()))?;
            }
        }
    }
    if command.json {
        output::json(&serde_json::json!({
            "documents": documents.len(),
            "valid": wrong.is_empty(),
            "violations": wrong,
        }))?;
    }
    if !wrong.is_empty() {
        bail!("{} violations in {} documents", wrong.len(), documents.len());
    }
    if !command.json {
        output::line(format!("{} documents are valid", documents.len()))?;
    }
    Ok(())
}

/// Runs `northstar get`.
pub async fn get(command: Get, connection: &Connection) -> anyhow::Result<()> {
    let clients = connection.clients()?;
    if let Some(name) = &command.name {
        let document = documents::fetch(&clients, command.kind, name)
            .await?
            .with_context(|| format!("there is no {} {name}", command.kind.as_str()))?;
        return if command.json {
            output::json(&document.to_json()?)
        } else {
            output::line(document.to_yaml()?.trim_end()).map_err(Into::into)
        };
    }
    let documents = documents::fetch_all(&clients, command.kind).await?;
    if command.json {
        let all: Vec<_> = documents.iter().map(Document::to_json).collect::<anyhow::Result<_>>()?;
        return output::json(&all);
    }
    let rows = documents
        .into_iter()
        .map(|document| [document.name, document.summary.owner, document.summary.state]);
    output::line(output::table(&["name", "owner", "state"], rows))?;
    Ok(())
}

/// Runs `northstar export`.
pub async fn export(command: Export, connection: &Connection) -> anyhow::Result<()> {
    let clients = connection.clients()?;
    let mut all = Vec::new();
    for kind in Kind::ALL {
        let documents = documents::fetch_all(&clients, kind).await?;
        if let Some(folder) = &command.to
            && !documents.is_empty()
        {
            fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
            let path = folder.join(format!("{}.yaml", kind.as_str()));
            fs::write(&path, join(&documents)?).with_context(|| path.display().to_string())?;
            output::line(format!("{}: {} documents", path.display(), documents.len()))?;
        }
        all.extend(documents);
    }
    if command.json {
        let all: Vec<_> = all.iter().map(Document::to_json).collect::<anyhow::Result<_>>()?;
        return output::json(&all);
    }
    if command.to.is_none() {
        output::line(join(&all)?.trim_end())?;
    }
    Ok(())
}

fn join(documents: &[Document]) -> anyhow::Result<String> {
    let texts: Vec<_> = documents.iter().map(Document::to_yaml).collect::<anyhow::Result<_>>()?;
    Ok(texts.join("---\n"))
}

/// Reads every document, in the order in which kinds depend on each other.
pub fn read(paths: &[PathBuf]) -> anyhow::Result<Vec<Document>> {
    let mut documents = Vec::new();
    for path in paths {
        for file in yaml_files(path)? {
            let text = fs::read_to_string(&file)
                .with_context(|| format!("{} cannot be read", file.display()))?;
            documents.extend(Document::read_all(&text, &file.display().to_string())?);
        }
    }
    Ok(documents::in_order(documents))
}

fn yaml_files(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).with_context(|| path.display().to_string())? {
        let file = entry?.path();
        let yaml = file.extension().is_some_and(|end| end == "yaml" || end == "yml");
        if yaml && file.is_file() {
            files.push(file);
        }
    }
    files.sort();
    if files.is_empty() {
        bail!("{} holds no .yaml files", path.display());
    }
    Ok(files)
}
