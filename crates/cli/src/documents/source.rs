//! The calls that store and fetch source documents.

use northstar_client::Clients;
use northstar_domain::source::SourceSpec;
use northstar_ingestion::convert::{source_definition_from_proto, source_definition_to_proto};
use northstar_proto::ingestion::v1 as pb;

use super::kinds::unreadable;
use super::{Document, Kind, Mode, Spec, Summary};

pub(super) async fn apply(
    clients: &Clients,
    name: &str,
    etag: &str,
    spec: &SourceSpec,
    mode: Mode,
) -> anyhow::Result<()> {
    let mut source = source_definition_to_proto(name, spec);
    source.etag = etag.to_owned();
    let request = pb::ApplySourceRequest {
        source: Some(source),
        validate_only: mode == Mode::Check,
        request_id: uuid::Uuid::new_v4().to_string(),
    };
    clients.sources().apply_source(request).await?;
    Ok(())
}

pub(super) async fn get(clients: &Clients, name: &str) -> anyhow::Result<Document> {
    let request = pb::GetSourceRequest { name: name.to_owned() };
    let response = clients.sources().get_source(request).await?.into_inner();
    document(&response.source.unwrap_or_default())
}

pub(super) async fn list(clients: &Clients) -> anyhow::Result<Vec<Document>> {
    let mut documents = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = pb::ListSourceDefinitionsRequest { page_size: 1000, page_token };
        let page = clients.sources().list_source_definitions(request).await?.into_inner();
        for source in &page.sources {
            documents.push(document(source)?);
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(documents);
        }
    }
}

fn document(source: &pb::SourceDefinition) -> anyhow::Result<Document> {
    let (name, spec) = source_definition_from_proto(source).map_err(unreadable)?;
    let spec = Spec::Source(spec);
    Ok(Document {
        kind: Kind::Source,
        place: format!("{} {name}", Kind::Source),
        name,
        etag: source.etag.clone(),
        summary: Summary { owner: spec.owner(), state: String::new() },
        spec,
    })
}
