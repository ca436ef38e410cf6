//! The story: definitions, an approved automation and a running experiment, the
//! company's events, what Northstar did about them, and what came of it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use anyhow::{Context as _, bail};
use northstar_client::Clients;
use northstar_proto::approvals::v1 as approvals;
use northstar_proto::automations::v1 as automations;
use northstar_proto::experiments::v1 as experiments;
use northstar_proto::ingestion::v1 as ingestion;
use northstar_proto::metrics::v1 as metrics;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::company::{Company, DAY, END_MICROS, PEOPLE, START_MICROS};
use super::feed::{self, Sent};
use super::receiver::Nudged;
use super::report::{
    AutomationReport, DecisionReport, EventCounts, ExperimentReport, PlantedEstimate, Report,
    Waiting,
};
use super::stage::Stage;
use crate::commands::decision::state_text;
use crate::commands::experiment::Analysis;
use crate::commands::scorecard::Kpi;

/// Name of the demo's automation.
pub const AUTOMATION: &str = "onboarding-nudge";
/// Name of the demo's experiment.
pub const EXPERIMENT: &str = "guided-onboarding";
const TREATMENT: &str = "guided";
/// Events in one message.
const BATCH: usize = 2_000;
/// Messages that wait for their answer.
const WINDOW: usize = 16;

/// Keys of the people of the demo: who builds and who decides.
pub struct People {
    /// Operates automations and experiments.
    pub operator: Clients,
    /// Decides.
    pub approver: Clients,
}

/// Plays the whole story.
///
/// # Errors
/// When a step fails; the message says which.
pub async fn play(
    company: &Company,
    people: &People,
    nudged: &Nudged,
    stage: &Stage,
) -> anyhow::Result<Report> {
    let operator = &people.operator;

    stage.step("asking a person to approve the automation");
    let activation = approve_activation(people).await.context("activating the automation")?;
    let request = experiments::StartExperimentRequest {
        name: EXPERIMENT.to_owned(),
        request_id: String::new(),
        start_time: Some(feed::timestamp(START_MICROS)),
    };
    operator.experiments().start_experiment(request).await.context("starting the experiment")?;

    let before = feed::send(company, &company.before(), "before");
    stage.step(&format!("streaming {} events: visits, sign-ups, stalled set-ups", before.len()));
    stream(operator, before, stage).await.context("streaming events")?;
    stream(operator, feed::nameless(), stage).await.context("streaming events")?;

    stage.step("assigning sign-ups to the experiment");
    let variants = assign(company, operator).await.context("assigning variants")?;

    stage.step("waiting for the automation to act on everybody who stalled");
    wait_for_runs(operator).await.context("waiting for the automation")?;
    let nudged: HashSet<u32> =
        nudged.subjects().iter().filter_map(|subject| feed::person(subject)).collect();

    let after = company.after(
        |person| nudged.contains(&person),
        |person| variants.get(&person).is_some_and(|variant| variant == TREATMENT),
    );
    let after = feed::send(company, &after, "after");
    stage.step(&format!("streaming {} events: what people did next", after.len()));
    stream(operator, after, stage).await.context("streaming events")?;

    stage.step("measuring");
    let automation = measure_automation(company, operator).await.context("measuring the lift")?;
    let (experiment, ship) =
        conclude(company, people, &variants).await.context("concluding the experiment")?;
    let kpis = scorecard(operator).await.context("computing the scorecard")?;
    let (events, waiting) = accounts(operator).await.context("reading the accounts")?;

    let mut decisions = vec![activation];
    decisions.extend(ship);
    Ok(Report {
        events,
        kpis,
        automations: vec![automation],
        experiments: vec![experiment],
        decisions,
        quarantine: waiting,
        seconds: 0.0,
    })
}

async fn approve_activation(people: &People) -> anyhow::Result<DecisionReport> {
    let request = automations::RequestActivationRequest {
        name: AUTOMATION.to_owned(),
        request_id: String::new(),
    };
    let id = people
        .operator
        .automations()
        .request_activation(request)
        .await?
        .into_inner()
        .decision_request;
    let decision = approve(people, &id, "the holdout and the guardrail are in place").await?;
    let request = automations::ActivateAutomationRequest {
        name: AUTOMATION.to_owned(),
        decision_request: id,
        start_position: -1,
        request_id: String::new(),
    };
    people.operator.automations().activate_automation(request).await?;
    Ok(decision)
}

