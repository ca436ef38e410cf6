//! The calls that store and fetch retention policies.

use northstar_client::Clients;
use northstar_domain::retention::RetentionSpec;
use northstar_ingestion::convert::{retention_policy_from_proto, retention_policy_to_proto};
use northstar_proto::ingestion::v1 as pb;

use super::kinds::unreadable;
use super::{Document, Kind, Mode, Spec, Summary};

pub(super) async fn apply(
    clients: &Clients,
    name: &str,
    etag: &str,
    spec: &RetentionSpec,
    mode: Mode,
) -> anyhow::Result<()> {
    let mut policy = retention_policy_to_proto(name, spec);
    policy.etag = etag.to_owned();
    let request = pb::ApplyRetentionPolicyRequest {
        retention_policy: Some(policy),
        validate_only: mode == Mode::Check,
        request_id: uuid::Uuid::new_v4().to_string(),
    };
    clients.retention().apply_retention_policy(request).await?;
    Ok(())
}

pub(super) async fn get(clients: &Clients, name: &str) -> anyhow::Result<Document> {
    let request = pb::GetRetentionPolicyRequest { name: name.to_owned() };
    let response = clients.retention().get_retention_policy(request).await?.into_inner();
    document(&response.retention_policy.unwrap_or_default())
}

pub(super) async fn list(clients: &Clients) -> anyhow::Result<Vec<Document>> {
    let request = pb::ListRetentionPoliciesRequest {};
    let found = clients.retention().list_retention_policies(request).await?.into_inner();
    found.retention_policies.iter().map(document).collect()
}

fn document(policy: &pb::RetentionPolicy) -> anyhow::Result<Document> {
    let (name, spec) = retention_policy_from_proto(policy).map_err(unreadable)?;
    let spec = Spec::RetentionPolicy(spec);
    Ok(Document {
        kind: Kind::RetentionPolicy,
        place: format!("{} {name}", Kind::RetentionPolicy),
        name,
        etag: policy.etag.clone(),
        summary: Summary { owner: spec.owner(), state: String::new() },
        spec,
    })
}
