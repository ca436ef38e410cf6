//! From a message of the tracking API to an event; the rules are in the
//! README under "Segment".

use northstar_domain::event::Reason;
use northstar_proto::ingestion::v1 as pb;
use serde_json::{Map, Value as Json};
use uuid::Uuid;

use super::MAX_EVENT_BYTES;
use crate::arrivals::{Misfit, content_id};
use crate::convert::properties_to_proto;
use crate::doors::time::time;
use crate::doors::{Message, id};

type Object = Map<String, Json>;

/// What a message is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Track,
    Identify,
    Page,
    Screen,
    Group,
    Alias,
}

impl Kind {
    /// Every kind, and the routes that take one message of it.
    pub(super) const ROUTES: [(Self, [&'static str; 2]); 6] = [
        (Self::Track, ["/v1/track", "/v1/t"]),
        (Self::Identify, ["/v1/identify", "/v1/i"]),
        (Self::Page, ["/v1/page", "/v1/p"]),
        (Self::Screen, ["/v1/screen", "/v1/s"]),
        (Self::Group, ["/v1/group", "/v1/g"]),
        (Self::Alias, ["/v1/alias", "/v1/a"]),
    ];

    /// Every kind with the route of its image.
    pub(super) const PIXELS: [(Self, &'static str); 6] = [
        (Self::Track, "/v1/pixel/track"),
        (Self::Identify, "/v1/pixel/identify"),
        (Self::Page, "/v1/pixel/page"),
        (Self::Screen, "/v1/pixel/screen"),
        (Self::Group, "/v1/pixel/group"),
        (Self::Alias, "/v1/pixel/alias"),
    ];

    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "track" => Self::Track,
            "identify" => Self::Identify,
            "page" => Self::Page,
            "screen" => Self::Screen,
            "group" => Self::Group,
            "alias" => Self::Alias,
            _ => return None,
        })
    }

    /// The name of its events; a `track` names itself.
    fn name(self) -> &'static str {
        match self {
            Self::Track => "track",
            Self::Identify => "identify",
            Self::Page => "page",
            Self::Screen => "screen",
            Self::Group => "group",
            Self::Alias => "alias",
        }
    }
}

/// What a batch says for each of its messages.
#[derive(Default)]
pub(super) struct Envelope {
    /// Holds where a message's own context says nothing.
    pub(super) context: Object,
    /// The same for integrations.
    pub(super) integrations: Object,
    /// When the batch was sent.
    pub(super) sent_at: Option<Json>,
    /// Whether the messages are of long ago, so that nothing follows from when
    /// they are sent.
    pub(super) historical: bool,
}

/// Reads a message. On a route of its own its kind is known; in a batch its
/// `type` says it.
pub(super) fn read(raw: &str, kind: Option<Kind>, envelope: &Envelope) -> Message {
    let event = if raw.len() > MAX_EVENT_BYTES {
        let message = format!("{} bytes long; at most {MAX_EVENT_BYTES} are taken", raw.len());
        Err(Misfit::new(Reason::TooLong.as_str(), "", message))
    } else {
        parse(raw).and_then(|mut object| {
            // First, so that quarantine knows a message by its own id.
            let message_id = id("messageId", object.remove("messageId"))?;
            map(raw, object, kind, envelope, &message_id)
                .map_err(|misfit| Misfit { message_id, ..misfit })
        })
    };
    Message { raw: raw.as_bytes().to_vec(), event }
}

fn parse(raw: &str) -> Result<Object, Misfit> {
    match serde_json::from_str(raw) {
        Ok(Json::Object(object)) => Ok(object),
        Ok(_) => Err(Misfit::new("not_an_object", "", "a message is a JSON object")),
        // It is JSON, or the request would have been refused: too deep, or a
        // number beyond those of a double.
        Err(error) => Err(Misfit::new("invalid_json", "", error.to_string())),
    }
}