async fn approve(people: &People, id: &str, reason: &str) -> anyhow::Result<DecisionReport> {
    let mut approver = people.approver.approvals();
    let request = approvals::GetDecisionRequestRequest { decision_request_id: id.to_owned() };
    let asked = approver
        .get_decision_request(request)
        .await?
        .into_inner()
        .decision_request
        .context("the decision request is empty")?;
    let verdict = approvals::RecordVerdictRequest {
        decision_request_id: id.to_owned(),
        kind: approvals::VerdictKind::Approve.into(),
        reason: reason.to_owned(),
        review_cycle: asked.review_cycle,
        diff_digest: asked.diff_digest,
        edited_diff_json: String::new(),
        request_id: String::new(),
    };
    let decided = approver
        .record_verdict(verdict)
        .await?
        .into_inner()
        .decision_request
        .context("the decision request is empty")?;
    Ok(DecisionReport {
        id: id.to_owned(),
        subject: decided.subject.clone(),
        state: state_text(&decided),
        verdict: "approve".to_owned(),
    })
}

/// Streams events in through the front door, a window of batches in flight.
async fn stream(clients: &Clients, events: Vec<Sent>, stage: &Stage) -> anyhow::Result<()> {
    let total = events.len();
    // One batch is of one source; arrival order is kept within each.
    let mut by_source: BTreeMap<&'static str, Vec<ingestion::Event>> = BTreeMap::new();
    let mut batches = Vec::new();
    for sent in events {
        let batch = by_source.entry(sent.source).or_default();
        batch.push(sent.event);
        if batch.len() == BATCH {
            batches.push((sent.source, std::mem::take(batch)));
        }
    }
    batches.extend(by_source.into_iter().filter(|(_, batch)| !batch.is_empty()));

    let (requests, outgoing) = mpsc::channel(WINDOW);
    let mut answers =
        clients.ingestion().stream_events(ReceiverStream::new(outgoing)).await?.into_inner();
    let count = batches.len();
    let sender = tokio::spawn(async move {
        for (sequence, (source, events)) in (1..).zip(batches) {
            let request = ingestion::StreamEventsRequest {
                sequence,
                source: source.to_owned(),
                events,
                ..Default::default()
            };
            if requests.send(request).await.is_err() {
                break;
            }
        }
    });
    let (mut answered, mut settled) = (0, 0);
    while let Some(answer) = answers.message().await? {
        answered += 1;
        settled += answer.results.len();
        let retry =
            answer.results.iter().find(|result| result.outcome() == ingestion::EventOutcome::Retry);
        if let Some(retry) = retry {
            bail!("an event could not be stored: {}", retry.message);
        }
        stage.progress(settled, total);
    }
    sender.await?;
    if answered != count {
        bail!("{answered} of {count} batches were answered");
    }
    Ok(())
}

/// Asks for the variant of everybody who signs up after the tenth day.
async fn assign(company: &Company, clients: &Clients) -> anyhow::Result<HashMap<u32, String>> {
    let meet: Vec<u32> = (0..PEOPLE)
        .filter(|person| company.people[*person as usize].signup >= START_MICROS + 10 * DAY)
        .collect();
    let mut variants = HashMap::with_capacity(meet.len());
    for chunk in meet.chunks(5_000) {
        let subjects = chunk.iter().map(|person| {
            let somebody = &company.people[*person as usize];
            experiments::Subject {
                user_id: feed::user_id(*person),
                attributes: BTreeMap::from([("plan".to_owned(), somebody.plan.to_owned())]),
                occurred_time: Some(feed::timestamp(somebody.signup + 60_000_000)),
            }
        });
        let request = experiments::AssignVariantsRequest {
            experiment: EXPERIMENT.to_owned(),
            subjects: subjects.collect(),
        };
        let response = clients.experiments().assign_variants(request).await?.into_inner();
        for assignment in response.assignments {
            if let Some(person) = feed::person(&assignment.user_id)
                && !assignment.variant.is_empty()
            {
                variants.insert(person, assignment.variant);
            }
        }
    }
    Ok(variants)
}

