//! What may be registered.

use chrono::TimeDelta;
use northstar_domain::Clock as _;
use northstar_proto::automations::v1 as pb;

use crate::suite::{Suite, blamed_fields, config, reason, timestamp, webhook};

const URL: &str = "https://hooks.example.com/nudge";

#[tokio::test]
async fn each_missing_field_is_refused_by_its_name() {
    let suite = Suite::start().await;
    type Remove = fn(&mut pb::Automation);
    let cases: [(&str, Remove); 9] = [
        ("automation.description", |automation| automation.description.clear()),
        ("automation.kpi", |automation| automation.kpi.clear()),
        ("automation.pillar", |automation| automation.pillar.clear()),
        ("automation.owner", |automation| automation.owner.clear()),
        ("automation.guardrails", |automation| automation.guardrails.clear()),
        ("automation.holdout", |automation| automation.holdout = 0.0),
        ("automation.sunset_time", |automation| automation.sunset_time = None),
        ("automation.trigger.event", |automation| automation.trigger = None),
        ("automation.actions", |automation| automation.actions.clear()),
    ];
    for (field, remove) in cases {
        let mut automation = suite.automation("nudge", URL);
        remove(&mut automation);
        let refused = suite.apply(automation).await.unwrap_err();
        assert_eq!(reason(&refused), "INVALID_FIELD", "{field}");
        assert_eq!(blamed_fields(&refused), [field]);
    }
    let nothing = pb::Automation { name: "nudge".to_owned(), ..Default::default() };
    let refused = suite.apply(nothing).await.unwrap_err();
    assert_eq!(blamed_fields(&refused), cases.map(|(field, _)| field), "all at once");
}

#[tokio::test]
async fn a_sunset_in_the_past_and_a_holdout_of_everybody_are_refused() {
    let suite = Suite::start().await;
    let automation = pb::Automation {
        sunset_time: Some(timestamp(suite.clock.now() - TimeDelta::seconds(1))),
        holdout: 1.0,
        ..suite.automation("nudge", URL)
    };
    let refused = suite.apply(automation).await.unwrap_err();
    assert_eq!(blamed_fields(&refused), ["automation.holdout", "automation.sunset_time"]);
}

#[tokio::test]
async fn a_condition_that_does_not_compile_is_an_invalid_expression() {
    let suite = Suite::start().await;
    let mut automation = suite.automation("nudge", URL);
    automation.trigger.as_mut().unwrap().condition = "properties.plan = 'pro'".to_owned();
    let refused = suite.apply(automation).await.unwrap_err();
    assert_eq!(reason(&refused), "INVALID_EXPRESSION");
    assert_eq!(blamed_fields(&refused), ["automation.trigger.condition"]);
}

#[tokio::test]
async fn what_the_automation_names_must_exist() {
    let suite = Suite::start().await;
    let mut automation = suite.automation("nudge", URL);
    automation.kpi = "no-such-kpi".to_owned();
    automation.guardrails[0].metric = "no-such-metric".to_owned();
    let refused = suite.apply(automation).await.unwrap_err();
    assert_eq!(reason(&refused), "MISSING_REFERENCE");
    assert!(refused.message().contains("no-such-kpi"), "{refused}");
    assert!(refused.message().contains("no-such-metric"), "{refused}");
}

#[tokio::test]
async fn a_webhook_into_the_own_network_is_refused() {
    let careful = northstar_automations::Config { allow_loopback_webhooks: false, ..config() };
    let suite = Suite::start_with(careful).await;
    for url in [
        "http://hooks.example.com/",
        "http://127.0.0.1:8080/",
        "https://127.0.0.1/",
        "https://localhost/",
        "https://10.1.2.3/",
        "https://169.254.169.254/latest/",
        "https://[fd00::1]/",
    ] {
        let refused = suite.apply(suite.automation("nudge", url)).await.unwrap_err();
        assert_eq!(blamed_fields(&refused), ["automation.actions[0].webhook.url"], "{url}");
    }
}

#[tokio::test]
async fn a_signing_secret_must_be_configured() {
    let suite = Suite::start().await;
    let mut automation = suite.automation("nudge", URL);
    let Some(pb::action::Kind::Webhook(hook)) = &mut automation.actions[0].kind else {
        unreachable!()
    };
    hook.secret_name = "other".to_owned();
    let refused = suite.apply(automation).await.unwrap_err();
    assert_eq!(blamed_fields(&refused), ["automation.actions[0].webhook.secret_name"]);
}

#[tokio::test]
async fn applying_what_is_there_changes_nothing_and_an_old_etag_is_refused() {
    let suite = Suite::start().await;
    let first = suite.apply(suite.automation("nudge", URL)).await.unwrap();
    assert_eq!(first.state(), pb::AutomationState::Draft);
    let again = suite.apply(first.clone()).await.unwrap();
    assert_eq!(again, first);

    let mut changed = first.clone();
    changed.actions.push(webhook(URL));
    let second = suite.apply(changed.clone()).await.unwrap();
    assert_ne!(second.etag, first.etag);
    let refused = suite.apply(first).await.unwrap_err();
    assert_eq!(reason(&refused), "ETAG_MISMATCH");
    assert_eq!(suite.get("nudge").await, second);
}

#[tokio::test]
async fn a_check_alone_writes_nothing() {
    let suite = Suite::start().await;
    let request = pb::ApplyAutomationRequest {
        automation: Some(suite.automation("nudge", URL)),
        validate_only: true,
        ..Default::default()
    };
    suite.operator.automations().apply_automation(request).await.unwrap();
    let request = pb::GetAutomationRequest { name: "nudge".to_owned() };
    let missing = suite.operator.automations().get_automation(request).await.unwrap_err();
    assert_eq!(reason(&missing), "NOT_FOUND");
}
