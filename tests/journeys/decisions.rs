//! From a number to a decision to an automation that stops; and a number that may
//! not decide because its source is silent.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use northstar_client::Clients;
use northstar_domain::Role;
use northstar_proto::approvals::v1 as approvals;
use northstar_proto::automations::v1 as automations;
use northstar_proto::ingestion::v1 as ingestion;
use northstar_proto::metrics::v1 as metrics;
use northstar_tests::Suite;
use prost_types::Timestamp;

pub fn ago(delta: TimeDelta) -> Option<Timestamp> {
    Some(Timestamp { seconds: (Utc::now() - delta).timestamp(), nanos: 0 })
}

/// A KPI of two counts, and an automation that serves it.
pub async fn define(ada: &Clients) {
    let pillar = metrics::Pillar { name: "growth".to_owned(), ..Default::default() };
    let request = metrics::ApplyPillarRequest { pillar: Some(pillar), ..Default::default() };
    ada.metrics().apply_pillar(request).await.expect("the pillar is valid");
    for (name, event) in [("signups", "Signed Up"), ("tickets", "Ticket Opened")] {
        let event = metrics::EventSelector { event: event.to_owned(), ..Default::default() };
        let count = metrics::CountMetric { event: Some(event) };
        let metric = metrics::Metric {
            name: name.to_owned(),
            definition: Some(metrics::metric::Definition::Count(count)),
            ..Default::default()
        };
        let request = metrics::ApplyMetricRequest { metric: Some(metric), ..Default::default() };
        ada.metrics().apply_metric(request).await.expect("the metric is valid");
    }
    let kpi = metrics::Kpi {
        name: "signups".to_owned(),
        metric: "signups".to_owned(),
        pillar: "growth".to_owned(),
        layer: metrics::Layer::Outcome.into(),
        owner: "growth".to_owned(),
        unit: "signups".to_owned(),
        direction: metrics::Direction::Increase.into(),
        baseline: Some(metrics::Baseline {
            value: 100.0,
            start_time: ago(TimeDelta::days(60)),
            end_time: ago(TimeDelta::days(30)),
        }),
        target: Some(metrics::Target { value: 200.0, due_time: ago(TimeDelta::days(-90)) }),
        guardrails: vec![metrics::Guardrail {
            metric: "tickets".to_owned(),
            direction: metrics::Direction::Decrease.into(),
            margin: 0.1,
        }],
        review_time: ago(TimeDelta::days(-30)),
        window_days: 7,
        ..Default::default()
    };
    let request = metrics::ApplyKpiRequest { kpi: Some(kpi), ..Default::default() };
    ada.metrics().apply_kpi(request).await.expect("the KPI is valid");
}

pub fn automation() -> automations::Automation {
    let emit = automations::EmitEventAction { event: "Nudged".to_owned(), ..Default::default() };
    automations::Automation {
        name: "nudge".to_owned(),
        description: "Nudges people who visit, so that they sign up.".to_owned(),
        kpi: "signups".to_owned(),
        pillar: "growth".to_owned(),
        owner: "growth".to_owned(),
        guardrails: vec![automations::Guardrail { metric: "tickets".to_owned(), margin: 0.1 }],
        holdout: 0.1,
        sunset_time: ago(TimeDelta::days(-90)),
        trigger: Some(automations::Trigger { event: "Visited".to_owned(), ..Default::default() }),
        actions: vec![automations::Action {
            kind: Some(automations::action::Kind::EmitEvent(emit)),
        }],
        ..Default::default()
    }
}

