//! What people approve is done: an automation is scaled or adjusted by the very
//! definition they looked at, once, and a question to look into is a task.

use chrono::Utc;
use northstar_client::Clients;
use northstar_domain::Role;
use northstar_proto::approvals::v1 as approvals;
use northstar_proto::automations::v1 as automations;
use northstar_proto::metrics::v1 as metrics;
use northstar_tests::Suite;
use serde_json::{Value, json};
use tonic::Status;
use tonic_types::StatusExt as _;

use crate::decisions::{
    activate, automation, decide, define, sign_up, state, tell_again, threshold, until,
};

/// An automation that acts, ten signups where a hundred were the baseline, and a
/// threshold that asks for a decision about it.
struct Story {
    suite: Suite,
    ada: Clients,
    bob: Clients,
    question: approvals::DecisionRequest,
}

impl Story {
    async fn begin(decision: metrics::ThresholdDecision) -> Self {
        let suite = Suite::start().await;
        let ada = suite.clients("ada", Role::Operator).await;
        let bob = suite.clients("bob", Role::Approver).await;
        define(&ada).await;
        apply(&ada, automation()).await.expect("the automation is valid");
        activate(&ada, &bob).await;
        sign_up(&ada, "web", 10).await;
        apply_threshold(&ada, decision).await.expect("the threshold is valid");
        let id = until("the question", async || asked(&ada).await).await;
        let question = read(&ada, &id).await;
        Self { suite, ada, bob, question }
    }

    fn id(&self) -> &str {
        &self.question.decision_request_id
    }

    fn diff(&self) -> Value {
        serde_json::from_str(&self.question.diff_json).expect("a diff is JSON")
    }

    /// Bob gives a verdict about a question as he sees it.
    async fn verdict(
        &self,
        who: &Clients,
        seen: &approvals::DecisionRequest,
        kind: approvals::VerdictKind,
        edited: &str,
    ) -> Result<approvals::DecisionRequest, Status> {
        let request = approvals::RecordVerdictRequest {
            decision_request_id: seen.decision_request_id.clone(),
            kind: kind.into(),
            reason: "looked at the evidence".to_owned(),
            review_cycle: seen.review_cycle,
            diff_digest: seen.diff_digest.clone(),
            edited_diff_json: edited.to_owned(),
            ..Default::default()
        };
        let response = who.approvals().record_verdict(request).await?;
        Ok(response.into_inner().decision_request.expect("a decision request"))
    }

    /// Waits until the decision is carried out, and returns what it came to and what
    /// stood in the way, as the audit log tells.
    async fn outcome(&self) -> (String, String) {
        until("the decision to be carried out", async || {
            let (action, detail) = self.audited().await.into_iter().next()?;
            if action == "automation.apply" {
                return Some(("applied".to_owned(), String::new()));
            }
            let text = |field: &str| detail[field].as_str().unwrap_or_default().to_owned();
            Some((text("outcome"), text("problem")))
        })
        .await
    }

    /// What the audit log tells of the automation because of the decision.
    async fn audited(&self) -> Vec<(String, Value)> {
        let request = approvals::ListAuditEntriesRequest { page_size: 1_000, ..Default::default() };
        let found = self.ada.approvals().list_audit_entries(request).await.expect("a read");
        found
            .into_inner()
            .entries
            .into_iter()
            .filter(|entry| entry.resource == "automations/nudge")
            .map(|entry| {
                let detail: Value =
                    serde_json::from_str(&entry.detail_json).expect("details are JSON");
                (entry.action, detail)
            })
            .filter(|(_, detail)| {
                detail["decision_request"] == self.id() && detail["approver"].is_string()
            })
            .collect()
    }
}

async fn apply(
    ada: &Clients,
    automation: automations::Automation,
) -> Result<automations::Automation, Status> {
    let request =
        automations::ApplyAutomationRequest { automation: Some(automation), ..Default::default() };
    let applied = ada.automations().apply_automation(request).await?.into_inner();
    Ok(applied.automation.expect("an automation"))
}

async fn apply_threshold(
    ada: &Clients,
    decision: metrics::ThresholdDecision,
) -> Result<(), Status> {
    let threshold = metrics::Threshold { decision: Some(decision), ..threshold() };
    let request =
        metrics::ApplyThresholdRequest { threshold: Some(threshold), ..Default::default() };
    ada.thresholds().apply_threshold(request).await.map(drop)
}