fn map(
    raw: &str,
    mut message: Object,
    kind: Option<Kind>,
    envelope: &Envelope,
    message_id: &str,
) -> Result<pb::Event, Misfit> {
    let kind = match kind {
        Some(kind) => kind,
        None => message
            .get("type")
            .and_then(Json::as_str)
            .and_then(Kind::parse)
            .ok_or_else(unknown_type)?,
    };
    let mut context = object("context", message.remove("context"))?;
    inherit(&mut context, &envelope.context);
    let mut integrations = object("integrations", message.remove("integrations"))?;
    inherit(&mut integrations, &envelope.integrations);
    if let Some(channel) = message.remove("channel") {
        context.entry("channel").or_insert(channel);
    }

    let user_id = id("userId", message.remove("userId"))?;
    let mut anonymous_id = id("anonymousId", message.remove("anonymousId"))?;
    let mut properties = match kind {
        Kind::Track | Kind::Page | Kind::Screen => {
            let properties = object("properties", message.remove("properties"))?;
            with(properties, "traits", message.remove("traits"))
        }
        Kind::Identify | Kind::Group => {
            let traits = match message.remove("traits") {
                // Where RudderStack's SDKs have them.
                None if kind == Kind::Identify => context.get("traits").cloned(),
                traits => traits,
            };
            let traits = object("traits", traits)?;
            with(traits, "properties", message.remove("properties"))
        }
        Kind::Alias => Object::new(),
    };
    let mut name = kind.name().to_owned();
    let mut account_id = String::new();
    match kind {
        Kind::Track => {
            name = match message.remove("event") {
                Some(Json::String(name)) if !name.is_empty() => name,
                _ => {
                    return Err(Misfit::new(
                        Reason::MissingName.as_str(),
                        "event",
                        "a track message needs the name of its event",
                    ));
                }
            };
        }
        Kind::Page | Kind::Screen => {
            for field in ["name", "category"] {
                properties = with(properties, field, message.remove(field));
            }
        }
        Kind::Group => account_id = id("groupId", message.remove("groupId"))?,
        Kind::Alias => {
            // Whoever was known by the previous id is this user. Without one,
            // the anonymous id is meant.
            let previous_id = id("previousId", message.remove("previousId"))?;
            if !previous_id.is_empty() {
                properties.insert("previousId".to_owned(), previous_id.as_str().into());
                anonymous_id = previous_id;
            }
        }
        Kind::Identify => {}
    }
    if account_id.is_empty() {
        account_id = id("context.groupId", context.get("groupId").cloned())?;
    }
    if user_id.is_empty() && anonymous_id.is_empty() {
        return Err(Misfit::new(
            Reason::MissingActor.as_str(),
            "userId",
            "a message needs a userId or an anonymousId",
        ));
    }
    let (occurred_time, explicit) = occurred(&message)?;
    // A clock that cannot be read cannot be corrected either.
    let sent_at = message.get("sentAt").or(envelope.sent_at.as_ref());
    let sent_time = match explicit || envelope.historical {
        true => None,
        false => time("sentAt", sent_at).unwrap_or_default(),
    };
    let consent = consent(&context)?;
    let message_id = match message_id {
        // What says when it happened is one fact, however often it comes;
        // what does not may happen again.
        "" if occurred_time.is_some() => content_id(raw.as_bytes()),
        "" => Uuid::now_v7().to_string(),
        own => own.to_owned(),
    };
    properties = beside(properties, "context", context);
    properties = beside(properties, "integrations", integrations);
    Ok(pb::Event {
        message_id,
        name,
        user_id,
        anonymous_id,
        account_id,
        occurred_time,
        sent_time,
        consent,
        properties: properties_to_proto(properties),
        ..pb::Event::default()
    })
}

/// When it happened, and whether that is said to be right already.
/// `originalTimestamp` is the device's clock; a `timestamp` beside it that
/// differs was set by somebody who knew better.
fn occurred(message: &Object) -> Result<(Option<prost_types::Timestamp>, bool), Misfit> {
    let timestamp = time("timestamp", message.get("timestamp"))?;
    let original = time("originalTimestamp", message.get("originalTimestamp"))?;
    let explicit = original.is_some() && timestamp.is_some() && original != timestamp;
    Ok((timestamp.or(original), explicit))
}

