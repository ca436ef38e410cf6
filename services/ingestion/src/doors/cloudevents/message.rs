//! From a CloudEvent to an event; the rules are in the README under
//! "CloudEvents".

use northstar_domain::event::MAX_ID_BYTES;
use northstar_proto::ingestion::v1 as pb;
use serde_json::{Map, Value as Json};

use crate::arrivals::{Misfit, content_id};
use crate::convert::properties_to_proto;
use crate::doors::Message;
use crate::doors::time::time;

/// The version of the specification that is read.
const SPEC_VERSION: &str = "1.0";
/// Property that holds the attributes.
const ATTRIBUTES: &str = "cloudevent";

/// Reads an event in JSON.
pub(super) fn read(raw: &str) -> Message {
    let event = match serde_json::from_str(raw) {
        Ok(Json::Object(object)) => map(object),
        Ok(_) => Err(Misfit::new("not_an_object", "", "a CloudEvent is a JSON object")),
        // It is JSON, or the request would have been refused: too deep, or a
        // number beyond those of a double.
        Err(error) => Err(Misfit::new("invalid_json", "", error.to_string())),
    };
    Message { raw: raw.as_bytes().to_vec(), event }
}

/// Maps an event whose attributes are all in one object, as JSON has them.
pub(super) fn map(mut attributes: Map<String, Json>) -> Result<pb::Event, Misfit> {
    let data = attributes.remove("data");
    let base64 = attributes.remove("data_base64");
    // Null is how JSON writes an attribute that is not there.
    attributes.retain(|_, value| !value.is_null());
    let event_id = required(&attributes, "id")?;
    let misfit = |fault: Misfit| Misfit { message_id: event_id.clone(), ..fault };
    let source = required(&attributes, "source").map_err(misfit)?;
    let name = required(&attributes, "type").map_err(misfit)?;
    let version = required(&attributes, "specversion").map_err(misfit)?;
    if version != SPEC_VERSION {
        let message = format!("version {version} is not read, only {SPEC_VERSION}");
        return Err(misfit(Misfit::new("invalid_cloudevent", "specversion", message)));
    }
    // https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md#31-handling-of-data
    if data.is_some() && base64.is_some() {
        let message = "an event has data or data_base64, not both";
        return Err(misfit(Misfit::new("invalid_cloudevent", "data_base64", message)));
    }
    let text = |name: &str| attributes.get(name).and_then(Json::as_str).unwrap_or_default();
    let user_id = match text("userid") {
        "" => text("subject").to_owned(),
        user_id => user_id.to_owned(),
    };
    let anonymous_id = match text("anonymousid") {
        // Of nobody in particular: the system that tells of it is the actor.
        "" if user_id.is_empty() => source.clone(),
        anonymous_id => anonymous_id.to_owned(),
    };
    let account_id = text("accountid").to_owned();
    // The extension "sequence" is a text that need not be a number.
    let sequence = text("sequence").parse().unwrap_or_default();
    let occurred_time = time("time", attributes.get("time")).map_err(misfit)?;
    let message_id = message_id(&event_id, &source);

    let mut properties = match data {
        Some(Json::Object(data)) => data,
        None | Some(Json::Null) => Map::new(),
        Some(data) => Map::from_iter([("data".to_owned(), data)]),
    };
    if let Some(base64) = base64 {
        properties.insert("data_base64".to_owned(), base64);
    }
    for told in ["type", "specversion", "time"] {
        attributes.remove(told);
    }
    let key = if properties.contains_key(ATTRIBUTES) {
        format!("${ATTRIBUTES}")
    } else {
        ATTRIBUTES.to_owned()
    };
    properties.insert(key, Json::Object(attributes));
    Ok(pb::Event {
        message_id,
        name,
        user_id,
        anonymous_id,
        account_id,
        occurred_time,
        sequence,
        properties: properties_to_proto(properties),
        ..pb::Event::default()
    })
}

fn required(attributes: &Map<String, Json>, name: &'static str) -> Result<String, Misfit> {
    match attributes.get(name) {
        Some(Json::String(text)) if !text.is_empty() => Ok(text.clone()),
        _ => Err(Misfit::new(
            "invalid_cloudevent",
            name,
            "a CloudEvent needs this attribute, as a text that is not empty",
        )),
    }
}

/// An id is unique within its source only. A source is a URI reference and so
/// holds no blank, which tells where the id ends.
fn message_id(id: &str, source: &str) -> String {
    let both = format!("{id} {source}");
    if both.len() <= MAX_ID_BYTES { both } else { content_id(both.as_bytes()) }
}

/// Whether data of this content type is JSON.
pub(super) fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let subtype = essence.split_once('/').map_or("", |(_, subtype)| subtype);
    subtype == "json" || subtype.ends_with("+json")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn event(more: &Json) -> pb::Event {
        let mut event = json!({"specversion": "1.0", "id": "1", "source": "/s", "type": "t"});
        for (name, value) in more.as_object().unwrap() {
            event[name] = value.clone();
        }
        read(&event.to_string()).event.expect("an event")
    }

    #[test]
    fn an_event_is_of_its_subject_unless_it_says_of_whom() {
        let who = |more: Json| {
            let event = event(&more);
            (event.user_id, event.anonymous_id)
        };
        assert_eq!(who(json!({"subject": "u"})), ("u".to_owned(), String::new()));
        assert_eq!(who(json!({"subject": "o-1", "userid": "u"})), ("u".to_owned(), String::new()));
        assert_eq!(who(json!({"anonymousid": "a"})), (String::new(), "a".to_owned()));
        assert_eq!(who(json!({})), (String::new(), "/s".to_owned()));
    }

    #[test]
    fn the_same_id_of_another_source_is_another_event() {
        let id = |source: &str| event(&json!({"source": source})).message_id;
        assert_eq!(id("/s"), "1 /s");
        assert_ne!(id("/s"), id("/t"));
        let long = |end: &str| id(&format!("/{}{end}", "x".repeat(300)));
        assert_eq!(long("a").len(), 32);
        assert_ne!(long("a"), long("b"));
    }

    #[test]
    fn an_event_has_data_in_one_form() {
        let event = json!({"specversion": "1.0", "id": "1", "source": "/s", "type": "t",
            "data": {}, "data_base64": "AA=="});
        let misfit = read(&event.to_string()).event.unwrap_err();
        assert_eq!((&*misfit.reason, &*misfit.field), ("invalid_cloudevent", "data_base64"));
        assert_eq!(misfit.message_id, "1");
    }

    proptest! {
        #[test]
        fn whatever_comes_is_an_event_or_says_why_it_is_none(
            fields in prop::collection::vec(
                (
                    prop_oneof![
                        prop_oneof![
                            Just("specversion"), Just("id"), Just("source"), Just("type"),
                            Just("time"), Just("subject"), Just("data"), Just("data_base64"),
                        ].prop_map(str::to_owned),
                        ".{0,8}",
                    ],
                    prop_oneof![
                        Just(json!(null)), Just(json!("1.0")), Just(json!("\0")), Just(json!([1])),
                        Just(json!({"a": {}})), any::<f64>().prop_map(Json::from),
                        ".{0,12}".prop_map(Json::from),
                    ],
                ),
                0..12,
            )
        ) {
            let raw = Json::Object(fields.into_iter().collect()).to_string();
            match read(&raw).event {
                Ok(event) => {
                    prop_assert!(!event.message_id.is_empty() && !event.name.is_empty());
                    prop_assert!(!(event.user_id.is_empty() && event.anonymous_id.is_empty()));
                }
                Err(misfit) => prop_assert!(!misfit.message.is_empty()),
            }
        }
    }
}
