//! What a change would make of an automation, before anybody is asked.

use northstar_client::Clients;
use northstar_proto::automations::v1 as pb;
use pb::preview_change_request::Change;
use serde_json::{Value, json};
use tonic::Status;

use crate::suite::{Suite, blamed_fields, reason};

async fn preview(
    who: &Clients,
    name: &str,
    change: Option<Change>,
) -> Result<pb::PreviewChangeResponse, Status> {
    let request = pb::PreviewChangeRequest { name: name.to_owned(), change };
    Ok(who.automations().preview_change(request).await?.into_inner())
}

fn patch(patch: &Value) -> Option<Change> {
    Some(Change::PatchJson(patch.to_string()))
}

fn read(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// An automation with a holdout of 0.3.
async fn start() -> Suite {
    let suite = Suite::start().await;
    let nudge =
        pb::Automation { holdout: 0.3, ..suite.automation("nudge", "http://127.0.0.1:9/nudge") };
    suite.apply(nudge).await.unwrap();
    suite
}

#[tokio::test]
async fn a_preview_shows_the_definition_that_would_act_and_writes_nothing() {
    let suite = start().await;
    let before = suite.get("nudge").await;
    let scaled = preview(&suite.operator, "nudge", Some(Change::HoldoutBy(-0.1))).await.unwrap();
    assert_eq!(scaled.differences, ["holdout: 0.3 -> 0.2"]);
    let diff = read(&scaled.diff_json);
    assert_eq!((&diff["action"], &diff["automation"]), (&json!("scale"), &json!("nudge")));
    assert_eq!(diff["definition"]["spec"], read(&scaled.after_json));
    assert_eq!(read(&scaled.before_json)["holdout"], 0.3);
    assert_eq!(diff["before_digest"].as_str().unwrap().len(), 64);

    let change = json!({"trigger": {"condition": ""}, "owner": "sales"});
    let adjusted = preview(&suite.operator, "nudge", patch(&change)).await.unwrap();
    assert_eq!(read(&adjusted.diff_json)["action"], "adjust");
    assert_eq!(read(&adjusted.after_json)["owner"], "sales");
    assert_eq!(read(&adjusted.after_json)["holdout"], 0.3);
    assert_eq!(read(&adjusted.diff_json)["before_digest"], diff["before_digest"]);
    assert_eq!(suite.get("nudge").await, before);
}

#[tokio::test]
async fn what_breaks_a_rule_is_refused_as_an_edit_is() {
    let suite = start().await;
    let refused = async |change: Option<Change>| {
        let status = preview(&suite.operator, "nudge", change).await.unwrap_err();
        (reason(&status), blamed_fields(&status))
    };
    let invalid = |field: &str| ("INVALID_FIELD".to_owned(), vec![field.to_owned()]);
    assert_eq!(refused(None).await, invalid("change"));
    for by in [-0.3, 0.7, 0.0] {
        assert_eq!(refused(Some(Change::HoldoutBy(by))).await, invalid("holdout_by"));
    }
    for change in ["no JSON", "[]", "{}", r#"{"hold_out": 0.2}"#, r#"{"holdout": 0.3}"#] {
        let change = Some(Change::PatchJson(change.to_owned()));
        assert_eq!(refused(change).await, invalid("patch_json"));
    }
    let inward = json!({"actions": [{"webhook": {
        "url": "https://10.0.0.1/", "secret_name": "demo", "type": "user.nudge",
    }}]});
    assert_eq!(refused(patch(&inward)).await, invalid("automation.actions[0].webhook.url"));
    let broken = json!({"trigger": {"condition": "properties.plan ="}});
    assert_eq!(refused(patch(&broken)).await.0, "INVALID_EXPRESSION");
    assert_eq!(refused(patch(&json!({"kpi": "nothing"}))).await.0, "MISSING_REFERENCE");
    let unknown = preview(&suite.operator, "other", Some(Change::HoldoutBy(0.1))).await;
    assert_eq!(reason(&unknown.unwrap_err()), "NOT_FOUND");

    let retire = pb::RetireAutomationRequest {
        name: "nudge".to_owned(),
        reason: "a test".to_owned(),
        request_id: String::new(),
    };
    suite.operator.automations().retire_automation(retire).await.unwrap();
    let retired = refused(Some(Change::HoldoutBy(0.1))).await;
    assert_eq!(retired.0, "INVALID_TRANSITION");
}
