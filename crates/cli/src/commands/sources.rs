//! `northstar sources`: what came in, and whether it is enough.

use anyhow::bail;
use northstar_proto::ingestion::v1 as pb;
use serde::Serialize;

use crate::connection::Connection;
use crate::{output, time};

/// Show the state and the accounting equation of every source and event.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  northstar sources
  northstar sources --events --json
  northstar sources --check          for cron and CI: exit code 1 when one is breached

How soon events must arrive, and how many, is said in a document:
  kind: Source
  metadata: {name: web}
  spec:
    owner: growth
    freshness:
      warn_after: {count: 6, period: hour}
      error_after: {count: 12, period: hour}
    volume: {expected: 1000, every: {count: 1, period: day}, warn_below: 0.9, error_below: 0.5}
    failures: {every: {count: 1, period: hour}, warn_above: 0.01, least: 10}
    events:
      Order Placed: {freshness: {warn_after: {count: 1, period: hour}}}")]
pub struct Sources {
    /// Only this source.
    #[arg(default_value = "")]
    name: String,
    /// Show each event name on a line of its own.
    #[arg(long)]
    events: bool,
    /// Fail with exit code 1 when a source or an event is breached.
    #[arg(long)]
    check: bool,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Source {
    name: String,
    owner: String,
    /// The worst of its own and its events'.
    state: String,
    own_state: String,
    reason: String,
    #[serde(flatten)]
    accounting: Accounting,
    last_received: Option<String>,
    last_accepted: Option<String>,
    last_effective: Option<String>,
    events: Vec<Event>,
}

#[derive(Serialize)]
struct Event {
    /// Empty for names beyond the 1,000 that are counted one by one.
    name: String,
    state: String,
    reason: String,
    #[serde(flatten)]
    accounting: Accounting,
    last_received: Option<String>,
    last_accepted: Option<String>,
    last_effective: Option<String>,
}

#[derive(Clone, Copy, Serialize)]
struct Accounting {
    received: i64,
    accepted: i64,
    duplicate: i64,
    quarantined: i64,
    rejected: i64,
}

impl From<Option<pb::Accounting>> for Accounting {
    fn from(from: Option<pb::Accounting>) -> Self {
        let pb::Accounting { received, accepted, duplicate, quarantined, rejected } =
            from.unwrap_or_default();
        Self { received, accepted, duplicate, quarantined, rejected }
    }
}

impl Accounting {
    fn cells(self) -> [String; 5] {
        [self.received, self.accepted, self.duplicate, self.quarantined, self.rejected]
            .map(|count| output::number(count as f64))
    }
}

fn state(state: pb::SourceState) -> String {
    state.as_str_name().trim_start_matches("SOURCE_STATE_").to_ascii_lowercase()
}

impl From<pb::SourceStanding> for Source {
    fn from(from: pb::SourceStanding) -> Self {
        Self {
            state: state(from.state()),
            own_state: state(from.own_state()),
            accounting: from.accounting.into(),
            last_received: time::text(from.last_received_time.as_ref()),
            last_accepted: time::text(from.last_accepted_time.as_ref()),
            last_effective: time::text(from.last_effective_time.as_ref()),
            events: from.events.into_iter().map(Event::from).collect(),
            name: from.name,
            owner: from.owner,
            reason: from.reason,
        }
    }
}

impl From<pb::EventStanding> for Event {
    fn from(from: pb::EventStanding) -> Self {
        Self {
            state: state(from.state()),
            accounting: from.accounting.into(),
            last_received: time::text(from.last_received_time.as_ref()),
            last_accepted: time::text(from.last_accepted_time.as_ref()),
            last_effective: time::text(from.last_effective_time.as_ref()),
            name: from.name,
            reason: from.reason,
        }
    }
}

/// Runs the command.
pub async fn run(command: Sources, connection: &Connection) -> anyhow::Result<()> {
    let request = pb::ListSourceStatesRequest { source: command.name.clone() };
    let found = connection.clients()?.sources().list_source_states(request).await?.into_inner();
    let sources: Vec<Source> = found.sources.into_iter().map(Source::from).collect();
    if !command.name.is_empty() && sources.is_empty() {
        bail!("there is no source named {:?}: it sent nothing and has no document", command.name);
    }
    if command.json {
        output::json(&serde_json::json!({
            "sources": sources,
            "evaluation_time": time::text(found.evaluation_time.as_ref()),
            "log_position": found.log_position,
        }))?;
    } else {
        print(&sources, command.events)?;
    }
    let breached: Vec<String> = sources.iter().flat_map(breaches).collect();
    if command.check && !breached.is_empty() {
        bail!("{}", breached.join("\n"));
    }
    Ok(())
}

fn print(sources: &[Source], events: bool) -> anyhow::Result<()> {
    let mut rows: Vec<Vec<String>> = Vec::new();
    for source in sources {
        let mut row = vec![source.name.clone(), source.state.clone()];
        row.extend(source.accounting.cells());
        row.push(source.last_accepted.clone().unwrap_or_default());
        row.push(source.reason.clone());
        rows.push(row);
        for event in &source.events {
            let judged = !event.reason.is_empty();
            if !(events || judged) {
                continue;
            }
            let name = if event.name.is_empty() { "(other)" } else { &event.name };
            let mut row = vec![format!("  {name}"), event.state.clone()];
            row.extend(event.accounting.cells());
            row.push(event.last_accepted.clone().unwrap_or_default());
            row.push(event.reason.clone());
            rows.push(row);
        }
    }
    let header = [
        "source",
        "state",
        "received",
        "accepted",
        "duplicate",
        "quarantined",
        "rejected",
        "last accepted",
        "reason",
    ];
    output::line(output::table(&header, rows))?;
    Ok(())
}

/// What is breached, a sentence each.
fn breaches(source: &Source) -> Vec<String> {
    let events = source
        .events
        .iter()
        .filter(|event| event.state == "breached")
        .map(|event| format!("{}/{} is breached: {}", source.name, event.name, event.reason));
    let own = (source.own_state == "breached")
        .then(|| format!("{} is breached: {}", source.name, source.reason));
    own.into_iter().chain(events).collect()
}
