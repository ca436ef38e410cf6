//! Tells what a change would make of an automation, so that people are asked about
//! the very definition that would act.

use northstar_domain::Violations;
use northstar_domain::automation::{
    AutomationState, Change, Spec, TransitionError, Wanted, differences,
};
use northstar_proto::automations::v1 as pb;
use northstar_server::Caller;

use crate::define::{check, check_references, load, parse_name};
use crate::error::Result;
use crate::service::Automations;

pub(crate) async fn preview(
    service: &Automations,
    caller: &Caller,
    request: pb::PreviewChangeRequest,
) -> Result<pb::PreviewChangeResponse> {
    let name = parse_name(&request.name)?;
    let wanted = read(request.change)?;
    let mut connection = service.pool.acquire().await.map_err(northstar_store::Error::from)?;
    let stored = load(&mut connection, caller, &name).await?;
    drop(connection);
    if stored.state == AutomationState::Retired {
        return Err(TransitionError { state: stored.state, step: "be changed" }.into());
    }
    let before = stored.definition.spec();
    let spec = wanted.apply(before)?;
    let after = check(service, name.as_str(), spec, Violations::new())?;
    check_references(&service.clients, after.spec()).await?;
    let change = Change::new(stored.definition.digest(), after);
    let after = change.definition().spec();
    Ok(pb::PreviewChangeResponse {
        diff_json: change.diff(wanted.word()).to_string(),
        before_json: json(before),
        after_json: json(after),
        differences: differences(before, after),
    })
}

fn read(change: Option<pb::preview_change_request::Change>) -> Result<Wanted> {
    use pb::preview_change_request::Change as Asked;
    let mut violations = Violations::new();
    let wanted = match change {
        Some(Asked::HoldoutBy(by)) => Some(Wanted::HoldoutBy(by)),
        Some(Asked::PatchJson(text)) => serde_json::from_str(&text)
            .map_err(|error| violations.push("patch_json", format!("must be JSON: {error}")))
            .map(Wanted::Patch)
            .ok(),
        None => {
            violations.push("change", "must be holdout_by or patch_json");
            None
        }
    };
    wanted.ok_or_else(|| violations.into())
}

fn json(spec: &Spec) -> String {
    serde_json::to_string(spec).expect("a spec has string keys only")
}
