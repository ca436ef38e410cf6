//! Pauses an automation that people agreed to pause.

use northstar_domain::ResourceName;
use northstar_domain::automation::AutomationState;
use northstar_store::automations::{self as store, CarriedOut};
use serde::Deserialize;
use serde_json::json;

use super::Decisions;
use super::carry_out::Approved;

/// The change that was decided, as far as it matters here.
#[derive(Deserialize)]
struct Decided {
    #[serde(default)]
    action: String,
    #[serde(default)]
    automation: String,
}

impl Decisions {
    /// What it came to; `None` when it was carried out before.
    pub(super) async fn pause(
        &self,
        approved: &Approved,
    ) -> northstar_store::Result<Option<CarriedOut>> {
        let Approved { project, name, request, .. } = approved;
        let now = self.0.clock.now();
        let mut tx = self.0.pool.begin().await?;
        let stored = store::load_for_update(&mut tx, *project, name).await?;
        let outcome = match &stored {
            _ if !still_wants(&request.diff_json, name) => CarriedOut::Edited,
            None => CarriedOut::UnknownAutomation,
            Some(stored) if stored.state.pause().is_ok() => CarriedOut::Paused,
            Some(_) => CarriedOut::NotActive,
        };
        if !approved.settle(&mut tx, outcome, "", now).await? {
            return Ok(None);
        }
        if outcome == CarriedOut::Paused {
            store::save_state(&mut tx, *project, name, AutomationState::Paused, now).await?;
            let detail = json!({
                "before": {"state": AutomationState::Active.as_str()},
                "after": {"state": AutomationState::Paused.as_str(), "reason": request.summary},
            });
            approved.audit(&mut tx, "automation.pause", detail, now).await?;
            approved.tell(&mut tx, "paused", now).await?;
        }
        tx.commit().await?;
        Ok(Some(outcome))
    }
}

/// Whether what was approved is still to pause this automation: an edit may have
/// made it something else.
fn still_wants(diff_json: &str, name: &ResourceName) -> bool {
    serde_json::from_str(diff_json).is_ok_and(|decided: Decided| {
        decided.action == "pause" && decided.automation == name.as_str()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_edited_into_something_else_is_not_carried_out() {
        let name: ResourceName = "nudge".parse().unwrap();
        assert!(still_wants(r#"{"action":"pause","automation":"nudge","episode":1}"#, &name));
        assert!(!still_wants(r#"{"action":"adjust","automation":"nudge"}"#, &name));
        assert!(!still_wants(r#"{"action":"pause","automation":"other"}"#, &name));
        assert!(!still_wants("no JSON", &name));
    }
}
