//! What is in the log, as a test wants to compare it.

use northstar_client::Clients;
use northstar_proto::ingestion::v1 as pb;
use pb::value::Kind;
use serde_json::{Map, Value as Json, json};

/// Every event of the clients' project, in the order of the log.
///
/// # Panics
/// When the log cannot be read.
pub async fn events(clients: &Clients) -> Vec<pb::LoggedEvent> {
    let mut ingestion = clients.ingestion();
    let sources = ingestion.list_sources(pb::ListSourcesRequest {}).await.expect("sources");
    let end = sources.into_inner().log_position;
    let mut found = Vec::new();
    if end == 0 {
        return found;
    }
    // A group of its own, so that every reading begins at the beginning.
    let group = uuid::Uuid::now_v7().to_string();
    let request = pb::SubscribeRequest { group, ..pb::SubscribeRequest::default() };
    let mut responses = ingestion.subscribe(request).await.expect("a subscription").into_inner();
    while let Some(response) = responses.message().await.expect("the log is read") {
        found.extend(response.events);
        if response.position >= end {
            break;
        }
    }
    found
}

/// The event as JSON: what is not set is absent, times are RFC 3339.
pub fn to_json(event: &pb::Event) -> Json {
    let mut told = Map::new();
    for (name, text) in [
        ("message_id", &event.message_id),
        ("name", &event.name),
        ("user_id", &event.user_id),
        ("anonymous_id", &event.anonymous_id),
        ("account_id", &event.account_id),
    ] {
        if !text.is_empty() {
            told.insert(name.to_owned(), text.as_str().into());
        }
    }
    for (name, time) in [("occurred_time", &event.occurred_time), ("sent_time", &event.sent_time)] {
        if let Some(time) = time {
            told.insert(name.to_owned(), time.to_string().into());
        }
    }
    let properties = event.properties.iter().map(|(name, value)| (name.clone(), json_of(value)));
    told.insert("properties".to_owned(), Json::Object(properties.collect()));
    Json::Object(told)
}

fn json_of(value: &pb::Value) -> Json {
    match &value.kind {
        None => Json::Null,
        Some(Kind::StringValue(text)) => json!(text),
        Some(Kind::IntValue(integer)) => json!(integer),
        Some(Kind::DoubleValue(double)) => json!(double),
        Some(Kind::BoolValue(value)) => json!(value),
        Some(Kind::ListValue(list)) => list.values.iter().map(json_of).collect(),
        Some(Kind::StructValue(object)) => Json::Object(
            object.fields.iter().map(|(name, value)| (name.clone(), json_of(value))).collect(),
        ),
    }
}
