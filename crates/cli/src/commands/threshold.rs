//! `northstar threshold`: when numbers ask for decisions.

use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};
use northstar_client::Clients;
use northstar_metrics::convert::threshold::to_proto;
use northstar_proto::metrics::v1 as pb;
use serde::Serialize;
use serde_json::json;

use crate::connection::Connection;
use crate::documents::{Document, Spec};
use crate::{output, time};

/// Thresholds: where they are, what they saw, and what they would see.
#[derive(clap::Subcommand)]
#[command(after_help = "\
Thresholds are documents: northstar apply threshold.yaml

Examples:
  northstar threshold list
  northstar threshold get activation-drop
  northstar threshold evaluate activation-drop --at 2026-03-04
  northstar threshold log activation-drop --effects
  northstar threshold replay activation-drop --recompute")]
pub enum Threshold {
    /// List thresholds and where they are.
    #[command(after_help = "Example:\n  northstar threshold list --json")]
    List {
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Show a threshold, where it is, and its decision request.
    #[command(after_help = "Example:\n  northstar threshold get activation-drop")]
    Get {
        /// Its name.
        name: String,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Tell what an evaluation would find and do; writes nothing.
    #[command(after_help = "\
Examples:
  northstar threshold evaluate activation-drop
  northstar threshold evaluate activation-drop --at 2026-03-04T06:00:00Z
  northstar threshold evaluate --file draft.yaml --at 2026-03-04 --json")]
    Evaluate {
        /// Name of an applied threshold.
        name: Option<String>,
        /// YAML file with a threshold that need not be applied.
        #[arg(long, conflicts_with = "name")]
        file: Option<PathBuf>,
        /// When it is evaluated; now when absent.
        #[arg(long)]
        at: Option<String>,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Show the log of evaluations, newest first.
    #[command(after_help = "\
Examples:
  northstar threshold log activation-drop --limit 20
  northstar threshold log activation-drop --effects --json")]
    Log {
        /// Its name.
        name: String,
        /// Only evaluations that had an effect.
        #[arg(long)]
        effects: bool,
        /// Most evaluations.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i32).range(1..=1000))]
        limit: i32,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Evaluate the log again and show what comes out otherwise; exit code 1 when
    /// something does.
    #[command(after_help = "\
From the logged values everything must come out the same. With --recompute the values
are computed again from the log of events, which may know more by now.

Examples:
  northstar threshold replay activation-drop
  northstar threshold replay activation-drop --recompute --from 2026-03-01 --to 2026-04-01")]
    Replay {
        /// Its name.
        name: String,
        /// Compute the values again.
        #[arg(long)]
        recompute: bool,
        /// Only evaluations at or after this time.
        #[arg(long)]
        from: Option<String>,
        /// Only evaluations before this time.
        #[arg(long)]
        to: Option<String>,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Stop its schedule.
    #[command(after_help = "\
Example:
  northstar threshold pause activation-drop --reason \"the import of March runs\"")]
    Pause {
        /// Its name.
        name: String,
        /// Why.
        #[arg(long)]
        reason: String,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Take its schedule up again.
    #[command(after_help = "Example:\n  northstar threshold resume activation-drop")]
    Resume {
        /// Its name.
        name: String,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// End a threshold; its log stays.
    #[command(after_help = "Example:\n  northstar threshold delete activation-drop")]
    Delete {
        /// Its name.
        name: String,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
}

/// A threshold and where it is, as JSON.
#[derive(Serialize)]
struct Status {
    name: String,
    owner: String,
    watches: String,
    phase: String,
    episode: i64,
    since: Option<String>,
    deferred_until: Option<String>,
    cool_until: Option<String>,
    next_evaluation: Option<String>,
    paused: Option<String>,
    decision_request: Option<String>,
    refusal: Option<String>,
    withdrawal: Option<String>,
}

impl From<pb::ThresholdStatus> for Status {
    fn from(from: pb::ThresholdStatus) -> Self {
        let threshold = from.threshold.unwrap_or_default();
        let state = from.state.unwrap_or_default();
        let filled = |text: String| Some(text).filter(|text| !text.is_empty());
        Self {
            name: threshold.name,
            owner: threshold.owner,
            watches: match threshold.kpi.as_str() {
                "" => format!("metric {}", threshold.metric),
                kpi => format!("KPI {kpi}"),
            },
            phase: word(state.phase().as_str_name(), "THRESHOLD_PHASE_"),
            episode: state.episode,
            since: time::text(state.since_time.as_ref()),
            deferred_until: time::text(state.deferred_until_time.as_ref()),
            cool_until: time::text(state.cool_until_time.as_ref()),
            next_evaluation: time::text(from.next_evaluation_time.as_ref()),
            paused: filled(from.pause_reason),
            decision_request: filled(from.decision_request),
            refusal: filled(from.refusal),
            withdrawal: filled(from.withdrawal),
        }
    }
}

/// An evaluation, as JSON.
#[derive(Serialize)]
struct Evaluation {
    sequence: i64,
    time: Option<String>,
    value: Option<f64>,
    reference: Option<f64>,
    segment: Option<String>,
    sample: i64,
    period: [Option<String>; 2],
    reading: String,
    breaches: i32,
    gates: Vec<String>,
    effect: String,
    phase_before: String,
    phase_after: String,
    episode: i64,
    log_position: i64,
    freshness: String,
    digest: String,
    observations: Vec<Observation>,
}

#[derive(Serialize)]
struct Observation {
    start: Option<String>,
    end: Option<String>,
    segment: Option<String>,
    value: Option<f64>,
    reference: Option<f64>,
    sample: i64,
    reading: String,
}

impl From<pb::ThresholdEvaluation> for Evaluation {
    fn from(from: pb::ThresholdEvaluation) -> Self {
        let phase = |state: Option<&pb::ThresholdState>| {
            let phase = state.map(pb::ThresholdState::phase).unwrap_or_default();
            word(phase.as_str_name(), "THRESHOLD_PHASE_")
        };
        let provenance = from.provenance.clone().unwrap_or_default();
        let newest = from.observations.last().cloned().unwrap_or_default();
        Self {
            sequence: from.sequence,
            time: time::text(from.evaluation_time.as_ref()),
            value: newest.value,
            reference: newest.reference,
            segment: newest.segment,
            sample: newest.sample,
            period: [time::text(newest.start_time.as_ref()), time::text(newest.end_time.as_ref())],
            reading: word(from.reading().as_str_name(), "THRESHOLD_READING_"),
            breaches: from.breaches,
            gates: from.gates().map(|gate| word(gate.as_str_name(), "THRESHOLD_GATE_")).collect(),
            effect: word(from.effect().as_str_name(), "THRESHOLD_EFFECT_"),
            phase_before: phase(from.state_before.as_ref()),
            phase_after: phase(from.state_after.as_ref()),
            episode: from.state_after.map(|state| state.episode).unwrap_or_default(),
            log_position: provenance.log_position,
            freshness: word(provenance.freshness().as_str_name(), "FRESHNESS_"),
            digest: provenance.digest,
            observations: from
                .observations
                .into_iter()
                .map(|observation| Observation {
                    start: time::text(observation.start_time.as_ref()),
                    end: time::text(observation.end_time.as_ref()),
                    reading: word(observation.reading().as_str_name(), "THRESHOLD_READING_"),
                    segment: observation.segment,
                    value: observation.value,
                    reference: observation.reference,
                    sample: observation.sample,
                })
                .collect(),
        }
    }
}

fn word(name: &str, prefix: &str) -> String {
    name.trim_start_matches(prefix).to_ascii_lowercase()
}

/// Runs the command.
pub async fn run(command: Threshold, connection: &Connection) -> anyhow::Result<()> {
    let clients = connection.clients()?;
    let request_id = uuid::Uuid::new_v4().to_string();
    match command {
        Threshold::List { json } => list(&clients, json).await,
        Threshold::Get { name, json } => {
            let request = pb::GetThresholdRequest { name };
            let response = clients.thresholds().get_threshold(request).await?.into_inner();
            show(response.status.unwrap_or_default().into(), json)
        }
        Threshold::Evaluate { name, file, at, json } => {
            evaluate(&clients, name, file, at.as_deref(), json).await
        }
        Threshold::Log { name, effects, limit, json } => {
            log(&clients, name, effects, limit, json).await
        }
        Threshold::Replay { name, recompute, from, to, json } => {
            let input =
                if recompute { pb::ReplayInput::Recomputed } else { pb::ReplayInput::Logged };
            let request = pb::ReplayEvaluationsRequest {
                threshold: name,
                start_time: read_time(from.as_deref())?,
                end_time: read_time(to.as_deref())?,
                input: input.into(),
            };
            replay(&clients, request, json).await
        }
        Threshold::Pause { name, reason, json } => {
            let request = pb::PauseThresholdRequest { name, reason, request_id };
            let response = clients.thresholds().pause_threshold(request).await?.into_inner();
            show(response.status.unwrap_or_default().into(), json)
        }
        Threshold::Resume { name, json } => {
            let request = pb::ResumeThresholdRequest { name, request_id };
            let response = clients.thresholds().resume_threshold(request).await?.into_inner();
            show(response.status.unwrap_or_default().into(), json)
        }
        Threshold::Delete { name, json } => {
            let request = pb::DeleteThresholdRequest { name: name.clone(), request_id };
            clients.thresholds().delete_threshold(request).await?;
            if json {
                return output::json(&json!({ "deleted": name }));
            }
            output::line(format!("deleted {name}")).map_err(Into::into)
        }
    }
}

fn read_time(text: Option<&str>) -> anyhow::Result<Option<prost_types::Timestamp>> {
    text.map(|text| time::parse(text, chrono_tz::UTC).map(time::timestamp)).transpose()
}

async fn list(clients: &Clients, json: bool) -> anyhow::Result<()> {
    let mut found: Vec<Status> = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = pb::ListThresholdsRequest { page_size: 1000, page_token };
        let page = clients.thresholds().list_thresholds(request).await?.into_inner();
        found.extend(page.statuses.into_iter().map(Status::from));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    if json {
        return output::json(&found);
    }
    let rows = found.iter().map(|status| {
        [
            status.name.clone(),
            status.watches.clone(),
            if status.paused.is_some() { "paused".to_owned() } else { status.phase.clone() },
            status.episode.to_string(),
            status.next_evaluation.clone().unwrap_or_default(),
            status.decision_request.clone().unwrap_or_default(),
        ]
    });
    let header = ["name", "watches", "phase", "episode", "next evaluation", "decision request"];
    output::line(output::table(&header, rows))?;
    Ok(())
}

fn show(status: Status, json: bool) -> anyhow::Result<()> {
    if json {
        return output::json(&status);
    }
    let rows = [
        ("name", Some(status.name)),
        ("owner", Some(status.owner)),
        ("watches", Some(status.watches)),
        ("phase", Some(status.phase)),
        ("episode", Some(status.episode.to_string())),
        ("since", status.since),
        ("deferred until", status.deferred_until),
        ("cools down until", status.cool_until),
        ("next evaluation", status.next_evaluation),
        ("paused", status.paused),
        ("decision request", status.decision_request),
        ("not asked because", status.refusal),
        ("once recovered", status.withdrawal),
    ];
    let told = rows.into_iter().filter_map(|(what, value)| Some([what.to_owned(), value?]));
    output::line(output::table(&["", ""], told))?;
    Ok(())
}

async fn evaluate(
    clients: &Clients,
    name: Option<String>,
    file: Option<PathBuf>,
    at: Option<&str>,
    json: bool,
) -> anyhow::Result<()> {
    let threshold = match (&name, &file) {
        (Some(_), _) => None,
        (None, Some(file)) => Some(read_file(file)?),
        (None, None) => bail!("say which: a name, or --file with a document"),
    };
    let request = pb::EvaluateThresholdRequest {
        name: name.unwrap_or_default(),
        threshold,
        evaluation_time: read_time(at)?,
    };
    let response = clients.thresholds().evaluate_threshold(request).await?.into_inner();
    let evaluation = Evaluation::from(response.evaluation.unwrap_or_default());
    if json {
        return output::json(&evaluation);
    }
    let rows = evaluation.observations.iter().map(|observation| {
        [
            observation.start.clone().unwrap_or_default(),
            observation.end.clone().unwrap_or_default(),
            observation.segment.clone().unwrap_or_default(),
            output::optional(observation.value),
            output::optional(observation.reference),
            observation.sample.to_string(),
            observation.reading.clone(),
        ]
    });
    let header = ["from", "to", "segment", "value", "compared with", "sample", "reading"];
    output::line(output::table(&header, rows))?;
    let gates = match evaluation.gates.as_slice() {
        [] => String::new(),
        gates => format!(" ({})", gates.join(", ")),
    };
    output::line(format!("effect: {}{gates}", evaluation.effect))?;
    Ok(())
}

fn read_file(file: &std::path::Path) -> anyhow::Result<pb::Threshold> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("{} cannot be read", file.display()))?;
    let documents = Document::read_all(&text, &file.display().to_string())?;
    let mut thresholds = documents.iter().filter_map(|document| match &document.spec {
        Spec::Threshold(spec) => Some(to_proto(&document.name, 0, "", spec)),
        _ => None,
    });
    let found =
        thresholds.next().with_context(|| format!("{} holds no Threshold", file.display()))?;
    ensure!(thresholds.next().is_none(), "{} holds several thresholds", file.display());
    Ok(found)
}

async fn log(
    clients: &Clients,
    threshold: String,
    effects_only: bool,
    page_size: i32,
    json: bool,
) -> anyhow::Result<()> {
    let request = pb::ListEvaluationsRequest {
        threshold,
        page_size,
        effects_only,
        ..pb::ListEvaluationsRequest::default()
    };
    let page = clients.thresholds().list_evaluations(request).await?.into_inner();
    let found: Vec<Evaluation> = page.evaluations.into_iter().map(Evaluation::from).collect();
    if json {
        return output::json(&found);
    }
    output::line(table(&found))?;
    Ok(())
}

fn table(evaluations: &[Evaluation]) -> String {
    let rows = evaluations.iter().map(|evaluation| {
        [
            evaluation.sequence.to_string(),
            evaluation.time.clone().unwrap_or_default(),
            output::optional(evaluation.value),
            output::optional(evaluation.reference),
            evaluation.segment.clone().unwrap_or_default(),
            evaluation.sample.to_string(),
            evaluation.reading.clone(),
            evaluation.gates.join(", "),
            evaluation.effect.clone(),
            evaluation.phase_after.clone(),
        ]
    });
    let header = [
        "#",
        "time",
        "value",
        "compared with",
        "segment",
        "sample",
        "reading",
        "gates",
        "effect",
        "phase",
    ];
    output::table(&header, rows)
}

async fn replay(
    clients: &Clients,
    request: pb::ReplayEvaluationsRequest,
    json: bool,
) -> anyhow::Result<()> {
    let mut stream = clients.thresholds().replay_evaluations(request).await?.into_inner();
    let (mut replayed, mut different) = (0_u64, Vec::new());
    while let Some(answer) = stream.message().await? {
        replayed += 1;
        if !answer.same {
            let logged = Evaluation::from(answer.logged.unwrap_or_default());
            let now = Evaluation::from(answer.replayed.unwrap_or_default());
            different.push(json!({
                "sequence": logged.sequence,
                "time": logged.time,
                "differences": answer.differences,
                "logged": logged,
                "replayed": now,
            }));
        }
    }
    if json {
        output::json(&json!({ "replayed": replayed, "different": different }))?;
    } else {
        for difference in &different {
            let told: Vec<_> = difference["differences"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(serde_json::Value::as_str)
                .collect();
            let (sequence, time) = (&difference["sequence"], difference["time"].as_str());
            let time = time.unwrap_or_default();
            output::line(format!("{sequence} at {time}: {}", told.join("; ")))?;
        }
        output::line(format!("{replayed} replayed, {} different", different.len()))?;
    }
    ensure!(different.is_empty(), "{} evaluations come out otherwise", different.len());
    Ok(())
}
