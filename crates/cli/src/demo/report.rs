//! What the demo ends with: one JSON document, or a scorecard for people.

use northstar_proto::experiments::v1::Estimate;
use serde::Serialize;

use crate::commands::scorecard::{self, Kpi};
use crate::output::{self, line, number};

/// The whole result.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The accounting equation over the company's systems.
    pub events: EventCounts,
    /// Every KPI.
    pub kpis: Vec<Kpi>,
    /// What the automation did.
    pub automations: Vec<AutomationReport>,
    /// What the experiment showed.
    pub experiments: Vec<ExperimentReport>,
    /// What people decided.
    pub decisions: Vec<DecisionReport>,
    /// What waits in quarantine, by reason.
    pub quarantine: Vec<Waiting>,
    /// Seconds it all took.
    pub seconds: f64,
}

/// received = accepted + duplicate + quarantined + rejected.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct EventCounts {
    /// Events that arrived.
    pub received: i64,
    /// Events in the log.
    pub accepted: i64,
    /// Repeated deliveries.
    pub duplicate: i64,
    /// Events that wait.
    pub quarantined: i64,
    /// Events refused.
    pub rejected: i64,
}

/// An estimate beside the effect that was planted.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct PlantedEstimate {
    /// Point estimate.
    pub estimate: f64,
    /// Lower end of the 95 % interval.
    pub ci_low: f64,
    /// Upper end of the 95 % interval.
    pub ci_high: f64,
    /// The planted effect over the people who were met.
    pub truth: f64,
}

impl PlantedEstimate {
    /// An estimate beside its truth.
    pub fn new(estimate: Estimate, truth: f64) -> Self {
        Self {
            estimate: estimate.estimate,
            ci_low: estimate.ci_low,
            ci_high: estimate.ci_high,
            truth,
        }
    }

    fn text(&self) -> String {
        let points = |value: f64| format!("{:+.2}", value * 100.0);
        format!(
            "{} points, 95 % interval {} to {} (planted: {})",
            points(self.estimate),
            points(self.ci_low),
            points(self.ci_high),
            points(self.truth),
        )
    }
}

/// What an automation did.
#[derive(Clone, Debug, Serialize)]
pub struct AutomationReport {
    /// Its name.
    pub name: String,
    /// Its primary KPI.
    pub kpi: String,
    /// Treated minus holdout.
    pub lift: PlantedEstimate,
    /// Subjects acted on.
    pub treated: i64,
    /// Subjects held out.
    pub holdout: i64,
    /// scale, adjust, pause or wait.
    pub decision: String,
    /// Why.
    pub explanation: String,
}

/// What an experiment showed.
#[derive(Clone, Debug, Serialize)]
pub struct ExperimentReport {
    /// Its name.
    pub name: String,
    /// Its primary metric.
    pub metric: String,
    /// Treatment minus control.
    pub effect: PlantedEstimate,
    /// Subjects of all variants.
    pub subjects: i64,
    /// ship or roll_back: what was done.
    pub decision: String,
    /// What the ship rule said.
    pub recommendation: String,
    /// Why.
    pub explanation: String,
}

/// What people decided.
#[derive(Clone, Debug, Serialize)]
pub struct DecisionReport {
    /// Id of the decision request.
    pub id: String,
    /// What was decided about.
    pub subject: String,
    /// Its state.
    pub state: String,
    /// What the approver said.
    pub verdict: String,
}

/// Events that wait for one reason.
#[derive(Clone, Debug, Serialize)]
pub struct Waiting {
    /// The reason.
    pub reason: String,
    /// How many.
    pub count: i64,
    /// Which system sent the first.
    pub source: String,
    /// Its event name.
    pub event: String,
    /// What is wrong with it.
    pub example: String,
}

impl Report {
    /// Prints the report for people.
    ///
    /// # Errors
    /// When standard output cannot be written to.
    pub fn print(&self) -> anyhow::Result<()> {
        let count = |value: i64| number(value as f64);
        line("\nEvents")?;
        line(format!(
            "  {} received = {} accepted + {} duplicate + {} quarantined + {} rejected",
            count(self.events.received),
            count(self.events.accepted),
            count(self.events.duplicate),
            count(self.events.quarantined),
            count(self.events.rejected),
        ))?;
        for waiting in &self.quarantine {
            line(format!(
                "  quarantine: {} × {} from {} ({}): {}",
                count(waiting.count),
                waiting.reason,
                waiting.source,
                waiting.event,
                waiting.example,
            ))?;
        }
        line("\nScorecard")?;
        line(scorecard::table(&self.kpis))?;
        for automation in &self.automations {
            line(format!(
                "\nAutomation {} → {}\n  {} treated, {} held out\n  lift {}\n  {}: {}",
                automation.name,
                automation.kpi,
                count(automation.treated),
                count(automation.holdout),
                automation.lift.text(),
                automation.decision,
                automation.explanation,
            ))?;
        }
        for experiment in &self.experiments {
            line(format!(
                "\nExperiment {} on {}\n  {} subjects\n  effect {}\n  {}: {}",
                experiment.name,
                experiment.metric,
                count(experiment.subjects),
                experiment.effect.text(),
                experiment.decision.replace('_', " "),
                experiment.explanation,
            ))?;
        }
        line("\nDecisions")?;
        let rows = self.decisions.iter().map(|decision| {
            [decision.subject.clone(), decision.state.clone(), decision.verdict.clone()]
        });
        line(output::table(&["subject", "state", "verdict"], rows))?;
        line("\nWhat to do next")?;
        for kpi in self.kpis.iter().filter(|kpi| kpi.status != "achieved") {
            line(format!("  {}: {}", kpi.name, kpi.next_step))?;
        }
        for automation in &self.automations {
            line(format!("  {} the automation {}", automation.decision, automation.name))?;
        }
        if self.events.quarantined > 0 {
            line("  fix the producers of the quarantined events: northstar quarantine")?;
        }
        line(format!("\nin {:.1} seconds", self.seconds))?;
        Ok(())
    }
}
