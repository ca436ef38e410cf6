//! What the log is told about experiments.

use chrono::{DateTime, Utc};
use northstar_domain::ProjectId;
use northstar_domain::experiment::Experiment;
use northstar_server::Caller;
use northstar_store::outbox::NewMessage;
use serde_json::json;

/// An experiment took a step: `started`, `stopped` or `concluded`. Each is taken
/// once, so that name and step make the message id.
pub(crate) fn step(
    caller: &Caller,
    experiment: &Experiment,
    step: &str,
    now: DateTime<Utc>,
) -> NewMessage {
    message(caller.project, &caller.principal, experiment, step, now)
}

fn message(
    project: ProjectId,
    actor: &str,
    experiment: &Experiment,
    step: &str,
    occurred_at: DateTime<Utc>,
) -> NewMessage {
    NewMessage {
        project,
        message_id: format!("experiment/{}/{step}", experiment.name),
        name: format!("northstar.experiment.{step}"),
        user_id: format!("principal:{actor}"),
        anonymous_id: String::new(),
        occurred_at,
        properties: json!({
            "experiment": experiment.name,
            "state": experiment.state.as_str(),
            "variant": experiment.shipped_variant,
        }),
    }
}
