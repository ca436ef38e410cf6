//! The RPCs about webhook sources.

use chrono::TimeDelta;
use northstar_domain::event::check_text;
use northstar_domain::{ProjectId, Violation};
use northstar_proto::errors::v1::ErrorReason;
use northstar_proto::ingestion::v1 as pb;
use northstar_server::page::page_size;
use northstar_server::status::failure;
use northstar_server::{Caller, caller};
use northstar_store::ingestion::webhook_sources::{
    WebhookSource, begin_change, delete, find, list, save, set_secret,
};
use pb::webhook_sources_service_server::{WebhookSourcesService, WebhookSourcesServiceServer};
use tonic::{Request, Response, Status};

use super::{Webhooks, secrets};
use crate::change::{Begun, Change, check_etag};
use crate::convert::{time_to_proto, webhook_source_from_proto, webhook_source_to_proto};
use crate::error::Error;
use crate::sender::Sender;

const APPLY: &str = "/northstar.ingestion.v1.WebhookSourcesService/ApplyWebhookSource";
const DELETE: &str = "/northstar.ingestion.v1.WebhookSourcesService/DeleteWebhookSource";
const SET_SECRET: &str = "/northstar.ingestion.v1.WebhookSourcesService/SetWebhookSecret";

const KIND: &str = "WebhookSource";
/// Shortest and longest secret, in bytes.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 8..=500;
/// Longest time that the secret before is accepted.
const MAX_OVERLAP_SECONDS: i32 = 7 * 24 * 60 * 60;

/// The gRPC service.
pub(crate) fn server(webhooks: Webhooks) -> WebhookSourcesServiceServer<Webhooks> {
    WebhookSourcesServiceServer::new(webhooks)
}

#[tonic::async_trait]
impl WebhookSourcesService for Webhooks {
    async fn apply_webhook_source(
        &self,
        request: Request<pb::ApplyWebhookSourceRequest>,
    ) -> Result<Response<pb::ApplyWebhookSourceResponse>, Status> {
        let caller = caller(&request)?;
        let response = self.apply(&caller, request.into_inner()).await?;
        self.forget();
        Ok(Response::new(response))
    }

    async fn get_webhook_source(
        &self,
        request: Request<pb::GetWebhookSourceRequest>,
    ) -> Result<Response<pb::GetWebhookSourceResponse>, Status> {
        let project = caller(&request)?.project;
        let name = request.into_inner().name;
        let mut connection = self.ingestion.pool.acquire().await.map_err(unavailable)?;
        let found = find(&mut connection, project, &name).await.map_err(Error::from)?;
        let source = found.ok_or_else(|| not_found(&name))?;
        Ok(Response::new(pb::GetWebhookSourceResponse {
            webhook_source: Some(stored(project, &source)),
        }))
    }

    async fn list_webhook_sources(
        &self,
        request: Request<pb::ListWebhookSourcesRequest>,
    ) -> Result<Response<pb::ListWebhookSourcesResponse>, Status> {
        let project = caller(&request)?.project;
        let request = request.into_inner();
        let size = page_size(request.page_size)?;
        check_text("page_token", &request.page_token, 63)
            .map_err(|fault| Error::invalid("page_token", fault.message))?;
        let mut connection = self.ingestion.pool.acquire().await.map_err(unavailable)?;
        // A name is a page's end, and names are not secret.
        let found =
            list(&mut connection, project, &request.page_token, size).await.map_err(Error::from)?;
        let (page, more) = size.cut(found);
        let next_page_token = match page.last() {
            Some(last) if more => last.name.clone(),
            _ => String::new(),
        };
        let webhook_sources = page.iter().map(|source| stored(project, source)).collect();
        Ok(Response::new(pb::ListWebhookSourcesResponse { webhook_sources, next_page_token }))
    }

    async fn delete_webhook_source(
        &self,
        request: Request<pb::DeleteWebhookSourceRequest>,
    ) -> Result<Response<pb::DeleteWebhookSourceResponse>, Status> {
        let caller = caller(&request)?;
        let response = self.delete(&caller, request.into_inner()).await?;
        self.forget();
        Ok(Response::new(response))
    }

    async fn set_webhook_secret(
        &self,
        request: Request<pb::SetWebhookSecretRequest>,
    ) -> Result<Response<pb::SetWebhookSecretResponse>, Status> {
        let caller = caller(&request)?;
        let response = self.set_secret(&caller, request.into_inner()).await?;
        self.forget();
        Ok(Response::new(response))
    }
}

