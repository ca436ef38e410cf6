//! `northstar quarantine`: what waits, and what becomes of it.

use std::io::Read as _;

use anyhow::{Context as _, bail};
use chrono_tz::Tz;
use northstar_proto::ingestion::v1 as pb;
use serde::Serialize;
use serde_json::{Value, json};
use tonic::Streaming;

use crate::connection::Connection;
use crate::{output, time};

/// Show, mend, replay and discard events that wait in quarantine. Without a
/// subcommand: list them.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "\
Examples:
  northstar quarantine
  northstar quarantine list --source billing --reason schema_violation --limit 5 --json
  northstar quarantine get 0199f3b0-7c1e-7aa0-8000-0123456789ab
  northstar quarantine patch --reason schema_violation --event 'Signed Up' \\
      --set '{\"properties\": {\"plan\": \"free\"}}'
  northstar quarantine replay --reason schema_violation --dry-run
  northstar quarantine discard --source old-app --why 'the app is retired'
  northstar quarantine resolve --source billing --keep-both")]
pub struct Quarantine {
    #[command(subcommand)]
    step: Option<Step>,
    #[command(flatten)]
    list: List,
}

#[derive(clap::Subcommand)]
enum Step {
    /// List events, oldest first.
    List(List),
    /// Show one, and what a replay would answer.
    Get {
        /// Its quarantine id.
        id: String,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Correct events with a JSON merge patch.
    #[command(after_help = "\
Examples:
  northstar quarantine patch 0199f3b0-7c1e-7aa0-8000-0123456789ab --set '{\"user_id\": \"u1\"}'
  northstar quarantine patch --reason schema_violation --set-file patch.json --dry-run

The patch (RFC 7396) applies to the event as JSON: message_id, name, user_id, anonymous_id,
account_id, occurred_time, sent_time, sequence, properties. What was sent is kept.")]
    Patch {
        #[command(flatten)]
        filter: Filter,
        /// The patch.
        #[arg(long, required_unless_present = "set_file")]
        set: Option<String>,
        /// File that holds the patch; - is standard input.
        #[arg(long, conflicts_with = "set")]
        set_file: Option<String>,
        #[command(flatten)]
        how: How,
    },
    /// Send events to the log, once each, and tell which KPIs moved.
    #[command(after_help = "\
Examples:
  northstar quarantine replay --all --dry-run
  northstar quarantine replay --event 'Signed Up' --json")]
    Replay {
        #[command(flatten)]
        filter: Filter,
        /// Do not compute which KPIs moved.
        #[arg(long)]
        skip_kpis: bool,
        #[command(flatten)]
        how: How,
    },
    /// Give events up; they are kept and cannot be replayed any more.
    #[command(after_help = "\
Example:
  northstar quarantine discard --source old-app --why 'the app is retired'")]
    Discard {
        #[command(flatten)]
        filter: Filter,
        /// Why, for people.
        #[arg(long)]
        why: String,
        #[command(flatten)]
        how: How,
    },
    /// Decide about events whose message id belongs to another event.
    #[command(after_help = "\
Examples:
  northstar quarantine resolve --source billing --keep-first
  northstar quarantine resolve 0199f3b0-7c1e-7aa0-8000-0123456789ab --keep-both")]
    Resolve {
        #[command(flatten)]
        filter: Filter,
        /// Discard them; the event in the log stays.
        #[arg(long, required_unless_present = "keep_both")]
        keep_first: bool,
        /// Give each a message id of its own and replay it.
        #[arg(long, conflicts_with = "keep_first")]
        keep_both: bool,
        #[command(flatten)]
        how: How,
    },
}

/// Which events.
#[derive(clap::Args, Clone, Debug)]
struct Filter {
    /// Only these quarantine ids.
    ids: Vec<String>,
    /// Only this source.
    #[arg(long, default_value = "")]
    source: String,
    /// Only this reason, for example schema_violation.
    #[arg(long, default_value = "")]
    reason: String,
    /// Only events of this name.
    #[arg(long, default_value = "")]
    event: String,
    /// Received at or after this time or date (UTC).
    #[arg(long)]
    from: Option<String>,
    /// Received before this time or date (UTC).
    #[arg(long)]
    until: Option<String>,
    /// CEL condition, for example "properties.plan == 'pro'".
    #[arg(long = "where", default_value = "")]
    condition: String,
    /// Every event that waits.
    #[arg(long)]
    all: bool,
}

#[derive(clap::Args, Clone, Debug)]
struct List {
    #[command(flatten)]
    filter: Filter,
    /// Only this state: open, patched, replayed or discarded. Default: what waits.
    #[arg(long)]
    state: Vec<String>,
    /// Most events, up to 1000.
    #[arg(long, default_value_t = 20)]
    limit: i32,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args, Clone, Debug)]
