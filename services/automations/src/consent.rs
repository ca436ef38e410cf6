//! Whether a run may act on its subject: asked right before it does, so that a
//! withdrawal holds for everything that has not been done yet.

use std::time::Duration;

use northstar_client::Clients;
use northstar_domain::identity::IdentifierKind;
use northstar_domain::run::Outcome;
use northstar_proto::ingestion::v1::{GetConsentRequest, Identifier};
use northstar_store::automations::LeasedRun;

const TIMEOUT: Duration = Duration::from_secs(10);

/// What becomes of a run that may not act; `None` when it may. A run without the
/// consent it needs waits in the dead letters, where it can be redriven when
/// there is one. When nobody can be asked, nothing is done and the run is tried
/// again.
pub(crate) async fn missing(clients: &Clients, run: &LeasedRun) -> Option<Outcome> {
    let kind = if run.anonymous { IdentifierKind::ANONYMOUS_ID } else { IdentifierKind::USER_ID };
    let identifier = Identifier { kind: kind.to_owned(), value: run.subject.clone() };
    let mut request = tonic::Request::new(GetConsentRequest { identifier: Some(identifier) });
    request.set_timeout(TIMEOUT);
    match clients.for_project(run.project.0).subjects().get_consent(request).await {
        Ok(response) if response.get_ref().may_act => None,
        Ok(_) => {
            Some(Outcome::Gone { error: "the subject has not consented to be acted on".to_owned() })
        }
        Err(status) => Some(Outcome::Failed {
            error: format!("ingestion does not tell of consent: {}", status.message()),
            retry_after: None,
        }),
    }
}