async fn asked(ada: &Clients) -> Option<String> {
    let request = metrics::GetThresholdRequest { name: "signups-collapse".to_owned() };
    let found = ada.thresholds().get_threshold(request).await.expect("it is there").into_inner();
    let status = found.status.expect("a status");
    assert_eq!(status.refusal, "");
    Some(status.decision_request).filter(|id| !id.is_empty())
}

async fn read(clients: &Clients, id: &str) -> approvals::DecisionRequest {
    let request = approvals::GetDecisionRequestRequest { decision_request_id: id.to_owned() };
    let found = clients.approvals().get_decision_request(request).await.expect("it is there");
    found.into_inner().decision_request.expect("a decision request")
}

async fn nudge(ada: &Clients) -> automations::Automation {
    let request = automations::GetAutomationRequest { name: "nudge".to_owned() };
    let found = ada.automations().get_automation(request).await.expect("it is there");
    found.into_inner().automation.expect("an automation")
}

fn scale(holdout_by: f64) -> metrics::ThresholdDecision {
    metrics::ThresholdDecision {
        action: metrics::ThresholdAction::Scale.into(),
        automation: "nudge".to_owned(),
        holdout_by: Some(holdout_by),
        ..Default::default()
    }
}

fn adjust(change: &Value) -> metrics::ThresholdDecision {
    metrics::ThresholdDecision {
        action: metrics::ThresholdAction::Adjust.into(),
        automation: "nudge".to_owned(),
        change_json: change.to_string(),
        ..Default::default()
    }
}