/// Waits until every trigger in the log is handled and every run has ended.
async fn wait_for_runs(clients: &Clients) -> anyhow::Result<()> {
    let log_position = clients
        .ingestion()
        .list_sources(ingestion::ListSourcesRequest {})
        .await?
        .into_inner()
        .log_position;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(120);
    loop {
        let request = automations::ListRunsRequest {
            automation: AUTOMATION.to_owned(),
            page_size: 1,
            ..automations::ListRunsRequest::default()
        };
        let runs = clients.automations().list_runs(request).await?.into_inner();
        let waiting: i64 = ["pending", "running"]
            .iter()
            .filter_map(|state| runs.counts_by_state.get(*state))
            .sum();
        if runs.handled_position >= log_position && waiting == 0 {
            let lost = runs.counts_by_state.get("dead_letter").copied().unwrap_or_default();
            if lost > 0 {
                bail!("{lost} nudges could not be delivered");
            }
            return Ok(());
        }
        if tokio::time::Instant::now() > deadline {
            bail!(
                "after two minutes {waiting} runs still wait, and position {} of {log_position} \
                 is handled",
                runs.handled_position
            );
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The lift as Northstar measures it, beside the truth over the people who
/// stalled on a paid plan: those whom the automation met.
async fn measure_automation(
    company: &Company,
    clients: &Clients,
) -> anyhow::Result<AutomationReport> {
    let request = automations::MeasureLiftRequest { name: AUTOMATION.to_owned() };
    let lift = clients.automations().measure_lift(request).await?.into_inner();
    let met = (0..PEOPLE).filter(|person| {
        let somebody = &company.people[*person as usize];
        somebody.stalled && somebody.plan != "free"
    });
    let estimate = lift.absolute.context("the lift has no interval")?;
    Ok(AutomationReport {
        name: lift.automation,
        kpi: lift.kpi,
        lift: PlantedEstimate::new(estimate, company.nudge_truth(met)),
        treated: lift.treated_subjects,
        holdout: lift.holdout_subjects,
        decision: lift.recommendation,
        explanation: lift.explanation,
    })
}

/// Stops, analyses and concludes the experiment; ships what the ship rule and a
/// person agree on.
async fn conclude(
    company: &Company,
    people: &People,
    variants: &HashMap<u32, String>,
) -> anyhow::Result<(ExperimentReport, Option<DecisionReport>)> {
    let mut client = people.operator.experiments();
    let name = || EXPERIMENT.to_owned();
    let stop = experiments::StopExperimentRequest { name: name(), request_id: String::new() };
    client.stop_experiment(stop).await?;
    let request = experiments::AnalyzeExperimentRequest { name: name() };
    let analysis = client
        .analyze_experiment(request)
        .await?
        .into_inner()
        .analysis
        .context("the analysis is empty")?;
    let ship = analysis.recommendation() == experiments::Recommendation::Ship;
    let comparison = analysis.comparisons.first().cloned().context("nothing was compared")?;
    let effect = comparison.absolute.context("the comparison has no interval")?;

    let decision = if ship {
        let request = experiments::RequestShipDecisionRequest {
            name: name(),
            variant: analysis.recommended_variant.clone(),
            request_id: String::new(),
        };
        let id = client.request_ship_decision(request).await?.into_inner().decision_request;
        Some(approve(people, &id, "better, and the guardrail holds").await?)
    } else {
        None
    };
    let conclusion = if ship {
        experiments::ExperimentState::Shipped
    } else {
        experiments::ExperimentState::RolledBack
    };
    let request = experiments::ConcludeExperimentRequest {
        name: name(),
        conclusion: conclusion.into(),
        decision_request: decision.as_ref().map(|decision| decision.id.clone()).unwrap_or_default(),
        learning: analysis.explanation.clone(),
        request_id: String::new(),
    };
    client.conclude_experiment(request).await?;

    let truth = company.onboarding_truth(variants.keys().copied());
    let shown = Analysis::from(analysis);
    let report = ExperimentReport {
        name: name(),
        metric: comparison.metric,
        effect: PlantedEstimate::new(effect, truth),
        subjects: shown.variants.iter().map(|variant| variant.n).sum(),
        decision: if ship { "ship" } else { "roll_back" }.to_owned(),
        recommendation: shown.recommendation,
        explanation: shown.explanation,
    };
    Ok((report, decision))
}

async fn scorecard(clients: &Clients) -> anyhow::Result<Vec<Kpi>> {
    let request =
        metrics::GetScorecardRequest { evaluation_time: Some(feed::timestamp(END_MICROS)) };
    let response = clients.metrics().get_scorecard(request).await?.into_inner();
    Ok(response.kpis.into_iter().map(Kpi::from).collect())
}

/// The accounting equation over the company's own systems, and what waits.
async fn accounts(clients: &Clients) -> anyhow::Result<(EventCounts, Vec<Waiting>)> {
    let mut client = clients.ingestion();
    let sources = client.list_sources(ingestion::ListSourcesRequest {}).await?.into_inner().sources;
    let mut counts = EventCounts::default();
    for source in sources.iter().filter(|source| source.name != "northstar") {
        counts.received += source.received;
        counts.accepted += source.accepted;
        counts.duplicate += source.duplicate;
        counts.quarantined += source.quarantined;
        counts.rejected += source.rejected;
    }
    let request = ingestion::ListQuarantinedEventsRequest {
        page_size: 1000,
        ..ingestion::ListQuarantinedEventsRequest::default()
    };
    let page = client.list_quarantined_events(request).await?.into_inner();
    let mut examples: BTreeMap<String, Waiting> = BTreeMap::new();
    for event in page.events {
        let total = page.counts_by_reason.get(&event.reason).copied().unwrap_or_default();
        examples.entry(event.reason.clone()).or_insert_with(|| Waiting {
            reason: event.reason,
            count: total,
            source: event.source,
            event: event.event.map(|event| event.name).unwrap_or_default(),
            example: event.message,
        });
    }
    Ok((counts, examples.into_values().collect()))
}
