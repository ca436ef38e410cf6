//! `northstar automation`: from draft to retirement, and what it did.

use std::path::PathBuf;

use anyhow::Context as _;
use northstar_proto::automations::v1 as pb;
use northstar_proto::automations::v1::automations_service_client::AutomationsServiceClient;
use northstar_proto::experiments::v1::Estimate as PbEstimate;
use serde::Serialize;

use crate::connection::Connection;
use crate::{output, time};

/// Activate, pause, retire and measure automations.
#[derive(clap::Subcommand)]
#[command(after_help = "\
Examples:
  northstar automation request-activation onboarding-nudge
  northstar automation activate onboarding-nudge --decision 0199f3b0-7c1e-7aa0-8000-0123456789ab
  northstar automation lift onboarding-nudge --json
  northstar automation preview-change onboarding-nudge --holdout-by -0.1
  northstar automation pause onboarding-nudge --reason \"the mail is wrong\"
  northstar automation retire onboarding-nudge --reason \"the new onboarding replaces it\"
  northstar automation runs onboarding-nudge --state dead-letter
  northstar automation redrive onboarding-nudge")]
pub enum Automation {
    /// Ask the approvers to activate it.
    RequestActivation {
        /// Its name.
        name: String,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Activate it with an approved decision request.
    Activate {
        /// Its name.
        name: String,
        /// Id of the approved decision request.
        #[arg(long)]
        decision: String,
        /// Act on events after this log position; -1 is now, 0 the beginning.
        #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
        start_position: i64,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Stop acting on new events.
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
    /// End it for good.
    Retire {
        /// Its name.
        name: String,
        /// Why.
        #[arg(long)]
        reason: String,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Tell what a change would make of it, and what people would approve; writes
    /// nothing.
    PreviewChange {
        /// Its name.
        name: String,
        /// Added to the share of its holdout; below 0 more subjects are acted on.
        #[arg(long, allow_negative_numbers = true, required_unless_present = "patch")]
        holdout_by: Option<f64>,
        /// JSON file with a merge patch of its spec, instead.
        #[arg(long, conflicts_with = "holdout_by")]
        patch: Option<PathBuf>,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// List its newest runs.
    Runs {
        /// Its name.
        name: String,
        /// Only this state.
        #[arg(long, value_enum)]
        state: Option<RunState>,
        /// Most runs, up to 1000.
        #[arg(long, default_value_t = 50)]
        limit: i32,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Put dead-lettered runs back in the queue.
    Redrive {
        /// Its name.
        name: String,
        /// Only these runs; all when none is given.
        run_ids: Vec<String>,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Compare treated subjects with the holdout on the primary KPI.
    Lift {
        /// Its name.
        name: String,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
}

/// State of a run on the command line.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum RunState {
    /// Waits for a worker or its next attempt.
    Pending,
    /// A worker holds it.
    Running,
    /// Every action is done.
    Succeeded,
    /// In the holdout.
    WouldHaveActed,
    /// Out of attempts.
    DeadLetter,
}

/// A number with its interval, as JSON.
#[derive(Clone, Debug, Serialize)]
pub struct Estimate {
    /// Point estimate.
    pub estimate: f64,
    /// Lower end of the interval.
    pub ci_low: f64,
    /// Upper end of the interval.
    pub ci_high: f64,
    /// Two-sided p-value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p_value: Option<f64>,
}

impl From<PbEstimate> for Estimate {
    fn from(from: PbEstimate) -> Self {
        Self {
            estimate: from.estimate,
            ci_low: from.ci_low,
            ci_high: from.ci_high,
            p_value: from.p_value,
        }
    }
}

impl Estimate {
    /// For people: the estimate and its interval.
    pub fn text(&self) -> String {
        format!("{:+.4} [{:+.4}, {:+.4}]", self.estimate, self.ci_low, self.ci_high)
    }
}

#[derive(Serialize)]
struct Lift {
    automation: String,
    kpi: String,
    treated: Arm,
    holdout: Arm,
    absolute: Option<Estimate>,
    relative: Option<Estimate>,
    recommendation: String,
    explanation: String,
    log_position: i64,
}

#[derive(Serialize)]
struct Arm {
    subjects: i64,
    mean: f64,
}

#[derive(Serialize)]
struct ShownRun {
    id: String,
    subject: String,
    state: String,
    attempts: i32,
    last_error: String,
    trigger_position: i64,
    triggered: Option<String>,
    next_attempt: Option<String>,
    finished: Option<String>,
}

#[derive(Serialize)]
struct State {
    name: String,
    state: String,
}

/// Runs the command.
pub async fn run(command: Automation, connection: &Connection) -> anyhow::Result<()> {
    let mut automations = connection.clients()?.automations();
    let request_id = uuid::Uuid::new_v4().to_string();
    let (automation, json) = match command {
        Automation::RequestActivation { name, json } => {
            let request = pb::RequestActivationRequest { name, request_id };
            let id = automations.request_activation(request).await?.into_inner().decision_request;
            if json {
                return output::json(&serde_json::json!({ "decision_request": id }));
            }
            output::line(id)?;
            output::note("an approver decides with: northstar decision approve ID");
            return Ok(());
        }
        Automation::Lift { name, json } => {
            let lift =
                automations.measure_lift(pb::MeasureLiftRequest { name }).await?.into_inner();
            return show_lift(lift, json);
        }
        Automation::PreviewChange { name, holdout_by, patch, json } => {
            return preview(&mut automations, name, holdout_by, patch, json).await;
        }
        Automation::Runs { name, state, limit, json } => {
            return runs(&mut automations, name, state, limit, json).await;
        }
        Automation::Redrive { name, run_ids, json } => {
            let request = pb::RedriveRunsRequest { automation: name, run_ids };
            let redriven = automations.redrive_runs(request).await?.into_inner().redriven;
            if json {
                return output::json(&serde_json::json!({ "redriven": redriven }));
            }
            output::line(format!("{redriven} runs are back in the queue"))?;
            return Ok(());
        }
        Automation::Activate { name, decision, start_position, json } => {
            let request = pb::ActivateAutomationRequest {
                name,
                decision_request: decision,
                start_position,
                request_id,
            };
            (automations.activate_automation(request).await?.into_inner().automation, json)
        }
        Automation::Pause { name, reason, json } => {
            let request = pb::PauseAutomationRequest { name, reason, request_id };
            (automations.pause_automation(request).await?.into_inner().automation, json)
        }
        Automation::Retire { name, reason, json } => {
            let request = pb::RetireAutomationRequest { name, reason, request_id };
            (automations.retire_automation(request).await?.into_inner().automation, json)
        }
    };
    let automation = automation.unwrap_or_default();
    let state = automation
        .state()
        .as_str_name()
        .trim_start_matches("AUTOMATION_STATE_")
        .to_ascii_lowercase();
    let shown = State { name: automation.name, state };
    if json {
        return output::json(&shown);
    }
    output::line(format!("{} is {}", shown.name, shown.state))?;
    Ok(())
}

async fn preview(
    automations: &mut AutomationsServiceClient<northstar_client::Connection>,
    name: String,
    holdout_by: Option<f64>,
    patch: Option<PathBuf>,
    json: bool,
) -> anyhow::Result<()> {
    use pb::preview_change_request::Change;
    let change = match (holdout_by, patch) {
        (_, Some(file)) => {
            let text = std::fs::read_to_string(&file)
                .with_context(|| format!("the patch {} cannot be read", file.display()))?;
            Some(Change::PatchJson(text))
        }
        (by, None) => by.map(Change::HoldoutBy),
    };
    let request = pb::PreviewChangeRequest { name, change };
    let found = automations.preview_change(request).await?.into_inner();
    if json {
        let read = |text: &str| serde_json::from_str::<serde_json::Value>(text);
        return output::json(&serde_json::json!({
            "differences": found.differences,
            "before": read(&found.before_json)?,
            "after": read(&found.after_json)?,
            "diff": read(&found.diff_json)?,
        }));
    }
    for difference in &found.differences {
        output::line(difference)?;
    }
    Ok(())
}

fn show_lift(lift: pb::MeasureLiftResponse, json: bool) -> anyhow::Result<()> {
    let lift = Lift {
        automation: lift.automation,
        kpi: lift.kpi,
        treated: Arm { subjects: lift.treated_subjects, mean: lift.treated_mean },
        holdout: Arm { subjects: lift.holdout_subjects, mean: lift.holdout_mean },
        absolute: lift.absolute.map(Estimate::from),
        relative: lift.relative.map(Estimate::from),
        recommendation: lift.recommendation,
        explanation: lift.explanation,
        log_position: lift.log_position,
    };
    if json {
        return output::json(&lift);
    }
    let arms = [("treated", &lift.treated), ("holdout", &lift.holdout)];
    let rows = arms.map(|(name, arm)| {
        [name.to_owned(), output::number(arm.subjects as f64), output::number(arm.mean)]
    });
    output::line(format!("{} on {}", lift.automation, lift.kpi))?;
    output::line(output::table(&["arm", "subjects", "mean"], rows))?;
    for (name, estimate) in [("lift", &lift.absolute), ("relative lift", &lift.relative)] {
        if let Some(estimate) = estimate {
            output::line(format!("{name}: {}", estimate.text()))?;
        }
    }
    output::line(format!("{}: {}", lift.recommendation, lift.explanation))?;
    Ok(())
}

async fn runs(
    automations: &mut AutomationsServiceClient<northstar_client::Connection>,
    automation: String,
    state: Option<RunState>,
    limit: i32,
    json: bool,
) -> anyhow::Result<()> {
    let state = match state {
        None => pb::RunState::Unspecified,
        Some(RunState::Pending) => pb::RunState::Pending,
        Some(RunState::Running) => pb::RunState::Running,
        Some(RunState::Succeeded) => pb::RunState::Succeeded,
        Some(RunState::WouldHaveActed) => pb::RunState::WouldHaveActed,
        Some(RunState::DeadLetter) => pb::RunState::DeadLetter,
    };
    let request = pb::ListRunsRequest {
        automation,
        state: state.into(),
        page_size: limit,
        page_token: String::new(),
    };
    let page = automations.list_runs(request).await?.into_inner();
    let runs: Vec<ShownRun> = page
        .runs
        .into_iter()
        .map(|run| ShownRun {
            state: run.state().as_str_name().trim_start_matches("RUN_STATE_").to_ascii_lowercase(),
            triggered: time::text(run.trigger_time.as_ref()),
            next_attempt: time::text(run.next_attempt_time.as_ref()),
            finished: time::text(run.finish_time.as_ref()),
            id: run.run_id,
            subject: run.subject,
            attempts: run.attempts,
            last_error: run.last_error,
            trigger_position: run.trigger_position,
        })
        .collect();
    if json {
        return output::json(&serde_json::json!({
            "runs": runs,
            "counts": page.counts_by_state,
            "handled_position": page.handled_position,
        }));
    }
    let rows = runs
        .into_iter()
        .map(|run| [run.id, run.subject, run.state, run.attempts.to_string(), run.last_error]);
    output::line(output::table(&["run", "subject", "state", "attempts", "last error"], rows))?;
    let counts: Vec<_> =
        page.counts_by_state.iter().map(|(state, count)| format!("{count} {state}")).collect();
    output::line(format!(
        "{}; handled up to position {}",
        counts.join(", "),
        page.handled_position
    ))?;
    Ok(())
}
