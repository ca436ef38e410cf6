//! Webhook sources.

use northstar_domain::webhook::{Mapping, Signature, WebhookSourceSpec};
use northstar_domain::{ResourceName, Violation};
use northstar_proto::ingestion::v1 as pb;

/// Most bytes of a signature's and of a mapping's JSON text.
const MAX_DOCUMENT_BYTES: usize = 64 * 1024;

/// A webhook source as people write it, from the wire.
///
/// # Errors
/// Everything that is wrong with it.
pub fn webhook_source_from_proto(
    source: &pb::WebhookSource,
) -> Result<(String, WebhookSourceSpec), Vec<Violation>> {
    let mut violations = Vec::new();
    if let Err(error) = source.name.parse::<ResourceName>() {
        violations.push(Violation::new("name", error.to_string()));
    }
    let signature: Option<Signature> =
        read("signature_json", &source.signature_json, &mut violations);
    let mapping: Option<Mapping> = read("mapping_json", &source.mapping_json, &mut violations);
    let (Some(signature), Some(mapping)) = (signature, mapping) else { return Err(violations) };
    let spec = WebhookSourceSpec {
        owner: source.owner.clone(),
        description: source.description.clone(),
        signature,
        mapping,
    };
    violations.extend(spec.violations());
    if violations.is_empty() { Ok((source.name.clone(), spec)) } else { Err(violations) }
}

fn read<T: serde::de::DeserializeOwned>(
    field: &'static str,
    json: &str,
    violations: &mut Vec<Violation>,
) -> Option<T> {
    if json.len() > MAX_DOCUMENT_BYTES {
        let problem = format!("{} bytes; at most {MAX_DOCUMENT_BYTES}", json.len());
        violations.push(Violation::new(field, problem));
        return None;
    }
    serde_json::from_str(json)
        .map_err(|error| violations.push(Violation::new(field, error.to_string())))
        .ok()
}

/// A webhook source for the wire, without what only the store knows: etag, times
/// and secret.
pub fn webhook_source_to_proto(name: &str, spec: &WebhookSourceSpec) -> pb::WebhookSource {
    let json = |value: serde_json::Result<String>| value.expect("a document serialises");
    pb::WebhookSource {
        name: name.to_owned(),
        owner: spec.owner.clone(),
        description: spec.description.clone(),
        signature_json: json(serde_json::to_string(&spec.signature)),
        mapping_json: json(serde_json::to_string(&spec.mapping)),
        ..pb::WebhookSource::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_source_reads_back_from_the_wire() {
        let source = pb::WebhookSource {
            name: "tickets".to_owned(),
            owner: "support".to_owned(),
            description: "Tickets".to_owned(),
            signature_json: r#"{"scheme":"zendesk"}"#.to_owned(),
            mapping_json: r#"{"rules":[{"event":{"value":"T"},"message_id":"/id","user_id":"/u","occurred_time":"/t"}]}"#.to_owned(),
            ..pb::WebhookSource::default()
        };
        let (name, spec) = webhook_source_from_proto(&source).unwrap();
        assert_eq!(webhook_source_to_proto(&name, &spec), source);
    }

    #[test]
    fn every_fault_of_a_webhook_source_is_told() {
        let fields = |source: &pb::WebhookSource| -> Vec<String> {
            webhook_source_from_proto(source).unwrap_err().into_iter().map(|v| v.field).collect()
        };
        let empty = pb::WebhookSource::default();
        assert_eq!(fields(&empty), ["name", "signature_json", "mapping_json"]);
        let long = pb::WebhookSource {
            name: "a".to_owned(),
            signature_json: r#"{"scheme":"rot13"}"#.to_owned(),
            mapping_json: " ".repeat(MAX_DOCUMENT_BYTES + 1),
            ..pb::WebhookSource::default()
        };
        assert_eq!(fields(&long), ["signature_json", "mapping_json"]);
    }
}
