//! `northstar contract`: propose, test, check, change contracts, and write types
//! from them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::{fs, io};

use anyhow::{Context as _, bail};
use chrono::Utc;
use northstar_domain::contract::{ContractMode, ContractSpec};
use northstar_ingestion::contract_check::{ContractSet, event_from_json};
use northstar_ingestion::convert::{contract_from_proto, contract_to_proto};
use northstar_proto::ingestion::v1 as pb;
use serde_json::json;

use super::definitions;
use crate::codegen::{self, Language};
use crate::connection::Connection;
use crate::documents::Spec;
use crate::{output, time};

/// Propose, test, check and change contracts, and write types from them.
#[derive(clap::Subcommand)]
#[command(after_help = "\
Examples:
  northstar contract infer 'Signed Up' > signed-up.yaml
  northstar contract test signed-up.yaml --events events.jsonl
  northstar contract check signed-up.yaml
  northstar contract request signed-up.yaml
  northstar contract apply signed-up.yaml --decision 0199f3b0-7c1e-7aa0-8000-0123456789ab
  northstar contract codegen --lang typescript --out src/events")]
pub enum Contract {
    /// Print a contract that the newest events of a name keep.
    #[command(after_help = "Example:\n  northstar contract infer 'Signed Up' --owner growth")]
    Infer {
        /// The event name.
        name: String,
        /// Most events to look at, up to 100000.
        #[arg(long, default_value_t = 10_000)]
        events: i32,
        /// Who answers for it.
        #[arg(long, default_value = "")]
        owner: String,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Hold events against contracts without a server; exit code 1 when one
    /// breaks its contract.
    #[command(after_help = "\
Example:
  northstar contract test contracts/ --events events.jsonl

Each line of the events is a JSON object: name, user_id or anonymous_id, occurred_time,
properties; message_id, account_id, sent_time and sequence when there are. What a contract
only observes or would omit is a violation here, unless --as-served is given.")]
    Test {
        /// YAML files, or folders of them.
        #[arg(required = true)]
        paths: Vec<PathBuf>,
        /// Events as JSON Lines; - is standard input.
        #[arg(long)]
        events: PathBuf,
        /// Fail only what the service would not accept.
        #[arg(long)]
        as_served: bool,
        /// What happens to events whose name has no contract: observe, quarantine
        /// or reject.
        #[arg(long, default_value = "quarantine")]
        unplanned_events: ContractMode,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Tell what applying contracts would change; exit code 1 when a version
    /// understates its change or a decision is needed.
    #[command(after_help = "Example:\n  northstar contract check contracts/ --json")]
    Check {
        /// YAML files, or folders of them.
        #[arg(required = true)]
        paths: Vec<PathBuf>,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Ask people to decide about a change that breaks metrics.
    #[command(after_help = "Example:\n  northstar contract request signed-up.yaml")]
    Request {
        /// YAML file with one contract.
        path: PathBuf,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Apply a contract by leave of an approved decision. Without one, `northstar
    /// apply` does.
    #[command(after_help = "\
Example:
  northstar contract apply signed-up.yaml --decision 0199f3b0-7c1e-7aa0-8000-0123456789ab")]
    Apply {
        /// YAML file with one contract.
        path: PathBuf,
        /// Id of the approved decision request.
        #[arg(long)]
        decision: String,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// List everything a contract ever said, newest first.
    #[command(after_help = "Example:\n  northstar contract versions 'Signed Up'")]
    Versions {
        /// The event name.
        name: String,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Show or set what happens to events whose name has no contract.
    #[command(after_help = "\
Examples:
  northstar contract unplanned-events
  northstar contract unplanned-events quarantine")]
    UnplannedEvents {
        /// observe, quarantine or reject.
        mode: Option<ContractMode>,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// List what was noted about accepted events: late, superseded, and values
    /// that were kept aside.
    #[command(after_help = "Example:\n  northstar contract notes --event 'Signed Up' --json")]
    Notes {
        /// Only this event name.
        #[arg(long, default_value = "")]
        event: String,
        /// Most notes, up to 1000.
        #[arg(long, default_value_t = 50)]
        limit: i32,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Write typed events for a language.
    #[command(after_help = "\
Examples:
  northstar contract codegen --lang rust > src/events.rs
  northstar contract codegen contracts/ --lang python --out analytics")]
    Codegen {
        /// YAML files, or folders of them; the registry when absent.
        paths: Vec<PathBuf>,
        /// The language.
        #[arg(long, value_enum)]
        lang: Language,
        /// Folder for the module; standard output when absent.
        #[arg(long)]
        out: Option<PathBuf>,
    },
}

/// Runs `northstar contract`.
pub async fn run(command: Contract, connection: &Connection) -> anyhow::Result<()> {
    match command {
        Contract::Infer { name, events, owner, json } => {
            infer(connection, name, events, owner, json).await
        }
        Contract::Test { paths, events, as_served, unplanned_events, json } => {
            test(&paths, &events, as_served, unplanned_events, json)
        }
        Contract::Check { paths, json } => check(connection, &paths, json).await,
        Contract::Request { path, json } => {
            let (name, spec) = one(path)?;
            let request = pb::RequestContractChangeRequest {
                contract: Some(contract_to_proto(&name, &spec)),
                request_id: uuid::Uuid::new_v4().to_string(),
            };
            let mut contracts = connection.clients()?.contracts();
            let asked = contracts.request_contract_change(request).await?.into_inner();
            if json {
                return output::json(&json!({
                    "decision_request": asked.decision_request,
                    "broken_metrics": asked.broken_metrics,
                }));
            }
            output::line(asked.decision_request)?;
            Ok(())
        }
        Contract::Apply { path, decision, json } => {
            let (name, spec) = one(path)?;
            let request = pb::ApplyApprovedContractRequest {
                contract: Some(contract_to_proto(&name, &spec)),
                decision_request: decision,
                request_id: uuid::Uuid::new_v4().to_string(),
            };
            let mut contracts = connection.clients()?.contracts();
            let applied = contracts.apply_approved_contract(request).await?.into_inner();
            let contract = applied.contract.unwrap_or_default();
            if json {
                return output::json(&json!({
                    "name": contract.name,
                    "schema_version": contract.schema_version,
                    "etag": contract.etag,
                }));
            }
            output::line(format!("Contract {}: {}", contract.name, contract.schema_version))?;
            Ok(())
        }
        Contract::Versions { name, json } => versions(connection, name, json).await,
        Contract::UnplannedEvents { mode, json } => unplanned_events(connection, mode, json).await,
        Contract::Notes { event, limit, json } => notes(connection, event, limit, json).await,
        Contract::Codegen { paths, lang, out } => codegen(connection, &paths, lang, out).await,
    }
}

/// The contracts of documents, by event name.
fn contracts_of(paths: &[PathBuf]) -> anyhow::Result<Vec<(String, ContractSpec)>> {
    let mut found: BTreeMap<String, ContractSpec> = BTreeMap::new();
    for document in definitions::read(paths)? {
        let wrong = document.violations();
        if let Spec::Contract(spec) = document.spec.clone() {
            if let Some(violation) = wrong.first() {
                bail!("{}: {}: {violation}", document.place(), document.title());
            }
            if found.insert(document.name.clone(), spec).is_some() {
                bail!("{}: {} is defined twice", document.place(), document.title());
            }
        }
    }
    if found.is_empty() {
        bail!("there is no document of kind Contract");
    }
    Ok(found.into_iter().collect())
}

fn one(path: PathBuf) -> anyhow::Result<(String, ContractSpec)> {
    let mut found = contracts_of(&[path])?;
    match (found.pop(), found.is_empty()) {
        (Some(one), true) => Ok(one),
        _ => bail!("give a file with one contract"),
    }
}

fn document(contract: &pb::Contract) -> anyhow::Result<serde_json::Value> {
    let (name, spec) = contract_from_proto(contract).map_err(|found| {
        let texts: Vec<_> = found.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("the contract cannot be read by this version: {}", texts.join("; "))
    })?;
    Ok(json!({
        "kind": "Contract",
        "metadata": {"name": name},
        "spec": Spec::Contract(spec).to_json()?,
    }))
}

async fn infer(
    connection: &Connection,
    name: String,
    events: i32,
    owner: String,
    json: bool,
) -> anyhow::Result<()> {
    let mut contracts = connection.clients()?.contracts();
    let request = pb::InferContractRequest { name, max_events: events, owner };
    let found = contracts.infer_contract(request).await?.into_inner();
    let document = document(&found.contract.unwrap_or_default())?;
    if json {
        return output::json(&document);
    }
    output::note(format!("from the newest {} events", output::number(found.events as f64)));
    output::line(serde_norway::to_string(&document)?.trim_end())?;
    Ok(())
}

fn test(
    paths: &[PathBuf],
    events: &PathBuf,
    as_served: bool,
    unplanned_events: ContractMode,
    json: bool,
) -> anyhow::Result<()> {
    let strict = |mode: ContractMode| match mode {
        ContractMode::Observe | ContractMode::Omit if !as_served => ContractMode::Quarantine,
        mode => mode,
    };
    let contracts = contracts_of(paths)?.into_iter().map(|(name, mut spec)| {
        spec.mode = strict(spec.mode);
        spec.unplanned_properties = spec.unplanned_properties.map(strict);
        for rule in spec.properties.values_mut() {
            rule.mode = rule.mode.map(strict);
        }
        (name, spec)
    });
    let contracts = ContractSet::compile(contracts, Some(unplanned_events))?;
    let place = events.display().to_string();
    let text = if place == "-" {
        io::read_to_string(io::stdin())?
    } else {
        fs::read_to_string(events).with_context(|| place.clone())?
    };
    let now = Utc::now();
    let (mut tested, mut wrong) = (0, Vec::new());
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        tested += 1;
        let number = index + 1;
        let result = match event_from_json(line) {
            Err(problem) => pb::EventResult {
                outcome: pb::EventOutcome::Rejected.into(),
                reason: "not_an_event".to_owned(),
                message: problem,
                ..pb::EventResult::default()
            },
            Ok(mut event) => {
                // The libraries of producers give these.
                if event.message_id.is_empty() {
                    event.message_id = format!("line {number}");
                }
                event.occurred_time.get_or_insert_with(|| time::timestamp(now));
                contracts.judge(event, now)
            }
        };
        if result.outcome() != pb::EventOutcome::Accepted {
            let outcome = result.outcome().as_str_name().trim_start_matches("EVENT_OUTCOME_");
            if !json {
                output::line(format!(
                    "{place}:{number}: {} {}: {}",
                    result.reason, result.field, result.message
                ))?;
            }
            wrong.push(json!({
                "line": number,
                "outcome": outcome.to_ascii_lowercase(),
                "reason": result.reason,
                "field": result.field,
                "message": result.message,
            }));
        }
    }
    if json {
        output::json(&json!({"events": tested, "violations": wrong}))?;
    }
    if !wrong.is_empty() {
        bail!("{} of {tested} events break their contracts", wrong.len());
    }
    if !json {
        output::line(format!("{tested} events keep their contracts"))?;
    }
    Ok(())
}

async fn check(connection: &Connection, paths: &[PathBuf], json: bool) -> anyhow::Result<()> {
    let mut contracts = connection.clients()?.contracts();
    let mut checked = Vec::new();
    let mut refused = 0;
    for (name, spec) in contracts_of(paths)? {
        let request = pb::CheckContractRequest { contract: Some(contract_to_proto(&name, &spec)) };
        let found =
            contracts.check_contract(request).await.with_context(|| name.clone())?.into_inner();
        let bump = word(found.bump());
        if !found.version_problem.is_empty() || found.needs_decision {
            refused += 1;
        }
        if !json {
            let was = if found.current_version.is_empty() { "new" } else { &found.current_version };
            output::line(format!("Contract {name}: {was} -> {} ({bump})", spec.schema_version))?;
            for change in &found.changes {
                output::line(format!(
                    "  {} {}: {}",
                    word(change.bump()),
                    change.path,
                    change.what
                ))?;
            }
            if !found.version_problem.is_empty() {
                output::line(format!("  schema_version: {}", found.version_problem))?;
            }
            if found.needs_decision {
                output::line(format!(
                    "  breaks {}: ask with `northstar contract request`",
                    found.broken_metrics.join(", ")
                ))?;
            }
        }
        let changes: Vec<_> = found
            .changes
            .iter()
            .map(|change| {
                json!({
                    "path": change.path,
                    "property": change.property,
                    "bump": word(change.bump()),
                    "what": change.what,
                })
            })
            .collect();
        checked.push(json!({
            "name": name,
            "current_version": found.current_version,
            "schema_version": spec.schema_version,
            "bump": bump,
            "least_version": found.least_version,
            "changes": changes,
            "broken_metrics": found.broken_metrics,
            "needs_decision": found.needs_decision,
            "version_problem": found.version_problem,
        }));
    }
    if json {
        output::json(&checked)?;
    }
    if refused > 0 {
        bail!("{refused} of {} contracts would be refused", checked.len());
    }
    Ok(())
}

fn word(bump: pb::SchemaBump) -> String {
    bump.as_str_name().trim_start_matches("SCHEMA_BUMP_").to_ascii_lowercase()
}

async fn versions(connection: &Connection, name: String, json: bool) -> anyhow::Result<()> {
    let mut contracts = connection.clients()?.contracts();
    let mut found = Vec::new();
    let mut page_token = String::new();
    loop {
        let request =
            pb::ListContractVersionsRequest { name: name.clone(), page_size: 1000, page_token };
        let page = contracts.list_contract_versions(request).await?.into_inner();
        found.extend(page.versions);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    if json {
        let all = found
            .iter()
            .map(|version| {
                Ok(json!({
                    "revision": version.revision,
                    "bump": word(version.bump()),
                    "applied_by": version.applied_by,
                    "applied": time::text(version.apply_time.as_ref()),
                    "decision_request": version.decision_request,
                    "document": document(&version.contract.clone().unwrap_or_default())?,
                }))
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        return output::json(&all);
    }
    let rows = found.into_iter().map(|version| {
        let contract = version.contract.clone().unwrap_or_default();
        let mode =
            contract.mode().as_str_name().trim_start_matches("CONTRACT_MODE_").to_lowercase();
        [
            version.revision.to_string(),
            contract.schema_version,
            word(version.bump()),
            mode,
            version.applied_by,
            time::text(version.apply_time.as_ref()).unwrap_or_default(),
            version.decision_request,
        ]
    });
    let header = ["#", "version", "bump", "mode", "by", "time", "decision"];
    output::line(output::table(&header, rows))?;
    Ok(())
}

async fn unplanned_events(
    connection: &Connection,
    mode: Option<ContractMode>,
    json: bool,
) -> anyhow::Result<()> {
    let mut contracts = connection.clients()?.contracts();
    let mode = match mode {
        None => {
            let request = pb::GetUnplannedEventsRuleRequest {};
            contracts.get_unplanned_events_rule(request).await?.into_inner().mode()
        }
        Some(mode) => {
            let mode = match mode {
                ContractMode::Observe => pb::ContractMode::Observe,
                ContractMode::Omit => pb::ContractMode::Omit,
                ContractMode::Quarantine => pb::ContractMode::Quarantine,
                ContractMode::Reject => pb::ContractMode::Reject,
            };
            let request = pb::SetUnplannedEventsRuleRequest {
                mode: mode.into(),
                request_id: uuid::Uuid::new_v4().to_string(),
            };
            contracts.set_unplanned_events_rule(request).await?.into_inner().mode()
        }
    };
    let mode = match mode {
        pb::ContractMode::Unspecified => "observe".to_owned(),
        mode => mode.as_str_name().trim_start_matches("CONTRACT_MODE_").to_ascii_lowercase(),
    };
    if json {
        return output::json(&json!({"mode": mode}));
    }
    output::line(mode)?;
    Ok(())
}

async fn notes(
    connection: &Connection,
    name: String,
    limit: i32,
    json: bool,
) -> anyhow::Result<()> {
    let mut contracts = connection.clients()?.contracts();
    let request = pb::ListEventNotesRequest { page_size: limit, page_token: String::new(), name };
    let page = contracts.list_event_notes(request).await?.into_inner();
    if json {
        let notes: Vec<_> = page
            .notes
            .iter()
            .map(|note| {
                json!({
                    "position": note.position,
                    "event": note.name,
                    "late": note.late,
                    "validated_with": note.validated_with,
                    "omitted": serde_json::from_str::<serde_json::Value>(&note.omitted_json).ok(),
                })
            })
            .collect();
        return output::json(&notes);
    }
    let rows = page.notes.into_iter().map(|note| {
        [
            note.position.to_string(),
            note.name,
            if note.late { "late".to_owned() } else { String::new() },
            note.validated_with,
            note.omitted_json,
        ]
    });
    let header = ["position", "event", "late", "validated with", "kept aside"];
    output::line(output::table(&header, rows))?;
    Ok(())
}

async fn codegen(
    connection: &Connection,
    paths: &[PathBuf],
    lang: Language,
    out: Option<PathBuf>,
) -> anyhow::Result<()> {
    let contracts =
        if paths.is_empty() { registry(connection).await? } else { contracts_of(paths)? };
    let text = codegen::generate(lang, &contracts);
    let Some(folder) = out else {
        output::line(text.trim_end())?;
        return Ok(());
    };
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let path = folder.join(lang.file_name());
    fs::write(&path, text).with_context(|| path.display().to_string())?;
    output::line(format!("{}: {} events", path.display(), contracts.len()))?;
    Ok(())
}

/// Every contract that the service knows.
async fn registry(connection: &Connection) -> anyhow::Result<Vec<(String, ContractSpec)>> {
    let clients = connection.clients()?;
    let documents = crate::documents::fetch_all(&clients, crate::documents::Kind::Contract).await?;
    Ok(documents
        .into_iter()
        .filter_map(|document| match document.spec {
            Spec::Contract(spec) => Some((document.name, spec)),
            _ => None,
        })
        .collect())
}
