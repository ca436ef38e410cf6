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
  northstar decision list --kind task --owner growth
  northstar decision acknowledge 0199f3b0-7c1e-7aa0-8000-0123456789ab --note \"a release broke it\"
  northstar decision withdraw 0199f3b0-7c1e-7aa0-8000-0123456789ab --reason \"asked in error\"
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
        /// Only this kind.
        #[arg(long, value_enum)]
        kind: Option<Kind>,
        /// Only what this owner answers for.
        #[arg(long, default_value = "")]
        owner: String,
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
    /// Take a task on, with a note of what is done about it.
    Acknowledge {
        /// Its id.
        id: String,
        /// What was found, or what is done about it.
        #[arg(long)]
        note: String,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Take back what you asked, before anybody decided.
    Withdraw {
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
    /// Who asked took it back.
    Withdrawn,
    /// Somebody took the task on.
    Acknowledged,
}

/// Kind of a decision request on the command line.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Kind {
    /// A change to be allowed or refused.
    Change,
    /// Something to be looked into.
    Task,
}

#[derive(Serialize)]
struct Shown {
    id: String,
    kind: &'static str,
    owner: String,
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
    #[serde(skip_serializing_if = "String::is_empty")]
    withdraw_reason: String,
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
            kind: match from.kind() {
                pb::DecisionKind::Task => "task",
                pb::DecisionKind::Change | pb::DecisionKind::Unspecified => "change",
            },
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
            owner: from.owner,
            withdraw_reason: from.withdraw_reason,
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
        Decision::List { state, subject, kind, owner, json } => {
            return list(&mut approvals, Listed { state, subject, kind, owner }, json).await;
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
        Decision::Acknowledge { id, note, json } => {
            (id, pb::VerdictKind::Acknowledge, note, String::new(), json)
        }
        Decision::Withdraw { id, reason, json } => {
            return withdraw(&mut approvals, id, reason, json).await;
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
    tell(decided, json)
}

fn tell(decided: pb::DecisionRequest, json: bool) -> anyhow::Result<()> {
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

async fn withdraw(
    approvals: &mut Approvals,
    id: String,
    reason: String,
    json: bool,
) -> anyhow::Result<()> {
    let request = pb::WithdrawDecisionRequestRequest {
        decision_request_id: id,
        reason,
        request_id: uuid::Uuid::new_v4().to_string(),
    };
    let withdrawn = approvals.withdraw_decision_request(request).await?.into_inner();
    tell(withdrawn.decision_request.unwrap_or_default(), json)
}

/// Which decision requests are listed.
struct Listed {
    state: Option<State>,
    subject: String,
    kind: Option<Kind>,
    owner: String,
}

type Approvals = ApprovalsServiceClient<northstar_client::Connection>;

async fn fetch(approvals: &mut Approvals, id: &str) -> anyhow::Result<pb::DecisionRequest> {
    let request = pb::GetDecisionRequestRequest { decision_request_id: id.to_owned() };
    let found = approvals.get_decision_request(request).await?.into_inner();
    Ok(found.decision_request.unwrap_or_default())
}

async fn list(approvals: &mut Approvals, wanted: Listed, json: bool) -> anyhow::Result<()> {
    let kind = match wanted.kind {
        None => pb::DecisionKind::Unspecified,
        Some(Kind::Change) => pb::DecisionKind::Change,
        Some(Kind::Task) => pb::DecisionKind::Task,
    };
    let state = match wanted.state {
        None => pb::DecisionState::Unspecified,
        Some(State::Pending) => pb::DecisionState::Pending,
        Some(State::Approved) => pb::DecisionState::Approved,
        Some(State::Rejected) => pb::DecisionState::Rejected,
        Some(State::Expired) => pb::DecisionState::Expired,
        Some(State::Withdrawn) => pb::DecisionState::Withdrawn,
        Some(State::Acknowledged) => pb::DecisionState::Acknowledged,
    };
    let mut requests = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = pb::ListDecisionRequestsRequest {
            page_size: 1000,
            page_token,
            state: state.into(),
            subject: wanted.subject.clone(),
            kind: kind.into(),
            owner: wanted.owner.clone(),
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
            request.owner,
            request.author,
            request.due.unwrap_or_default(),
        ]
    });
    output::line(output::table(
        &["id", "action", "subject", "state", "owner", "author", "due"],
        rows,
    ))?;
    Ok(())
}

fn show(request: pb::DecisionRequest, json: bool) -> anyhow::Result<()> {
    let shown = Shown::from(request);
    if json {
        return output::json(&shown);
    }
    output::line(format!("{}\n  {} on {}", shown.summary, shown.action, shown.subject))?;
    let needed = match shown.kind {
        "task" => format!("somebody of role {} takes it on", shown.role),
        _ => format!("{} of role {} must approve", shown.quorum, shown.role),
    };
    output::line(format!(
        "  {}; asked by {}; {needed}; due {}",
        shown.state,
        shown.author,
        shown.due.as_deref().unwrap_or("never"),
    ))?;
    if !shown.owner.is_empty() {
        output::line(format!("  owner: {}", shown.owner))?;
    }
    if !shown.withdraw_reason.is_empty() {
        output::line(format!("  withdrawn: {}", shown.withdraw_reason))?;
    }
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
