//! The calls that store and fetch thresholds.

use northstar_client::Clients;
use northstar_domain::threshold::Threshold;
use northstar_metrics::convert::threshold::{from_proto, to_proto};
use northstar_proto::metrics::v1 as pb;

use super::kinds::unreadable;
use super::{Document, Kind, Mode, Spec, Summary};

pub(super) async fn apply(
    clients: &Clients,
    name: &str,
    etag: &str,
    spec: &Threshold,
    mode: Mode,
) -> anyhow::Result<()> {
    let request = pb::ApplyThresholdRequest {
        threshold: Some(to_proto(name, 0, etag, spec)),
        validate_only: mode == Mode::Check,
        request_id: uuid::Uuid::new_v4().to_string(),
    };
    clients.thresholds().apply_threshold(request).await?;
    Ok(())
}

pub(super) async fn get(clients: &Clients, name: &str) -> anyhow::Result<Document> {
    let request = pb::GetThresholdRequest { name: name.to_owned() };
    let response = clients.thresholds().get_threshold(request).await?.into_inner();
    document(response.status.unwrap_or_default())
}

pub(super) async fn list(clients: &Clients) -> anyhow::Result<Vec<Document>> {
    let mut documents = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = pb::ListThresholdsRequest { page_size: 1000, page_token };
        let page = clients.thresholds().list_thresholds(request).await?.into_inner();
        for status in page.statuses {
            documents.push(document(status)?);
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(documents);
        }
    }
}

fn document(status: pb::ThresholdStatus) -> anyhow::Result<Document> {
    let phase = status.state.unwrap_or_default().phase().as_str_name();
    let state = match status.paused {
        true => "paused".to_owned(),
        false => phase.trim_start_matches("THRESHOLD_PHASE_").to_ascii_lowercase(),
    };
    let received = from_proto(status.threshold.unwrap_or_default());
    if !received.violations.is_empty() {
        return Err(unreadable(received.violations));
    }
    let spec = Spec::Threshold(received.document);
    Ok(Document {
        kind: Kind::Threshold,
        place: format!("{} {}", Kind::Threshold, received.name),
        name: received.name,
        etag: received.etag,
        summary: Summary { owner: spec.owner(), state },
        spec,
    })
}
