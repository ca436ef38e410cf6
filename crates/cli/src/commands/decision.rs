//! `northstar decision`: what people must judge.

use std::path::PathBuf;

use anyhow::Context as _;
use northstar_proto::approvals::v1 as pb;
use northstar_proto::approvals::v1::approvals_service_client::ApprovalsServiceClient;
use serde::Serialize;

use crate::connection::Connection;
use crate::{output, time};

/// List, read and decide decision requests.
#[derive(clap::Subcommand)]
#[command(after_help = "\
Examples:
  northstar decision list --state pending
  northstar decision show 0199f3b0-7c1e-7aa0-8000-0123456789ab
  northstar decision approve 0199f3b0-7c1e-7aa0-8000-0123456789ab --reason \"holdout looks right\"
  northstar decision reject 0199f3b0-7c1e-7aa0-8000-0123456789ab --reason \"no guardrail on churn\"
  northstar decision edit 0199f3b0-7c1e-7aa0-8000-0123456789ab --diff smaller.json")]
pub enum Decision {
    /// List decision requests, newest first.
    List {
        /// Only this state.
        #[arg(long, value_enum)]
        state: Option<State>,
        /// Only this subject, for example automations/nudge.
        #[arg(long, default_value = "")]
        subject: String,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Show one with its diff and evidence.
    Show {
        /// Its id.
        id: String,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Approve the diff as it stands now.
    Approve {
        /// Its id.
        id: String,
        /// Why.
        #[arg(long, default_value = "")]
        reason: String,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Reject it.
    Reject {
        /// Its id.
        id: String,
        /// Why.
        #[arg(long)]
        reason: String,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Replace the diff: starts a new review cycle.
    Edit {
        /// Its id.
        id: String,
        /// JSON file with the new diff.
        #[arg(long)]
        diff: PathBuf,
        /// Why.
        #[arg(long, default_value = "")]
        reason: String,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
}

/// State of a decision request on the command line.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum State {
    /// Waits for verdicts.
    Pending,
    /// Approved.
    Approved,
    /// Rejected.
    Rejected,
    /// Nobody decided in time.
    Expired,
}

#[derive(Serialize)]
struct Shown {
    id: String,
    action: String,
    subject: String,
    summary: String,
    state: String,
    author: String,
    review_cycle: i32,
    quorum: i32,
    role: String,
    diff: serde_json::Value,
    diff_digest: String,
    evidence: Vec<ShownEvidence>,
    verdicts: Vec<ShownVerdict>,
    created: Option<String>,
    due: Option<String>,
    decided: Option<String>,
}

#[derive(Serialize)]
struct ShownEvidence {
    title: String,
    source: String,
    snapshot: serde_json::Value,
}

#[derive(Serialize)]
struct ShownVerdict {
    approver: String,
    kind: String,
    reason: String,
    review_cycle: i32,
    stale: bool,
    time: Option<String>,
}

/// The state in lower case, as JSON and tables show it.
pub fn state_text(request: &pb::DecisionRequest) -> String {
    request.state().as_str_name().trim_start_matches("DECISION_STATE_").to_ascii_lowercase()
}

impl From<pb::DecisionRequest> for Shown {
    fn from(from: pb::DecisionRequest) -> Self {
        let json = |text: &str| serde_json::from_str(text).unwrap_or_default();
        Self {
            state: state_text(&from),
            diff: json(&from.diff_json),
            evidence: from
                .evidence
                .iter()
                .map(|evidence| ShownEvidence {
                    title: evidence.title.clone(),
                    source: evidence.source.clone(),
                    snapshot: json(&evidence.json),
                })
                .collect(),
            verdicts: from
                .verdicts
                .iter()
                .map(|verdict| ShownVerdict {
                    approver: verdict.approver.clone(),
                    kind: verdict
                        .kind()
                        .as_str_name()
                        .trim_start_matches("VERDICT_KIND_")
                        .to_ascii_lowercase(),
                    reason: verdict.reason.clone(),
                    review_cycle: verdict.review_cycle,
                    stale: verdict.stale,
                    time: time::text(verdict.create_time.as_ref()),
                })
                .collect(),
            created: time::text(from.create_time.as_ref()),
            due: time::text(from.due_time.as_ref()),
            decided: time::text(from.decide_time.as_ref()),
            id: from.decision_request_id,
            action: from.action,
            subject: from.subject,
            summary: from.summary,
            author: from.author,
            review_cycle: from.review_cycle,
            quorum: from.quorum,
            role: from.role,
            diff_digest: from.diff_digest,
        }
    }
}

/// Runs the command.
pub async fn run(command: Decision, connection: &Connection) -> anyhow::Result<()> {
    let mut approvals = connection.clients()?.approvals();
    let (id, kind, reason, diff, json) = match command {
        Decision::List { state, subject, json } => {
            return list(&mut approvals, state, subject, json).await;
        }
        Decision::Show { id, json } => {
            let request = fetch(&mut approvals, &id).await?;
            return show(request, json);
        }
        Decision::Approve { id, reason, json } => {
            (id, pb::VerdictKind::Approve, reason, String::new(), json)
        }
        Decision::Reject { id, reason, json } => {
            (id, pb::VerdictKind::Reject, reason, String::new(), json)
        }
        Decision::Edit { id, diff, reason, json } => {
            let text = std::fs::read_to_string(&diff)
                .with_context(|| format!("the diff {} cannot be read", diff.display()))?;
            (id, pb::VerdictKind::Edit, reason, text, json)
        }
    };
    let looked_at = fetch(&mut approvals, &id).await?;
    let decided = approvals
        .record_verdict(pb::RecordVerdictRequest {
            decision_request_id: id,
            kind: kind.into(),
            reason,
            review_cycle: looked_at.review_cycle,
            diff_digest: looked_at.diff_digest,
            edited_diff_json: diff,
            request_id: uuid::Uuid::new_v4().to_string(),
        })
        .await?
        .into_inner()
        .decision_request
        .unwrap_or_default();
    if json {
        return output::json(&Shown::from(decided));
    }
    output::line(format!(
        "{} is now {} (cycle {})",
        decided.subject,
        state_text(&decided),
        decided.review_cycle
    ))?;
    Ok(())
}

type Approvals = ApprovalsServiceClient<northstar_client::Connection>;

async fn fetch(approvals: &mut Approvals, id: &str) -> anyhow::Result<pb::DecisionRequest> {
    let request = pb::GetDecisionRequestRequest { decision_request_id: id.to_owned() };
    let found = approvals.get_decision_request(request).await?.into_inner();
    Ok(found.decision_request.unwrap_or_default())
}

async fn list(
    approvals: &mut Approvals,
    state: Option<State>,
    subject: String,
    json: bool,
) -> anyhow::Result<()> {
    let state = match state {
        None => pb::DecisionState::Unspecified,
        Some(State::Pending) => pb::DecisionState::Pending,
        Some(State::Approved) => pb::DecisionState::Approved,
        Some(State::Rejected) => pb::DecisionState::Rejected,
        Some(State::Expired) => pb::DecisionState::Expired,
    };
    let mut requests = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = pb::ListDecisionRequestsRequest {
            page_size: 1000,
            page_token,
            state: state.into(),
            subject: subject.clone(),
        };
        let page = approvals.list_decision_requests(request).await?.into_inner();
        requests.extend(page.decision_requests.into_iter().map(Shown::from));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    if json {
        return output::json(&requests);
    }
    let rows = requests.into_iter().map(|request| {
        [
            request.id,
            request.action,
            request.subject,
            request.state,
            request.author,
            request.due.unwrap_or_default(),
        ]
    });
    output::line(output::table(&["id", "action", "subject", "state", "author", "due"], rows))?;
    Ok(())
}

fn show(request: pb::DecisionRequest, json: bool) -> anyhow::Result<()> {
    let shown = Shown::from(request);
    if json {
        return output::json(&shown);
    }
    output::line(format!("{}\n  {} on {}", shown.summary, shown.action, shown.subject))?;
    output::line(format!(
        "  {}; asked by {}; {} of role {} must approve; due {}",
        shown.state,
        shown.author,
        shown.quorum,
        shown.role,
        shown.due.as_deref().unwrap_or("never"),
    ))?;
    output::line(format!(
        "diff (cycle {}):\n{}",
        shown.review_cycle,
        serde_json::to_string_pretty(&shown.diff)?
    ))?;
    for evidence in &shown.evidence {
        output::line(format!(
            "evidence: {} ({})\n{}",
            evidence.title,
            evidence.source,
            serde_json::to_string_pretty(&evidence.snapshot)?
        ))?;
    }
    for verdict in &shown.verdicts {
        output::line(format!(
            "{} by {} in cycle {}{} {}",
            verdict.kind,
            verdict.approver,
            verdict.review_cycle,
            if verdict.stale { " (stale)" } else { "" },
            verdict.reason,
        ))?;
    }
    Ok(())
}
