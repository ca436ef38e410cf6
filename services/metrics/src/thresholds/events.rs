//! What the log is told about thresholds.

use northstar_domain::ProjectId;
use northstar_domain::threshold::Effect;
use northstar_store::metrics::threshold::Logged;
use northstar_store::outbox::NewMessage;
use serde_json::json;

use super::evaluate::Watched;

/// Who acts when a schedule does.
const ACTOR: &str = "principal:northstar-metrics";

/// An episode took a step: people are asked, will be, or need not be any more. An
/// episode takes each once, so that its number and the step make the message id.
pub(super) fn step(project: ProjectId, watched: &Watched, logged: &Logged) -> Option<NewMessage> {
    let step = match logged.effect {
        Effect::None | Effect::Inform => return None,
        Effect::Defer { .. } => "deferred",
        Effect::Raise { .. } => "raised",
        Effect::Clear { .. } => "cleared",
    };
    let episode = logged.state_after.episode;
    let newest = logged.observations.last();
    let decision = &watched.rules.decision;
    Some(NewMessage {
        project,
        message_id: format!("threshold/{}/{episode}/{step}", logged.name),
        name: format!("northstar.threshold.{step}"),
        user_id: ACTOR.to_owned(),
        anonymous_id: String::new(),
        occurred_at: logged.evaluated_at,
        properties: json!({
            "threshold": logged.name,
            "episode": episode,
            "kpi": watched.stored.document.kpi,
            "metric": watched.metric,
            "pillar": watched.kpi.as_ref().map_or("", |kpi| kpi.document.pillar.as_str()),
            "action": decision.action,
            "automation": decision.automation,
            "value": newest.and_then(|newest| newest.value),
        }),
    })
}