/// What the actor agreed to, as Segment's or RudderStack's consent managers
/// write it; `None` when neither is there. What cannot be read is a fault,
/// because an event without its consent would count as one that was not asked.
fn consent(context: &Object) -> Result<Option<pb::Consent>, Misfit> {
    let misfit =
        |field: &str, problem: &str| Misfit::new(Reason::InvalidConsent.as_str(), field, problem);
    let mut consent = pb::Consent::default();
    match context.get("consent").and_then(|consent| consent.get("categoryPreferences")) {
        None | Some(Json::Null) => {}
        Some(Json::Object(preferences)) => {
            for (category, agreed) in preferences {
                let side = match agreed {
                    Json::Bool(true) => &mut consent.granted_purposes,
                    Json::Bool(false) => &mut consent.denied_purposes,
                    _ => {
                        let field = format!("context.consent.categoryPreferences.{category}");
                        return Err(misfit(&field, "must be true or false"));
                    }
                };
                side.push(category.clone());
            }
        }
        Some(_) => {
            return Err(misfit("context.consent.categoryPreferences", "must be an object"));
        }
    }
    if let Some(managed) = context.get("consentManagement") {
        for (name, side) in [
            ("allowedConsentIds", &mut consent.granted_purposes),
            ("deniedConsentIds", &mut consent.denied_purposes),
        ] {
            match managed.get(name) {
                // Some consent managers write an empty object for an empty list.
                None | Some(Json::Null) => {}
                Some(Json::Object(none)) if none.is_empty() => {}
                Some(Json::Array(ids)) if ids.iter().all(Json::is_string) => {
                    side.extend(ids.iter().filter_map(Json::as_str).map(str::to_owned));
                }
                Some(_) => {
                    let field = format!("context.consentManagement.{name}");
                    return Err(misfit(&field, "must be a list of texts"));
                }
            }
        }
    }
    let said = !consent.granted_purposes.is_empty() || !consent.denied_purposes.is_empty();
    Ok(said.then_some(consent))
}

fn unknown_type() -> Misfit {
    Misfit::new("unknown_type", "type", "must be track, identify, page, screen, group or alias")
}

fn object(field: &'static str, value: Option<Json>) -> Result<Object, Misfit> {
    match value {
        None | Some(Json::Null) => Ok(Object::new()),
        Some(Json::Object(object)) => Ok(object),
        Some(_) => Err(Misfit::new("invalid_type", field, "must be an object")),
    }
}

/// Fills in what is not there.
fn inherit(own: &mut Object, common: &Object) {
    for (name, value) in common {
        own.entry(name).or_insert_with(|| value.clone());
    }
}

/// Adds a property that the message has elsewhere, unless it has one of that
/// name or nothing to say.
fn with(mut properties: Object, name: &str, value: Option<Json>) -> Object {
    let empty = match &value {
        None | Some(Json::Null) => true,
        Some(Json::Object(object)) => object.is_empty(),
        Some(_) => false,
    };
    if let Some(value) = value
        && !empty
    {
        properties.entry(name).or_insert(value);
    }
    properties
}