impl Webhooks {
    /// Begins what a call asks for.
    async fn begin<'a, R: prost::Message + Default>(
        &self,
        caller: &'a Caller,
        method: &'static str,
        request_id: &str,
        request: &impl prost::Message,
    ) -> Result<Begun<'a, R>, Error> {
        let now = self.ingestion.clock.now();
        Change::begin(&self.ingestion.pool, caller, method, request_id, request, now).await
    }

    async fn apply(
        &self,
        caller: &Caller,
        request: pb::ApplyWebhookSourceRequest,
    ) -> Result<pb::ApplyWebhookSourceResponse, Error> {
        let wanted = request
            .webhook_source
            .as_ref()
            .ok_or_else(|| Error::invalid("webhook_source", "is missing"))?;
        let (name, spec) = webhook_source_from_proto(wanted).map_err(|found| broken(&found))?;
        // Payloads come from elsewhere, whoever applies the document.
        Sender::signed(caller.project).check_source(&name)?;
        let (project, now) = (caller.project, self.ingestion.clock.now());
        let begun = self.begin(caller, APPLY, &request.request_id, &request).await?;
        let mut change = match begun {
            Begun::Answered(answer) => return Ok(answer),
            Begun::Open(change) => change,
        };
        begin_change(&mut change.transaction, project).await?;
        let before = find(&mut change.transaction, project, &name).await?;
        let current = before.as_ref().map(|before| &*before.etag);
        check_etag(KIND, &name, &wanted.etag, current)?;
        let etag = spec.etag();
        let response = match before {
            Some(same) if same.etag == etag => {
                pb::ApplyWebhookSourceResponse { webhook_source: Some(stored(project, &same)) }
            }
            before => {
                let secret_updated_at = before.as_ref().and_then(|known| known.secret_updated_at);
                let after = WebhookSource { name, spec, etag, updated_at: now, secret_updated_at };
                if !request.validate_only {
                    save(&mut change.transaction, project, &after).await?;
                    let detail = serde_json::json!({
                        "before": before.as_ref().map(|before| &before.spec),
                        "after": after.spec,
                    });
                    let resource = format!("webhook_sources/{}", after.name);
                    change.audit("webhook_source.apply", &resource, &detail).await?;
                }
                pb::ApplyWebhookSourceResponse { webhook_source: Some(stored(project, &after)) }
            }
        };
        if request.validate_only { Ok(response) } else { change.commit(response).await }
    }

    async fn delete(
        &self,
        caller: &Caller,
        request: pb::DeleteWebhookSourceRequest,
    ) -> Result<pb::DeleteWebhookSourceResponse, Error> {
        let project = caller.project;
        let begun = self.begin(caller, DELETE, &request.request_id, &request).await?;
        let mut change = match begun {
            Begun::Answered(answer) => return Ok(answer),
            Begun::Open(change) => change,
        };
        let name = request.name;
        begin_change(&mut change.transaction, project).await?;
        let before =
            find(&mut change.transaction, project, &name).await?.ok_or_else(|| not_found(&name))?;
        delete(&mut change.transaction, project, &name).await?;
        let detail = serde_json::json!({ "before": before.spec, "after": null });
        let resource = format!("webhook_sources/{name}");
        change.audit("webhook_source.delete", &resource, &detail).await?;
        change.commit(pb::DeleteWebhookSourceResponse {}).await
    }

    async fn set_secret(
        &self,
        caller: &Caller,
        request: pb::SetWebhookSecretRequest,
    ) -> Result<pb::SetWebhookSecretResponse, Error> {
        let printable = request.secret.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
        if !SECRET_BYTES.contains(&request.secret.len()) || !printable {
            return Err(Error::invalid("secret", "must be 8 to 500 visible ASCII characters"));
        }
        if !(0..=MAX_OVERLAP_SECONDS).contains(&request.keep_previous_seconds) {
            let problem = format!("must lie between 0 and {MAX_OVERLAP_SECONDS}");
            return Err(Error::invalid("keep_previous_seconds", problem));
        }
        let (project, now, name) = (caller.project, self.ingestion.clock.now(), &request.name);
        let begun = self.begin(caller, SET_SECRET, &request.request_id, &request).await?;
        let mut change = match begun {
            Begun::Answered(answer) => return Ok(answer),
            Begun::Open(change) => change,
        };
        begin_change(&mut change.transaction, project).await?;
        let before =
            find(&mut change.transaction, project, name).await?.ok_or_else(|| not_found(name))?;
        let previous_until = match request.keep_previous_seconds {
            0 => None,
            _ if before.secret_updated_at.is_none() => None,
            seconds => Some(now + TimeDelta::seconds(seconds.into())),
        };
        if self.sealing.is_none() {
            tracing::warn!(
                webhook.source = name,
                "NORTHSTAR_WEBHOOK_SEALING_KEY is not set; the secret is stored unsealed"
            );
        }
        let sealed = secrets::seal(self.sealing.as_ref(), project, name, &request.secret)
            .ok_or_else(no_randomness)?;
        set_secret(&mut change.transaction, project, name, &sealed, previous_until, now).await?;
        let detail = serde_json::json!({ "previous_until": previous_until });
        let resource = format!("webhook_sources/{name}");
        change.audit("webhook_source.set_secret", &resource, &detail).await?;
        let response = pb::SetWebhookSecretResponse {
            previous_until_time: previous_until.map(time_to_proto),
            path: path(project, name),
        };
        change.commit(response).await
    }
}

fn unavailable(error: sqlx::Error) -> Error {
    northstar_store::Error::from(error).into()
}

fn not_found(name: &str) -> Error {
    Error::NotFound { kind: KIND, name: name.to_owned() }
}

fn broken(violations: &[Violation]) -> Error {
    let text = "the webhook source breaks rules; see the violations";
    violations
        .iter()
        .fold(failure(ErrorReason::InvalidField, text), |failure, found| {
            failure.violation(format!("webhook_source.{}", found.field), &found.problem)
        })
        .into()
}

fn no_randomness() -> Error {
    tracing::error!("the system gives no random numbers to seal a secret with");
    failure(ErrorReason::Internal, "the call failed; the server's log says why").into()
}

/// Where payloads are sent to; a project's name would do, too.
fn path(project: ProjectId, name: &str) -> String {
    format!("/v1/webhooks/{project}/{name}")
}

/// A source as stored, for the wire.
fn stored(project: ProjectId, source: &WebhookSource) -> pb::WebhookSource {
    pb::WebhookSource {
        path: path(project, &source.name),
        etag: source.etag.clone(),
        update_time: Some(time_to_proto(source.updated_at)),
        has_secret: source.secret_updated_at.is_some(),
        secret_update_time: source.secret_updated_at.map(time_to_proto),
        ..webhook_source_to_proto(&source.name, &source.spec)
    }
}
