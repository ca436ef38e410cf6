//! The binary content mode: attributes in headers, data in the body.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderMap, header};
use percent_encoding::percent_decode;
use serde_json::{Map, Value as Json};

use super::message::{is_json, map};
use crate::arrivals::Misfit;
use crate::doors::Message;

/// Reads one event. What quarantine would keep is the same event in the
/// structured mode, because headers and body have no other common form.
pub(super) fn read(headers: &HeaderMap, body: &[u8]) -> Message {
    let mut object = Map::new();
    let mut faults = Vec::new();
    for (name, value) in headers {
        let Some(name) = name.as_str().strip_prefix("ce-") else { continue };
        match percent_decode(value.as_bytes()).decode_utf8() {
            Ok(text) => {
                object.insert(name.to_owned(), Json::String(text.into_owned()));
            }
            Err(_) => {
                let field = format!("ce-{name}");
                faults.push(Misfit::new("invalid_utf8", field, "is not UTF-8"));
            }
        }
    }
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if let Some(content_type) = content_type {
        object.insert("datacontenttype".to_owned(), content_type.into());
    }
    if !body.is_empty() {
        let text = std::str::from_utf8(body).ok();
        let json = content_type.is_none_or(is_json);
        match text {
            Some(text) if json => match serde_json::from_str::<Json>(text) {
                Ok(data) => {
                    object.insert("data".to_owned(), data);
                }
                Err(error) => {
                    object.insert("data".to_owned(), text.into());
                    faults.push(Misfit::new("invalid_json", "data", error.to_string()));
                }
            },
            Some(text) if content_type.is_some_and(|name| name.starts_with("text/")) => {
                object.insert("data".to_owned(), text.into());
            }
            _ => {
                object.insert("data_base64".to_owned(), BASE64_STANDARD.encode(body).into());
            }
        }
    }
    let raw = Json::Object(object.clone()).to_string().into_bytes();
    let message_id = object.get("id").and_then(Json::as_str).unwrap_or_default().to_owned();
    let event = match faults.into_iter().next() {
        Some(fault) => Err(Misfit { message_id, ..fault }),
        None => map(object),
    };
    Message { raw, event }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_comes_is_an_event_or_says_why_it_is_none(
            attributes in prop::collection::vec(
                (
                    prop_oneof![
                        Just("ce-specversion"), Just("ce-id"), Just("ce-source"), Just("ce-type"),
                        Just("ce-time"), Just("ce-subject"), Just("ce-sequence"), Just("ce-x"),
                        Just("content-type"), Just("accept"),
                    ],
                    prop_oneof![
                        Just(b"1.0".to_vec()), Just(b"%ff".to_vec()), Just(b"%00".to_vec()),
                        Just(b"application/json".to_vec()), Just(b"text/plain".to_vec()),
                        prop::collection::vec(any::<u8>(), 0..12),
                    ],
                ),
                0..10,
            ),
            body in prop_oneof![
                Just(br#"{"a":1}"#.to_vec()), Just(b"[[[".to_vec()),
                prop::collection::vec(any::<u8>(), 0..40),
            ],
        ) {
            let mut headers = HeaderMap::new();
            for (name, value) in attributes {
                if let Ok(value) = HeaderValue::from_bytes(&value) {
                    headers.append(HeaderName::from_static(name), value);
                }
            }
            let message = read(&headers, &body);
            prop_assert!(serde_json::from_slice::<Json>(&message.raw).is_ok());
            match message.event {
                Ok(event) => prop_assert!(!event.message_id.is_empty() && !event.name.is_empty()),
                Err(misfit) => prop_assert!(!misfit.message.is_empty()),
            }
        }
    }
}