/// Adds what surrounds a message. A property of that name is the producer's
/// own and stays; then it goes by a name with a dollar sign.
fn beside(mut properties: Object, name: &str, object: Object) -> Object {
    if object.is_empty() {
        return properties;
    }
    let name = if properties.contains_key(name) { format!("${name}") } else { name.to_owned() };
    properties.insert(name, Json::Object(object));
    properties
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn event(message: &Json) -> pb::Event {
        read(&message.to_string(), None, &Envelope::default()).event.expect("an event")
    }

    #[test]
    fn a_time_that_somebody_set_is_not_corrected() {
        let message = |timestamp: &str| {
            json!({
                "type": "track", "event": "a", "userId": 7, "sentAt": "2026-03-01T12:00:09Z",
                "originalTimestamp": "2026-03-01T12:00:00Z", "timestamp": timestamp,
            })
        };
        let set = event(&message("2026-02-01T00:00:00Z"));
        assert_eq!(set.occurred_time.unwrap().to_string(), "2026-02-01T00:00:00Z");
        assert_eq!(set.sent_time, None);
        let same = event(&message("2026-03-01T12:00:00.000+00:00"));
        assert_eq!(same.sent_time.unwrap().to_string(), "2026-03-01T12:00:09Z");
        assert_eq!(same.user_id, "7");
    }

    #[test]
    fn an_alias_links_the_previous_id_or_else_the_anonymous_one() {
        let alias = |more: Json| {
            let mut message = json!({"type": "alias", "userId": "u", "anonymousId": "a"});
            inherit(message.as_object_mut().unwrap(), more.as_object().unwrap());
            event(&message).anonymous_id
        };
        assert_eq!(alias(json!({"previousId": "before"})), "before");
        assert_eq!(alias(json!({})), "a");
    }

    #[test]
    fn consent_is_read_as_either_manager_writes_it() {
        let said = |context: Json| {
            let message = json!({"type": "track", "event": "a", "userId": "u", "context": context});
            read(&message.to_string(), None, &Envelope::default())
                .event
                .map(|event| event.consent.map(|c| (c.granted_purposes, c.denied_purposes)))
                .map_err(|misfit| (misfit.reason, misfit.field))
        };
        let both = Ok(Some((vec!["analytics".to_owned()], vec!["ads".to_owned()])));
        let of_segment = json!({"categoryPreferences": {"analytics": true, "ads": false}});
        assert_eq!(said(json!({"consent": of_segment})), both);
        let of_rudderstack = json!({"provider": "custom", "allowedConsentIds": ["analytics"], "deniedConsentIds": ["ads"]});
        assert_eq!(said(json!({"consentManagement": of_rudderstack})), both);
        assert_eq!(said(json!({})), Ok(None));
        for (context, field) in [
            (
                json!({"consent": {"categoryPreferences": {"ads": "no"}}}),
                "context.consent.categoryPreferences.ads",
            ),
            (
                json!({"consent": {"categoryPreferences": ["ads"]}}),
                "context.consent.categoryPreferences",
            ),
            (
                json!({"consentManagement": {"deniedConsentIds": "ads"}}),
                "context.consentManagement.deniedConsentIds",
            ),
        ] {
            assert_eq!(said(context), Err(("invalid_consent".into(), field.to_owned())));
        }
    }

    /// Any JSON, with the words of the protocol where they hurt.
    fn any_json() -> impl Strategy<Value = Json> {
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::from),
            any::<i64>().prop_map(Json::from),
            any::<f64>().prop_map(Json::from),
            ".{0,20}".prop_map(Json::from),
            prop_oneof![Just("track"), Just("alias"), Just("2026-03-01T12:00:00Z"), Just("\0")]
                .prop_map(Json::from),
        ];
        let words = prop_oneof![
            prop_oneof![
                Just("type"),
                Just("event"),
                Just("userId"),
                Just("anonymousId"),
                Just("messageId"),
                Just("context"),
                Just("integrations"),
                Just("properties"),
                Just("traits"),
                Just("timestamp"),
                Just("originalTimestamp"),
                Just("sentAt"),
                Just("groupId"),
                Just("previousId"),
                Just("channel"),
                Just("name"),
            ]
            .prop_map(str::to_owned),
            ".{0,8}",
        ];
        leaf.prop_recursive(4, 60, 12, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
                prop::collection::hash_map(words.clone(), inner, 0..12)
                    .prop_map(|fields| Json::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_comes_is_an_event_or_says_why_it_is_none(message in any_json()) {
            let raw = message.to_string();
            match read(&raw, None, &Envelope::default()).event {
                Ok(event) => {
                    prop_assert!(!event.message_id.is_empty());
                    prop_assert!(!event.name.is_empty());
                    prop_assert!(!(event.user_id.is_empty() && event.anonymous_id.is_empty()));
                }
                Err(misfit) => prop_assert!(!misfit.message.is_empty()),
            }
        }

        #[test]
        fn a_known_kind_reads_whatever_comes(message in any_json()) {
            let raw = message.to_string();
            for (kind, _) in Kind::ROUTES {
                let _ = read(&raw, Some(kind), &Envelope::default());
            }
        }
    }
}