struct How {
    /// Count only; change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

impl Filter {
    fn to_proto(&self, states: &[String]) -> anyhow::Result<pb::QuarantineFilter> {
        let at = |text: &Option<String>| {
            text.as_deref().map(|text| time::parse(text, Tz::UTC).map(time::timestamp)).transpose()
        };
        let states = states
            .iter()
            .map(|state| {
                let name = format!("QUARANTINE_STATE_{}", state.to_ascii_uppercase());
                match pb::QuarantineState::from_str_name(&name) {
                    Some(state) if state != pb::QuarantineState::Unspecified => Ok(state.into()),
                    _ => bail!("{state:?} is not a state: use open, patched, replayed, discarded"),
                }
            })
            .collect::<anyhow::Result<Vec<i32>>>()?;
        Ok(pb::QuarantineFilter {
            quarantine_ids: self.ids.clone(),
            source: self.source.clone(),
            reason: self.reason.clone(),
            event_name: self.event.clone(),
            received_from_time: at(&self.from)?,
            received_until_time: at(&self.until)?,
            condition: self.condition.clone(),
            states,
            all: self.all,
        })
    }
}

#[derive(Serialize)]
struct Shown {
    id: String,
    source: String,
    state: String,
    message_id: String,
    event: String,
    reason: String,
    failure_type: String,
    field: String,
    message: String,
    advice: String,
    received: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<i64>,
    #[serde(skip_serializing_if = "String::is_empty")]
    changed_by: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    changed: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    discard_reason: String,
}

impl From<&pb::QuarantinedEvent> for Shown {
    fn from(found: &pb::QuarantinedEvent) -> Self {
        let event = found.patched_event.as_ref().or(found.event.as_ref());
        let state = found.state().as_str_name().trim_start_matches("QUARANTINE_STATE_");
        Self {
            id: found.quarantine_id.clone(),
            source: found.source.clone(),
            state: state.to_ascii_lowercase(),
            message_id: event.map(|event| event.message_id.clone()).unwrap_or_default(),
            event: event.map(|event| event.name.clone()).unwrap_or_default(),
            reason: found.reason.clone(),
            failure_type: found.failure_type.clone(),
            field: found.field.clone(),
            message: found.message.clone(),
            advice: found.advice.clone(),
            received: time::text(found.received_time.as_ref()),
            position: (found.position > 0).then_some(found.position),
            changed_by: found.changed_by.clone(),
            changed: time::text(found.change_time.as_ref()),
            discard_reason: found.discard_reason.clone(),
        }
    }
}

/// Runs `northstar quarantine`.
pub async fn run(command: Quarantine, connection: &Connection) -> anyhow::Result<()> {
    match command.step {
        None => list(command.list, connection).await,
        Some(Step::List(command)) => list(command, connection).await,
        Some(Step::Get { id, json }) => get(id, json, connection).await,
        Some(Step::Patch { filter, set, set_file, how }) => {
            let text = match (set, set_file.as_deref()) {
                (Some(text), _) => text,
                (None, Some("-")) => {
                    let mut text = String::new();
                    std::io::stdin().read_to_string(&mut text)?;
                    text
                }
                (None, file) => {
                    let file = file.unwrap_or_default();
                    std::fs::read_to_string(file).with_context(|| file.to_owned())?
                }
            };
            let request = pb::PatchQuarantinedEventsRequest {
                filter: Some(filter.to_proto(&[])?),
                change: Some(pb::patch_quarantined_events_request::Change::MergePatchJson(text)),
                dry_run: how.dry_run,
                request_id: uuid::Uuid::new_v4().to_string(),
            };
            let mut quarantine = connection.clients()?.quarantine();
            let stream = quarantine.patch_quarantined_events(request).await?.into_inner();
            let last = follow(&how, stream, |update| update.progress.clone()).await?;
            let check = last.check.as_ref().map(checked);
            report("patched", last.progress, &how, [("last_check", json!(check))])
        }
        Some(Step::Replay { filter, skip_kpis, how }) => {
            let request = pb::ReplayQuarantinedEventsRequest {
                filter: Some(filter.to_proto(&[])?),
                dry_run: how.dry_run,
                skip_kpis,
                request_id: uuid::Uuid::new_v4().to_string(),
            };
            let mut quarantine = connection.clients()?.quarantine();
            let stream = quarantine.replay_quarantined_events(request).await?.into_inner();
            let last = follow(&how, stream, |update| update.progress.clone()).await?;
            let moves: Vec<_> = last
                .kpi_moves
                .iter()
                .map(
                    |moved| json!({"kpi": moved.kpi, "before": moved.before, "after": moved.after}),
                )
                .collect();
            let more = [
                ("kpi_moves", json!(moves)),
                ("kpis_unknown", json!(last.kpis_unknown)),
                ("log_position", json!(last.log_position)),
            ];
            report("replayed", last.progress, &how, more)?;
            if !how.json {
                for moved in &last.kpi_moves {
                    output::line(format!(
                        "{}: {} -> {}",
                        moved.kpi,
                        output::optional(moved.before),
                        output::optional(moved.after)
                    ))?;
                }
                if !last.kpis_unknown.is_empty() {
                    output::note(format!("KPIs were not compared: {}", last.kpis_unknown));
                }
            }
            Ok(())
        }
        Some(Step::Discard { filter, why, how }) => {
            let request = pb::DiscardQuarantinedEventsRequest {
                filter: Some(filter.to_proto(&[])?),
                reason: why,
                dry_run: how.dry_run,
                request_id: uuid::Uuid::new_v4().to_string(),
            };
            let mut quarantine = connection.clients()?.quarantine();
            let stream = quarantine.discard_quarantined_events(request).await?.into_inner();
            let last = follow(&how, stream, |update| update.progress.clone()).await?;
            report("discarded", last.progress, &how, [])
        }
        Some(Step::Resolve { filter, keep_first, keep_both: _, how }) => {
            let resolution = if keep_first {
                pb::IdConflictResolution::KeepFirst
            } else {
                pb::IdConflictResolution::KeepBoth
            };
            let request = pb::ResolveIdConflictsRequest {
                filter: Some(filter.to_proto(&[])?),
                resolution: resolution.into(),
                dry_run: how.dry_run,
                request_id: uuid::Uuid::new_v4().to_string(),
            };
            let mut quarantine = connection.clients()?.quarantine();
            let stream = quarantine.resolve_id_conflicts(request).await?.into_inner();
            let last = follow(&how, stream, |update| update.progress.clone()).await?;
            report("resolved", last.progress, &how, [])
        }
    }
}

/// Reads a stream of progress to its end and tells it on standard error.
async fn follow<R: Default>(
    how: &How,
    mut stream: Streaming<R>,
    progress: impl Fn(&R) -> Option<pb::QuarantineProgress>,
) -> anyhow::Result<R> {
    let changed = if how.dry_run { "would change" } else { "changed" };
    let mut last = R::default();
    let mut done = false;
    while let Some(update) = stream.message().await? {
        let now = progress(&update).unwrap_or_default();
        done = now.done;
        if !done {
            output::note(format!("{} looked at, {} {changed}", now.matched, now.changed));
        }
        last = update;
    }
    if !done {
        bail!("the answer broke off; run the command again, what was done is skipped");
    }
    Ok(last)
}

fn report<const N: usize>(
    done: &str,
    progress: Option<pb::QuarantineProgress>,
    how: &How,
    more: [(&str, Value); N],
) -> anyhow::Result<()> {
    let progress = progress.unwrap_or_default();
    if how.json {
        let mut document = json!({
            "dry_run": how.dry_run,
            "matched": progress.matched,
            "changed": progress.changed,
            "unchanged": progress.unchanged_by_reason,
        });
        if let Value::Object(fields) = &mut document {
            fields.extend(more.map(|(name, value)| (name.to_owned(), value)));
        }
        return output::json(&document);
    }
    let would = if how.dry_run { "would be " } else { "" };
    let mut line = format!(
        "{} of {} events {would}{done}",
        output::number(progress.changed as f64),
        output::number(progress.matched as f64)
    );
    for (reason, count) in &progress.unchanged_by_reason {
        line.push_str(&format!("; {count} stay: {reason}"));
    }
    output::line(line)?;
    Ok(())
}

async fn list(command: List, connection: &Connection) -> anyhow::Result<()> {
    let mut quarantine = connection.clients()?.quarantine();
    let filter = command.filter.to_proto(&command.state)?;
    let limit = usize::try_from(command.limit).unwrap_or(0).clamp(1, 1000);
    let mut events: Vec<Shown> = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = pb::SearchQuarantinedEventsRequest {
            filter: Some(filter.clone()),
            page_size: i32::try_from(limit - events.len()).unwrap_or(1),
            page_token,
        };
        let page = quarantine.search_quarantined_events(request).await?.into_inner();
        events.extend(page.events.iter().map(Shown::from));
        page_token = page.next_page_token;
        if page_token.is_empty() || events.len() >= limit {
            break;
        }
    }
    let request = pb::ListQuarantinedEventsRequest {
        page_size: 1,
        source: command.filter.source.clone(),
        reason: command.filter.reason.clone(),
        ..Default::default()
    };
    let mut ingestion = connection.clients()?.ingestion();
    let counts = ingestion.list_quarantined_events(request).await?.into_inner().counts_by_reason;
    if command.json {
        return output::json(&json!({"events": events, "counts": counts}));
    }
    if events.is_empty() {
        output::note("no event in quarantine is like that");
        return Ok(());
    }
    let rows = events.into_iter().map(|event| {
        [event.id, event.source, event.state, event.event, event.reason, event.field, event.message]
    });
    let header = ["id", "source", "state", "event", "reason", "field", "message"];
    output::line(output::table(&header, rows))?;
    let counts: Vec<_> = counts.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    output::line(counts.join(", "))?;
    Ok(())
}