pub fn threshold() -> metrics::Threshold {
    metrics::Threshold {
        name: "signups-collapse".to_owned(),
        owner: "growth".to_owned(),
        kpi: "signups".to_owned(),
        condition: Some(metrics::threshold::Condition::Decrease(metrics::ChangeCondition {
            amount: 0.5,
            scale: metrics::ChangeScale::Relative.into(),
            versus: metrics::ChangeReference::Baseline.into(),
            clear: None,
        })),
        every: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
        decision: Some(metrics::ThresholdDecision {
            action: metrics::ThresholdAction::Pause.into(),
            automation: "nudge".to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

pub async fn sign_up(clients: &Clients, source: &str, how_many: usize) {
    let events = (0..how_many).map(|user| ingestion::Event {
        message_id: format!("signup {user}"),
        name: "Signed Up".to_owned(),
        user_id: format!("user {user}"),
        occurred_time: ago(TimeDelta::days(1)),
        ..Default::default()
    });
    let request =
        ingestion::IngestEventsRequest { source: source.to_owned(), events: events.collect() };
    clients.ingestion().ingest_events(request).await.expect("ingestion answers");
}

pub async fn decide(bob: &Clients, id: &str) {
    let request = approvals::GetDecisionRequestRequest { decision_request_id: id.to_owned() };
    let seen = bob.approvals().get_decision_request(request).await.expect("it waits");
    let seen = seen.into_inner().decision_request.expect("a decision request");
    let verdict = approvals::RecordVerdictRequest {
        decision_request_id: id.to_owned(),
        kind: approvals::VerdictKind::Approve.into(),
        reason: "the evidence is plain".to_owned(),
        review_cycle: seen.review_cycle,
        diff_digest: seen.diff_digest,
        ..Default::default()
    };
    bob.approvals().record_verdict(verdict).await.expect("bob may decide");
}

pub async fn activate(ada: &Clients, bob: &Clients) {
    let request =
        automations::RequestActivationRequest { name: "nudge".to_owned(), ..Default::default() };
    let asked = ada.automations().request_activation(request).await.expect("it can be asked");
    let decision_request = asked.into_inner().decision_request;
    decide(bob, &decision_request).await;
    let request = automations::ActivateAutomationRequest {
        name: "nudge".to_owned(),
        decision_request,
        start_position: -1,
        ..Default::default()
    };
    ada.automations().activate_automation(request).await.expect("it was approved");
}

pub async fn state(ada: &Clients) -> automations::AutomationState {
    let request = automations::GetAutomationRequest { name: "nudge".to_owned() };
    let found = ada.automations().get_automation(request).await.expect("it is there");
    found.into_inner().automation.expect("an automation").state()
}

/// Tells the log once more that a decision was approved, as the suite would, and waits
/// until it was heard.
pub async fn tell_again(suite: &Suite, ada: &Clients, id: &str, action: &str) {
    let told = ingestion::Event {
        message_id: format!("told again {id}"),
        name: "northstar.decision.verdict".to_owned(),
        user_id: "principal:bob".to_owned(),
        occurred_time: ago(TimeDelta::zero()),
        properties: [("decision_request", id), ("action", action), ("state", "approved")]
            .into_iter()
            .map(|(name, text)| {
                let kind = Some(ingestion::value::Kind::StringValue(text.to_owned()));
                (name.to_owned(), ingestion::Value { kind })
            })
            .collect(),
        ..Default::default()
    };
    let request =
        ingestion::IngestEventsRequest { source: "northstar".to_owned(), events: vec![told] };
    let answer = suite.machine().ingestion().ingest_events(request).await;
    heard(ada, answer.expect("ingestion answers").into_inner().log_position).await;
}

/// Waits until automations has heard of the decisions up to a position of the log.
async fn heard(ada: &Clients, position: i64) {
    until("the decisions to be heard", async || {
        let request = ingestion::ListSubscriptionsRequest::default();
        let found = ada.subscriptions().list_subscriptions(request).await.expect("a read");
        let heard = found.into_inner().subscriptions.into_iter().any(|subscription| {
            subscription.group == "automations/decisions" && subscription.position >= position
        });
        heard.then_some(())
    })
    .await;
}

/// Waits until something is there.
pub async fn until<T>(what: &str, look: impl AsyncFn() -> Option<T>) -> T {
    for _ in 0..1_500 {
        if let Some(found) = look().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("waited in vain for {what}");
}

async fn newest_evaluation(ada: &Clients) -> Option<metrics::ThresholdEvaluation> {
    let request = metrics::ListEvaluationsRequest {
        threshold: "signups-collapse".to_owned(),
        ..Default::default()
    };
    let found = ada.thresholds().list_evaluations(request).await.expect("a read").into_inner();
    found.evaluations.into_iter().next()
}

async fn asked(ada: &Clients) -> Option<String> {
    let request = metrics::GetThresholdRequest { name: "signups-collapse".to_owned() };
    let found = ada.thresholds().get_threshold(request).await.expect("it is there").into_inner();
    found.status.map(|status| status.decision_request).filter(|id| !id.is_empty())
}

async fn apply_threshold(ada: &Clients) -> Result<(), tonic::Status> {
    let request =
        metrics::ApplyThresholdRequest { threshold: Some(threshold()), ..Default::default() };
    ada.thresholds().apply_threshold(request).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kpi_that_collapses_pauses_its_automation_when_people_agree() {
    let suite = Suite::start().await;
    let ada = suite.clients("ada", Role::Operator).await;
    let bob = suite.clients("bob", Role::Approver).await;
    define(&ada).await;
    // What would be decided about must exist.
    let missing = apply_threshold(&ada).await.expect_err("there is no automation yet");
    assert!(missing.message().contains("there is no Automation named"), "{}", missing.message());
    let request = automations::ApplyAutomationRequest {
        automation: Some(automation()),
        ..Default::default()
    };
    ada.automations().apply_automation(request).await.expect("the automation is valid");
    activate(&ada, &bob).await;
    assert_eq!(state(&ada).await, automations::AutomationState::Active);

    // Ten signups in a week, where a hundred were the baseline.
    sign_up(&ada, "web", 10).await;
    apply_threshold(&ada).await.expect("the threshold is valid");
    let id = until("the question", async || asked(&ada).await).await;
    let request = approvals::GetDecisionRequestRequest { decision_request_id: id.clone() };
    let question = bob.approvals().get_decision_request(request).await.expect("it waits");
    let question = question.into_inner().decision_request.expect("a decision request");
    assert_eq!(question.action, "automation.pause");
    assert_eq!(question.subject, "automations/nudge");
    let evidence: Vec<_> = question.evidence.iter().map(|fact| fact.title.as_str()).collect();
    assert_eq!(
        evidence,
        ["value", "series", "threshold", "definition", "provenance", "guardrails"]
    );
    let value: serde_json::Value =
        serde_json::from_str(&question.evidence[0].json).expect("evidence is JSON");
    assert_eq!((&value["value"], &value["reference"]), (&10.0.into(), &100.0.into()));

    // Nobody but people decides, and before they do nothing stops.
    assert_eq!(state(&ada).await, automations::AutomationState::Active);
    decide(&bob, &id).await;
    until("the pause", async || {
        let paused = state(&ada).await == automations::AutomationState::Paused;
        paused.then_some(())
    })
    .await;

    // Activated again, it is not paused by the old decision, however often it is told.
    activate(&ada, &bob).await;
    tell_again(&suite, &ada, &id, "automation.pause").await;
    assert_eq!(state(&ada).await, automations::AutomationState::Active);

    // The week tells of it: three questions decided, one threshold that asked, all for
    // the pillar of the automation.
    let growth = until("the week to tell of it", async || {
        let request = metrics::GetWeeklyScorecardRequest {
            week: Utc::now().date_naive().to_string(),
            ..Default::default()
        };
        let answer = ada.reports().get_weekly_scorecard(request).await.expect("a read");
        let card = answer.into_inner().scorecard.expect("a scorecard");
        assert_eq!(card.gaps, Vec::<String>::new());
        let [growth, ..] = card.pillars.as_slice() else { return None };
        let value = |figure: &Option<metrics::Figure>| figure.as_ref().and_then(|it| it.value);
        let told = (value(&growth.throughput), value(&growth.escalations));
        (told == (Some(3.0), Some(1.0))).then(|| growth.clone())
    })
    .await;
    assert!(growth.median_handling_time.and_then(|time| time.value).is_some());
    assert_eq!(growth.kpis.len(), 1);
    suite.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_source_makes_its_kpi_stale_and_the_threshold_decides_nothing() {
    let suite = Suite::start().await;
    let ada = suite.clients("ada", Role::Operator).await;
    define(&ada).await;
    sign_up(&ada, "shop", 10).await;
    // The shop owes events within a minute, by their own time; its newest is a day old.
    let minute = ingestion::Period { count: 1, unit: ingestion::PeriodUnit::Minute.into() };
    let after = Some(ingestion::Threshold { off: false, after: Some(minute) });
    let source = ingestion::SourceDefinition {
        name: "shop".to_owned(),
        owner: "shop-team".to_owned(),
        freshness: Some(ingestion::FreshnessRule {
            error_after: after,
            basis: ingestion::FreshnessBasis::Effective.into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let request = ingestion::ApplySourceRequest { source: Some(source), ..Default::default() };
    ada.sources().apply_source(request).await.expect("the source is valid");
    until("the breach of the source", async || {
        let request = metrics::GetScorecardRequest::default();
        let card = ada.metrics().get_scorecard(request).await.expect("a read").into_inner();
        let provenance = card.kpis[0].provenance.clone().expect("provenance");
        (provenance.freshness() == metrics::Freshness::Stale).then_some(())
    })
    .await;

    let mut investigate = threshold();
    investigate.decision = Some(metrics::ThresholdDecision {
        action: metrics::ThresholdAction::Investigate.into(),
        ..Default::default()
    });
    let request =
        metrics::ApplyThresholdRequest { threshold: Some(investigate), ..Default::default() };
    ada.thresholds().apply_threshold(request).await.expect("the threshold is valid");
    let evaluation = until("an evaluation", async || newest_evaluation(&ada).await).await;
    assert_eq!(evaluation.reading(), metrics::ThresholdReading::Breached);
    assert_eq!(evaluation.effect(), metrics::ThresholdEffect::Inform);
    assert_eq!(evaluation.gates().collect::<Vec<_>>(), [metrics::ThresholdGate::Stale]);
    let provenance = evaluation.provenance.expect("provenance");
    assert_eq!(provenance.breached_sources, ["shop"]);
    let request = approvals::ListDecisionRequestsRequest::default();
    let found = ada.approvals().list_decision_requests(request).await.expect("a read");
    assert!(found.into_inner().decision_requests.is_empty());
    suite.stop().await;
}
