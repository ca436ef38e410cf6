//! Webhook sources, which have a service of their own.

use northstar_client::Clients;
use northstar_domain::webhook::WebhookSourceSpec;
use northstar_ingestion::convert::{webhook_source_from_proto, webhook_source_to_proto};
use northstar_proto::ingestion::v1 as pb;

use super::kinds::unreadable;
use super::{Document, Kind, Mode, Spec, Summary};

pub(super) async fn apply(
    clients: &Clients,
    name: &str,
    etag: &str,
    spec: &WebhookSourceSpec,
    mode: Mode,
) -> anyhow::Result<()> {
    let source = pb::WebhookSource { etag: etag.to_owned(), ..webhook_source_to_proto(name, spec) };
    let request = pb::ApplyWebhookSourceRequest {
        webhook_source: Some(source),
        validate_only: mode == Mode::Check,
        request_id: uuid::Uuid::new_v4().to_string(),
    };
    clients.webhook_sources().apply_webhook_source(request).await?;
    Ok(())
}

pub(super) async fn get(clients: &Clients, name: &str) -> anyhow::Result<Document> {
    let request = pb::GetWebhookSourceRequest { name: name.to_owned() };
    let response = clients.webhook_sources().get_webhook_source(request).await?.into_inner();
    document(&response.webhook_source.unwrap_or_default())
}

pub(super) async fn list(clients: &Clients) -> anyhow::Result<Vec<Document>> {
    let mut documents = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = pb::ListWebhookSourcesRequest { page_size: 1000, page_token };
        let page = clients.webhook_sources().list_webhook_sources(request).await?.into_inner();
        for source in &page.webhook_sources {
            documents.push(document(source)?);
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(documents);
        }
    }
}

fn document(source: &pb::WebhookSource) -> anyhow::Result<Document> {
    let (name, spec) = webhook_source_from_proto(source).map_err(unreadable)?;
    let state = match (spec.signature.needs_secret(), source.has_secret) {
        (true, false) => "needs a secret",
        (true, true) | (false, _) => "ready",
    };
    let spec = Spec::WebhookSource(spec);
    let owner = spec.owner();
    Ok(Document {
        kind: Kind::WebhookSource,
        place: format!("{} {name}", Kind::WebhookSource),
        name,
        etag: source.etag.clone(),
        spec,
        summary: Summary { owner, state: state.to_owned() },
    })
}