async fn get(id: String, json: bool, connection: &Connection) -> anyhow::Result<()> {
    let mut quarantine = connection.clients()?.quarantine();
    let request = pb::GetQuarantinedEventRequest { quarantine_id: id };
    let found = quarantine.get_quarantined_event(request).await?.into_inner();
    let event = found.event.unwrap_or_default();
    let shown = Shown::from(&event);
    let check = found.check.as_ref().map(checked);
    if json {
        return output::json(&json!({
            "event": shown,
            "sent": event.event.as_ref().map(northstar_ingestion::contract_check::event_to_json),
            "raw": (!event.raw.is_empty()).then(|| String::from_utf8_lossy(&event.raw)),
            "patched": event
                .patched_event
                .as_ref()
                .map(northstar_ingestion::contract_check::event_to_json),
            "check": check,
        }));
    }
    let mut lines = vec![
        format!("{} from {}, {}", shown.id, shown.source, shown.state),
        match shown.field.as_str() {
            "" => format!("{}: {}", shown.reason, shown.message),
            field => format!("{} {field}: {}", shown.reason, shown.message),
        },
        format!("advice: {}", shown.advice),
    ];
    if !event.raw.is_empty() {
        lines.push(format!("record: {}", String::from_utf8_lossy(&event.raw)));
    }
    for (what, event) in [("sent", &event.event), ("patched", &event.patched_event)] {
        if let Some(event) = event {
            let document = northstar_ingestion::contract_check::event_to_json(event);
            lines.push(format!("{what}: {document}"));
        }
    }
    if let Some(check) = check {
        lines.push(format!("a replay would answer: {check}"));
    }
    if shown.reason == "id_conflict" {
        lines.push(
            "the event that holds the id: northstar events list, at that position".to_owned(),
        );
    }
    output::line(lines.join("\n"))?;
    Ok(())
}

fn checked(check: &pb::EventResult) -> Value {
    let outcome = check.outcome().as_str_name().trim_start_matches("EVENT_OUTCOME_");
    json!({
        "outcome": outcome.to_ascii_lowercase(),
        "reason": check.reason,
        "field": check.field,
        "message": check.message,
    })
}