fn reason(status: &Status) -> String {
    let details = status.get_error_details();
    let reason = details.error_info().map(|info| info.reason.clone()).unwrap_or_default();
    reason.trim_start_matches("ERROR_REASON_").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_automation_is_scaled_by_the_amount_that_was_approved_and_goes_on() {
    let story = Story::begin(scale(-0.05)).await;
    let Story { suite, ada, bob, question } = &story;
    assert_eq!(
        (question.action.as_str(), question.kind()),
        ("automation.scale", approvals::DecisionKind::Change)
    );
    assert!(
        question.summary.starts_with("scale automation nudge (holdout: 0.1 -> 0.05): signups 10"),
        "{}",
        question.summary
    );
    let (diff, before) = (story.diff(), nudge(ada).await);
    assert_eq!(diff["definition"]["spec"]["holdout"], 0.05);
    assert_eq!((&diff["threshold"], &diff["episode"]), (&json!("signups-collapse"), &json!(1)));
    let titles: Vec<_> = question.evidence.iter().map(|fact| fact.title.as_str()).collect();
    for title in ["value", "series", "provenance", "automation now", "automation then"] {
        assert!(titles.contains(&title), "{title} is missing in {titles:?}");
    }
    // Until people agree nothing changes, and who asked does not agree.
    assert_eq!(nudge(ada).await, before);
    let own = suite.clients(&question.author, Role::Admin).await;
    let approve = approvals::VerdictKind::Approve;
    let refused = story.verdict(&own, question, approve, "").await.expect_err("it is the author");
    assert_eq!(reason(&refused), "AUTHOR_MAY_NOT_DECIDE");

    decide(bob, story.id()).await;
    assert_eq!(story.outcome().await, ("applied".to_owned(), String::new()));
    let after = nudge(ada).await;
    assert_eq!(after.state(), automations::AutomationState::Active);
    assert_eq!((before.holdout, after.holdout), (0.1, 0.05));
    let audited = story.audited().await;
    let actions: Vec<_> = audited.iter().map(|(action, _)| action.as_str()).collect();
    assert_eq!(actions, ["automation.apply", "automation.activate"]);
    assert_eq!(audited[0].1["before"]["holdout"], 0.1);
    assert_eq!(audited[0].1["after"]["holdout"], 0.05);
    assert_eq!(audited[1].1["approver"], "bob");

    // However often it is told, it is done once.
    tell_again(suite, ada, story.id(), "automation.scale").await;
    assert_eq!(nudge(ada).await, after);
    assert_eq!(story.audited().await.len(), 2);
    story.suite.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verdict_on_an_earlier_diff_scales_nothing_and_an_edit_is_what_is_done() {
    let story = Story::begin(scale(-0.05)).await;
    let Story { suite, ada, bob, question } = &story;
    let carol = suite.clients("carol", Role::Approver).await;
    let mut smaller = story.diff();
    smaller["definition"]["spec"]["holdout"] = json!(0.08);
    let (approve, edit) = (approvals::VerdictKind::Approve, approvals::VerdictKind::Edit);
    let edited = story.verdict(bob, question, edit, &smaller.to_string()).await;
    let edited = edited.expect("bob may edit");
    let stale = story.verdict(&carol, question, approve, "").await.expect_err("it is stale");
    assert_eq!(reason(&stale), "STALE_VERDICT");
    assert_eq!(nudge(ada).await.holdout, 0.1);
    story.verdict(&carol, &edited, approve, "").await.expect("carol looked at the edit");
    assert_eq!(story.outcome().await.0, "applied");
    let after = nudge(ada).await;
    assert_eq!((after.holdout, after.state()), (0.08, automations::AutomationState::Active));
    story.suite.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_approved_of_another_definition_is_not_done() {
    let change = json!({"trigger": {"condition": "properties.plan == 'pro'"}});
    let story = Story::begin(adjust(&change)).await;
    let Story { ada, bob, .. } = &story;
    assert_eq!(story.question.action, "automation.adjust");
    // Meanwhile somebody changes it by hand.
    let pause = automations::PauseAutomationRequest {
        name: "nudge".to_owned(),
        reason: "other words".to_owned(),
        ..Default::default()
    };
    ada.automations().pause_automation(pause).await.expect("it acts");
    let by_hand = automations::Automation { holdout: 0.2, ..automation() };
    let before = apply(ada, by_hand).await.expect("it is paused");
    decide(bob, story.id()).await;
    let (outcome, problem) = story.outcome().await;
    assert_eq!(outcome, "outdated");
    assert!(problem.contains("changed since it was looked at"), "{problem}");
    assert_eq!(nudge(ada).await, before);
    let audited = story.audited().await;
    let [(action, detail)] = audited.as_slice() else { panic!("{audited:?}") };
    assert_eq!(action, "automation.decision_not_applied");
    assert_eq!((&detail["outcome"], &detail["approver"]), (&json!("outdated"), &json!("bob")));
    story.suite.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_act_is_adjusted_and_does_not_begin_to_act() {
    let change = json!({"trigger": {"condition": "properties.plan == 'pro'"}});
    let story = Story::begin(adjust(&change)).await;
    let Story { ada, bob, .. } = &story;
    let pause = automations::PauseAutomationRequest {
        name: "nudge".to_owned(),
        reason: "until people decided".to_owned(),
        ..Default::default()
    };
    ada.automations().pause_automation(pause).await.expect("it acts");
    decide(bob, story.id()).await;
    assert_eq!(story.outcome().await.0, "applied");
    let after = nudge(ada).await;
    assert_eq!(after.trigger.expect("a trigger").condition, "properties.plan == 'pro'");
    assert_eq!(state(ada).await, automations::AutomationState::Paused);
    // To act again it needs an approval of its own, as after any edit.
    let by_the_change = automations::ActivateAutomationRequest {
        name: "nudge".to_owned(),
        decision_request: story.id().to_owned(),
        start_position: -1,
        ..Default::default()
    };
    let refused = ada.automations().activate_automation(by_the_change).await;
    assert_eq!(reason(&refused.expect_err("it is about a change")), "APPROVAL_REQUIRED");
    activate(ada, bob).await;
    assert_eq!(state(ada).await, automations::AutomationState::Active);
    story.suite.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_rejected_or_made_into_nonsense_changes_nothing() {
    let story = Story::begin(scale(-0.05)).await;
    let Story { suite, ada, bob, question } = &story;
    let carol = suite.clients("carol", Role::Approver).await;
    let before = nudge(ada).await;
    let (approve, edit) = (approvals::VerdictKind::Approve, approvals::VerdictKind::Edit);
    let mut nonsense = story.diff();
    nonsense["definition"]["spec"]["kpi"] = json!("nothing");
    let edited = story.verdict(bob, question, edit, &nonsense.to_string()).await;
    let edited = edited.expect("bob may edit");
    story.verdict(&carol, &edited, approve, "").await.expect("carol approves nonsense");
    let (outcome, problem) = story.outcome().await;
    assert_eq!(outcome, "refused");
    assert!(problem.contains("nothing"), "{problem}");
    assert_eq!(nudge(ada).await, before);
    story.suite.stop().await;

    let story = Story::begin(scale(-0.05)).await;
    let before = nudge(&story.ada).await;
    let reject = approvals::VerdictKind::Reject;
    story.verdict(&story.bob, &story.question, reject, "").await.expect("bob may reject");
    // The log telling otherwise changes nothing: approvals is asked.
    tell_again(&story.suite, &story.ada, story.id(), "automation.scale").await;
    assert_eq!(nudge(&story.ada).await, before);
    assert_eq!(story.audited().await, []);
    story.suite.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_breaks_a_rule_cannot_be_asked_for() {
    let suite = Suite::start().await;
    let ada = suite.clients("ada", Role::Operator).await;
    define(&ada).await;
    apply(&ada, automation()).await.expect("the automation is valid");
    let fields = async |decision: metrics::ThresholdDecision| {
        let refused = apply_threshold(&ada, decision).await.expect_err("it breaks a rule");
        let details = refused.get_error_details();
        let bad = details.bad_request().expect("violations").field_violations.clone();
        bad.into_iter().map(|violation| violation.field).collect::<Vec<_>>()
    };
    assert_eq!(fields(scale(-0.1)).await, ["threshold.decision.holdout_by"]);
    assert_eq!(fields(scale(0.0)).await, ["threshold.decision.holdout_by"]);
    for change in [json!({"holdout": 2}), json!({"hold_out": 0.2}), json!({"kpi": "nothing"})] {
        assert_eq!(fields(adjust(&change)).await, ["threshold.decision.change"], "{change}");
    }
    suite.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_to_be_looked_into_is_a_task_that_lists_and_reports_tell_of() {
    let investigate = metrics::ThresholdDecision {
        action: metrics::ThresholdAction::Investigate.into(),
        ..Default::default()
    };
    let story = Story::begin(investigate).await;
    let Story { suite, ada, bob, question } = &story;
    assert_eq!(question.action, "kpi.investigate");
    assert_eq!(
        (question.kind(), question.owner.as_str()),
        (approvals::DecisionKind::Task, "growth")
    );
    let request = approvals::ListDecisionRequestsRequest {
        kind: approvals::DecisionKind::Task.into(),
        owner: "growth".to_owned(),
        state: approvals::DecisionState::Pending.into(),
        ..Default::default()
    };
    let listed = bob.approvals().list_decision_requests(request).await.expect("a read");
    assert_eq!(listed.into_inner().decision_requests, std::slice::from_ref(question));

    let executive = async || {
        let request = metrics::GetExecutiveReportRequest {
            format: metrics::ReportFormat::Markdown.into(),
            ..Default::default()
        };
        ada.reports().get_executive_report(request).await.expect("a read").into_inner()
    };
    let told = executive().await;
    let unit = told.report.expect("a report").units.remove(0);
    assert_eq!(unit.tasks.len(), 1, "{unit:#?}");
    assert_eq!(unit.tasks[0].decision_request, story.id());
    assert!(unit.what_next.contains("Waits for growth: investigate kpis/signups"), "{unit:#?}");
    assert!(told.document.contains("### To look into"), "{}", told.document);

    // There is nothing to approve; who takes it on says what is done about it.
    let (approve, acknowledge) =
        (approvals::VerdictKind::Approve, approvals::VerdictKind::Acknowledge);
    let refused = story.verdict(bob, question, approve, "").await.expect_err("it is a task");
    assert_eq!(reason(&refused), "INVALID_FIELD");
    let own = suite.clients(&question.author, Role::Approver).await;
    let refused = story.verdict(&own, question, acknowledge, "").await.expect_err("the author");
    assert_eq!(reason(&refused), "AUTHOR_MAY_NOT_DECIDE");
    let taken = story.verdict(bob, question, acknowledge, "").await.expect("bob takes it on");
    assert_eq!(taken.state(), approvals::DecisionState::Acknowledged);

    assert_eq!(executive().await.report.expect("a report").units[0].tasks, []);
    let request = metrics::GetWeeklyScorecardRequest {
        week: Utc::now().date_naive().to_string(),
        format: metrics::ReportFormat::Markdown.into(),
        ..Default::default()
    };
    let week = ada.reports().get_weekly_scorecard(request).await.expect("a read").into_inner();
    let growth = week.scorecard.expect("a scorecard").pillars.remove(0);
    let [task] = growth.tasks.as_slice() else { panic!("{growth:#?}") };
    assert_eq!((task.state.as_str(), task.by.as_str()), ("acknowledged", "bob"));
    assert_eq!(task.note, "looked at the evidence");
    assert!(week.document.contains("bob took it on: looked at the evidence"), "{}", week.document);
    // It let nothing happen.
    assert_eq!(state(ada).await, automations::AutomationState::Active);
    story.suite.stop().await;
}
