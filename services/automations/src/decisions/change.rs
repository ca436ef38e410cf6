//! Replaces the definition of an automation by the one that people approved.
//!
//! It goes the way of every edit: what acts stops first, the new definition is
//! checked as `ApplyAutomation` checks, and only an approval of this very definition
//! lets it act. The approval is there already, so that all three happen in one
//! transaction, and the automation goes on at the event it had come to. One that did
//! not act does not begin to.

use northstar_domain::Violations;
use northstar_domain::automation::{Approval, AutomationState, Change};
use northstar_domain::canonical_json::Digest;
use northstar_domain::decision::Diff;
use northstar_store::automations::{self as store, CarriedOut, Stored};
use northstar_store::{Error as StoreError, PgConnection};
use serde_json::json;

use super::carry_out::Approved;
use super::{Decisions, Interrupted};
use crate::activate::decision_from_proto;
use crate::define::{check, check_references};
use crate::error::Error;

/// Who activates, in the list of activations.
const ACTOR: &str = "northstar-automations";

/// A change that may be made, as far as it does not depend on what it changes.
struct Sound {
    change: Change,
    approval: Approval,
}

impl Decisions {
    /// What it came to; `None` when it was carried out before.
    pub(super) async fn change(
        &self,
        approved: &Approved,
    ) -> Result<Option<CarriedOut>, Interrupted> {
        let sound = self.sound(approved).await?;
        let now = self.0.clock.now();
        let mut tx = self.0.pool.begin().await.map_err(StoreError::from)?;
        let stored = store::load_for_update(&mut tx, approved.project, &approved.name).await?;
        let (outcome, problem) = judge(stored.as_ref(), &sound);
        if !approved.settle(&mut tx, outcome, &problem, now).await? {
            return Ok(None);
        }
        if let (CarriedOut::Applied, Some(stored), Ok(sound)) = (outcome, &stored, &sound) {
            self.apply(&mut tx, approved, stored, sound).await?;
        }
        tx.commit().await.map_err(StoreError::from)?;
        Ok(Some(outcome))
    }

    /// Reads and checks what was approved. What is wrong with it is a text for people.
    async fn sound(&self, approved: &Approved) -> Result<Result<Sound, String>, Interrupted> {
        let Approved { project, id, name, request } = approved;
        let read = || -> Result<(Change, Digest), String> {
            let change =
                Change::read(&request.diff_json, name).map_err(|error| error.to_string())?;
            let diff = Diff::parse(&request.diff_json).map_err(|error| error.to_string())?;
            Ok((change, diff.digest()))
        };
        let (change, digest) = match read() {
            Ok(read) => read,
            Err(problem) => return Ok(Err(problem)),
        };
        let decision = decision_from_proto(*id, request);
        let approval = match Approval::of_change(&decision, digest, &change) {
            Ok(approval) => approval,
            Err(refused) => return Ok(Err(refused.to_string())),
        };
        let spec = change.definition().spec();
        let checked = match check(&self.0, name.as_str(), spec.clone(), Violations::new()) {
            Ok(_) => check_references(&self.0.clients.for_project(project.0), spec).await,
            Err(error) => Err(error),
        };
        match checked {
            Ok(()) => Ok(Ok(Sound { change, approval })),
            Err(Error::Upstream(status)) => Err(status.into()),
            Err(Error::Store(error)) => Err(error.into()),
            Err(error) => Ok(Err(error.to_string())),
        }
    }

    async fn apply(
        &self,
        tx: &mut PgConnection,
        approved: &Approved,
        stored: &Stored,
        sound: &Sound,
    ) -> northstar_store::Result<()> {
        let Approved { project, name, .. } = approved;
        let now = self.0.clock.now();
        let definition = sound.change.definition();
        let acts = stored.state == AutomationState::Active;
        if acts {
            store::save_state(tx, *project, name, AutomationState::Paused, now).await?;
        }
        store::update_definition(tx, *project, definition, now).await?;
        let detail = json!({
            "before": stored.definition.spec(),
            "after": definition.spec(),
            "definition_digest": definition.digest().to_string(),
            "reason": approved.request.summary,
        });
        approved.audit(tx, "automation.apply", detail, now).await?;
        if acts {
            self.go_on(tx, approved, &sound.approval).await?;
        }
        approved.tell(tx, "changed", now).await
    }

    /// Lets the automation act by its new definition, from the event it had come to.
    async fn go_on(
        &self,
        tx: &mut PgConnection,
        approved: &Approved,
        approval: &Approval,
    ) -> northstar_store::Result<()> {
        let Approved { project, name, .. } = approved;
        let now = self.0.clock.now();
        let corrupt = |column: &'static str| StoreError::Corrupt {
            table: "automations.automations",
            column,
            row: name.to_string(),
            value: approval.digest().to_string(),
        };
        let progress = store::load_progress(tx, *project, name).await?;
        let position = progress.ok_or_else(|| corrupt("activation"))?.handled_position;
        store::activate(tx, *project, name, approval, ACTOR, position, now)
            .await?
            .ok_or_else(|| corrupt("definition_digest"))?;
        let detail = json!({
            "before": {"state": AutomationState::Paused.as_str()},
            "after": {
                "state": AutomationState::Active.as_str(),
                "definition_digest": approval.digest().to_string(),
                "start_position": position,
            },
        });
        approved.audit(tx, "automation.activate", detail, now).await
    }
}

/// What the decision comes to, and what stands in its way.
fn judge(stored: Option<&Stored>, sound: &Result<Sound, String>) -> (CarriedOut, String) {
    match (stored, sound) {
        (None, _) => (CarriedOut::UnknownAutomation, String::new()),
        (Some(_), Err(problem)) => (CarriedOut::Refused, problem.clone()),
        (Some(stored), Ok(_)) if stored.state == AutomationState::Retired => {
            (CarriedOut::NotActive, "the automation is retired".to_owned())
        }
        (Some(stored), Ok(sound)) if stored.definition.digest() != sound.change.before() => {
            let problem = format!(
                "the definition changed since it was looked at: its digest is {}, and was {}",
                stored.definition.digest(),
                sound.change.before(),
            );
            (CarriedOut::Outdated, problem)
        }
        (Some(_), Ok(_)) => (CarriedOut::Applied, String::new()),
    }
}
