//! From a payload to the fields of events.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use cel::common::types::{CelMap, CelString};
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;
use chrono::{DateTime, SubsecRound as _, Utc};
use serde_json::{Map, Value as Json};

use super::{MAX_ITEMS, Mapping, OccurredTime, Reading, Rule, TimeFormat};
use crate::expression::json;

/// Headers of a request, names in lower case.
pub type Headers = BTreeMap<String, String>;

/// What a rule read from an item. An empty id is one it did not find.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one at a time, and it is taken apart at once"
)]
pub enum Mapped {
    /// An event.
    Event {
        /// What happened.
        event: String,
        /// What tells a second delivery.
        message_id: String,
        /// Id of a known person.
        user_id: String,
        /// Id of somebody or something that is not known.
        anonymous_id: String,
        /// Id of the account.
        account_id: String,
        /// When it happened.
        occurred_at: DateTime<Utc>,
        /// The properties.
        properties: Map<String, Json>,
    },
    /// Nothing, as a rule says.
    Ignored,
}

/// Why an item is no event.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Unreadable {
    /// For machines, in `lower_snake_case`.
    pub reason: &'static str,
    /// The field that could not be read.
    pub field: String,
    /// One sentence for people.
    pub message: String,
}

impl Unreadable {
    fn new(reason: &'static str, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { reason, field: field.into(), message: message.into() }
    }
}

impl Mapping {
    /// The items of a payload.
    ///
    /// # Errors
    /// When there is no list where one should be, or it is too long.
    pub fn items<'a>(&self, body: &'a Json) -> Result<Vec<&'a Json>, Unreadable> {
        let Some(pointer) = &self.each else { return Ok(vec![body]) };
        let items = match body.pointer(pointer) {
            Some(Json::Array(items)) => items,
            Some(_) | None => {
                let message = format!("there is no list at {pointer:?}");
                return Err(Unreadable::new("missing_items", pointer, message));
            }
        };
        if items.len() > MAX_ITEMS {
            let message = format!("{} items; at most {MAX_ITEMS} are read", items.len());
            return Err(Unreadable::new("too_many_items", pointer, message));
        }
        Ok(items.iter().collect())
    }

    /// Reads an item of a payload.
    ///
    /// # Errors
    /// When no rule is for it, or the rule does not find what an event needs.
    pub fn read(&self, body: &Json, item: &Json, headers: &Headers) -> Result<Mapped, Unreadable> {
        let facts =
            Facts { body, item, headers, whole_body: OnceLock::new(), whole_item: OnceLock::new() };
        let rule =
            self.rules.iter().find(|rule| rule.when.0.holds_for(&facts)).ok_or_else(|| {
                Unreadable::new("no_rule_matches", "rules", "no rule of the source is for it")
            })?;
        if rule.ignore {
            return Ok(Mapped::Ignored);
        }
        let common = &self.common;
        let text = |field: &'static str, own: &Option<Reading>, common: &Option<Reading>| {
            let reading = own.as_ref().or(common.as_ref());
            reading.map_or_else(|| Ok(String::new()), |reading| facts.text(field, reading))
        };
        let occurred = rule.occurred_time.as_ref().or(common.occurred_time.as_ref());
        let occurred_at = occurred
            .ok_or_else(|| no_time("the rule does not say where it stands"))
            .and_then(|occurred| facts.time(occurred))?;
        Ok(Mapped::Event {
            event: text("event", &rule.event, &common.event)?,
            message_id: text("message_id", &rule.message_id, &common.message_id)?,
            user_id: text("user_id", &rule.user_id, &common.user_id)?,
            anonymous_id: text("anonymous_id", &rule.anonymous_id, &common.anonymous_id)?,
            account_id: text("account_id", &rule.account_id, &common.account_id)?,
            occurred_at,
            properties: facts.properties([common, rule])?,
        })
    }
}

fn no_time(message: &str) -> Unreadable {
    Unreadable::new("missing_occurred_time", "occurred_time", message)
}

/// What readings and conditions look at.
struct Facts<'a> {
    body: &'a Json,
    item: &'a Json,
    headers: &'a Headers,
    /// The whole as CEL sees it, made when first asked for: most expressions ask
    /// for single fields.
    whole_body: OnceLock<Box<dyn Val + 'a>>,
    whole_item: OnceLock<Box<dyn Val + 'a>>,
}

impl Facts<'_> {
    /// The value that a reading finds; what is missing and what is null are not
    /// found.
    fn find(&self, reading: &Reading) -> Option<Json> {
        let found = match reading {
            Reading::Pointer(pointer) => self.item.pointer(pointer).cloned(),
            Reading::Expression(expression) => expression.0.value_for(self),
            Reading::Value(value) => Some(value.clone()),
            Reading::First(choices) => choices.iter().find_map(|choice| match choice {
                // Lists are flat, so this recurses once.
                Reading::First(_) => None,
                choice => self.find(choice).filter(|found| found.as_str() != Some("")),
            }),
        };
        found.filter(|found| !found.is_null())
    }

    /// A text, or a whole number as text; empty when nothing is found.
    fn text(&self, field: &'static str, reading: &Reading) -> Result<String, Unreadable> {
        match self.find(reading) {
            None => Ok(String::new()),
            Some(Json::String(text)) => Ok(text),
            Some(Json::Number(number)) if !number.is_f64() => Ok(number.to_string()),
            Some(other) => Err(Unreadable::new(
                "not_a_text",
                field,
                format!("is {}, not a text or a whole number", kind(&other)),
            )),
        }
    }

    fn time(&self, occurred: &OccurredTime) -> Result<DateTime<Utc>, Unreadable> {
        let found = self.find(&occurred.from).ok_or_else(|| no_time("there is no time"))?;
        let invalid = |expected: &str| {
            Unreadable::new("invalid_time", "occurred_time", format!("{found} is not {expected}"))
        };
        match occurred.format {
            TimeFormat::Rfc3339 => found
                .as_str()
                .and_then(|text| DateTime::parse_from_rfc3339(text).ok())
                .map(|time| time.with_timezone(&Utc).trunc_subsecs(6))
                .ok_or_else(|| invalid("a time by RFC 3339, such as 2026-03-02T12:00:00Z")),
            TimeFormat::Unix => {
                since_1970(&found, 1_000_000).ok_or_else(|| invalid("a number of seconds"))
            }
            TimeFormat::UnixMs => {
                since_1970(&found, 1_000).ok_or_else(|| invalid("a number of milliseconds"))
            }
        }
    }

    fn properties(&self, rules: [&Rule; 2]) -> Result<Map<String, Json>, Unreadable> {
        let mut properties = Map::new();
        for rule in rules {
            match rule.properties_from.as_deref().and_then(|from| self.item.pointer(from)) {
                None | Some(Json::Null) => {}
                Some(Json::Object(fields)) => properties.extend(fields.clone()),
                Some(other) => {
                    let message = format!("is {}, not an object", kind(other));
                    return Err(Unreadable::new("not_an_object", "properties_from", message));
                }
            }
        }
        for rule in rules {
            for (name, reading) in &rule.properties {
                if let Some(value) = self.find(reading) {
                    properties.insert(name.clone(), value);
                }
            }
        }
        Ok(properties)
    }
}

/// A time from a number of units since 1970, given in microseconds each.
fn since_1970(value: &Json, unit_micros: i64) -> Option<DateTime<Utc>> {
    let whole = match value {
        Json::Number(number) => number.as_i64(),
        Json::String(text) => text.parse().ok(),
        _ => None,
    };
    let micros = match whole {
        Some(whole) => whole.checked_mul(unit_micros)?,
        None => {
            let number = match value {
                Json::Number(number) => number.as_f64()?,
                Json::String(text) => text.parse().ok()?,
                _ => return None,
            };
            let micros = (number * unit_micros as f64).round();
            // Beyond 2^62 microseconds there is no year that we know.
            if micros.is_nan() || micros.abs() >= 4.6e18 {
                return None;
            }
            micros as i64
        }
    };
    DateTime::from_timestamp_micros(micros)
}

fn kind(value: &Json) -> &'static str {
    match value {
        Json::Null => "null",
        Json::Bool(_) => "a boolean",
        Json::Number(_) => "a number with a fraction",
        Json::String(_) => "a text",
        Json::Array(_) => "a list",
        Json::Object(_) => "an object",
    }
}

impl VariableResolver for Facts<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        let (root, path) = match variable.split_once('.') {
            Some((root, path)) => (root, Some(path)),
            None => (variable, None),
        };
        let (value, whole) = match (root, path) {
            ("headers", None) => {
                let fields: std::collections::HashMap<_, Box<dyn Val>> = self
                    .headers
                    .iter()
                    .map(|(name, value)| {
                        let value: Box<dyn Val> = Box::new(CelString::from(value.as_str()));
                        (name.as_str().into(), value)
                    })
                    .collect();
                return Some(CowVal::Owned(Box::new(CelMap::from(fields))));
            }
            ("headers", Some(name)) => {
                return self
                    .headers
                    .get(name)
                    .map(|value| CowVal::owned(CelString::from(value.as_str())));
            }
            ("body", _) => (self.body, &self.whole_body),
            ("item", _) => (self.item, &self.whole_item),
            _ => return None,
        };
        match path {
            None => Some(CowVal::Borrowed(&**whole.get_or_init(|| json(value)))),
            Some(path) => {
                let mut found = value;
                for field in path.split('.') {
                    found = found.as_object()?.get(field)?;
                }
                Some(CowVal::Owned(json(found)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::webhook::WebhookSourceSpec;

    fn mapping(document: Json) -> Mapping {
        let mut whole = json!({"owner": "support", "signature": {"scheme": "none"}});
        whole.as_object_mut().unwrap().extend(document.as_object().unwrap().clone());
        let spec: WebhookSourceSpec = serde_json::from_value(whole).unwrap();
        assert_eq!(spec.violations(), []);
        spec.mapping
    }

    fn tickets() -> Mapping {
        mapping(json!({
            "common": {
                "message_id": "/id",
                "user_id": {"expression": "'zendesk:' + string(item.ticket.requester)"},
                "account_id": ["/ticket/organization", "/account"],
                "occurred_time": {"from": "/at", "format": "unix"},
                "properties": {"ticket": "/ticket/id", "origin": {"value": "zendesk"}},
            },
            "rules": [
                {"when": "item.type == 'ping'", "ignore": true},
                {"when": "item.type == 'created' || headers['x-type'] == 'created'",
                 "event": {"value": "Ticket Created"},
                 "properties_from": "/ticket/custom",
                 "properties": {"urgent": {"expression": "item.ticket.priority > 2"}}},
                {"when": "has(item.type)", "event": {"expression": "'Ticket ' + item.type"}},
            ],
        }))
    }

    fn ticket(kind: &str) -> Json {
        json!({
            "id": 7, "type": kind, "at": 1_700_000_000.25, "account": 12,
            "ticket": {"id": "T1", "requester": 99, "priority": 3, "organization": "",
                       "custom": {"plan": "pro", "origin": "theirs"}},
        })
    }

    fn read(mapping: &Mapping, body: &Json) -> Result<Mapped, Unreadable> {
        mapping.read(body, body, &Headers::new())
    }

    #[test]
    fn the_first_rule_that_holds_reads_the_event() {
        let Mapped::Event {
            event,
            message_id,
            user_id,
            anonymous_id,
            account_id,
            occurred_at,
            properties,
        } = read(&tickets(), &ticket("created")).unwrap()
        else {
            panic!("an event");
        };
        assert_eq!((&*event, &*message_id), ("Ticket Created", "7"));
        assert_eq!((&*user_id, &*anonymous_id, &*account_id), ("zendesk:99", "", "12"));
        assert_eq!(occurred_at.to_rfc3339(), "2023-11-14T22:13:20.250+00:00");
        let expected = json!({"ticket": "T1", "origin": "zendesk", "plan": "pro", "urgent": true});
        assert_eq!(Json::Object(properties), expected);

        let Mapped::Event { event, .. } = read(&tickets(), &ticket("solved")).unwrap() else {
            panic!("an event");
        };
        assert_eq!(event, "Ticket solved");
        assert_eq!(read(&tickets(), &ticket("ping")).unwrap(), Mapped::Ignored);
    }

    #[test]
    fn a_rule_may_look_at_headers() {
        let mut body = ticket("x");
        body.as_object_mut().unwrap().remove("type");
        let unread = read(&tickets(), &body).unwrap_err();
        assert_eq!(unread.reason, "no_rule_matches");
        let headers = Headers::from([("x-type".to_owned(), "created".to_owned())]);
        assert!(matches!(tickets().read(&body, &body, &headers), Ok(Mapped::Event { .. })));
    }

    #[test]
    fn what_an_event_needs_and_the_payload_lacks_is_told() {
        let unread = |change: Json| {
            let mut body = ticket("created");
            body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            let unread = read(&tickets(), &body).unwrap_err();
            (unread.reason, unread.field)
        };
        assert_eq!(unread(json!({"at": null})).0, "missing_occurred_time");
        assert_eq!(unread(json!({"at": "soon"})).0, "invalid_time");
        assert_eq!(unread(json!({"at": 1e300})).0, "invalid_time");
        assert_eq!(unread(json!({"at": i64::MAX})).0, "invalid_time");
        assert_eq!(unread(json!({"id": [1]})), ("not_a_text", "message_id".to_owned()));
        assert_eq!(unread(json!({"id": 1.5})).0, "not_a_text");
        assert_eq!(unread(json!({"ticket": {"custom": 3}})).0, "not_an_object");
    }

    #[test]
    fn each_item_of_a_list_is_read_on_its_own() {
        let deals = mapping(json!({
            "each": "",
            "rules": [{
                "event": {"value": "Deal Changed"},
                "message_id": {"expression": "string(item.id) + '/' + string(size(body))"},
                "anonymous_id": "/deal",
                "occurred_time": {"from": "/at", "format": "unix_ms"},
            }],
        }));
        let body = json!([{"id": 1, "deal": "d", "at": 5}, {"id": 2, "deal": "e", "at": "6"}]);
        let ids: Vec<_> = deals
            .items(&body)
            .unwrap()
            .into_iter()
            .map(|item| match deals.read(&body, item, &Headers::new()).unwrap() {
                Mapped::Event { message_id, occurred_at, .. } => {
                    (message_id, occurred_at.timestamp_millis())
                }
                Mapped::Ignored => panic!("not ignored"),
            })
            .collect();
        assert_eq!(ids, [("1/2".to_owned(), 5), ("2/2".to_owned(), 6)]);
        assert_eq!(deals.items(&json!({})).unwrap_err().reason, "missing_items");
        let long = Json::Array(vec![Json::Null; MAX_ITEMS + 1]);
        assert_eq!(deals.items(&long).unwrap_err().reason, "too_many_items");
    }

    fn any_json() -> impl Strategy<Value = Json> {
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::from),
            any::<i64>().prop_map(Json::from),
            any::<f64>().prop_map(Json::from),
            "\\PC{0,8}".prop_map(Json::from),
        ];
        leaf.prop_recursive(5, 40, 6, |inner| {
            // The names that the rules look for, so that they find something.
            let name = prop::sample::select(vec!["id", "type", "at", "ticket", "custom", "x.y"]);
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Json::from),
                prop::collection::vec((name, inner), 0..6).prop_map(|fields| {
                    Json::Object(fields.into_iter().map(|(n, v)| (n.to_owned(), v)).collect())
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_payload_is_read_or_says_why_not(body in any_json()) {
            if let Err(unread) = read(&tickets(), &body) {
                prop_assert!(!unread.reason.is_empty() && !unread.message.is_empty());
            }
        }
    }

    #[test]
    fn a_document_reads_back_as_it_was_written() {
        let written = json!({
            "owner": "support",
            "signature": {"scheme": "hmac", "header": "X-Sig", "digest": "sha1",
                          "encoding": "hex", "prefix": "sha1="},
            "each": "/items",
            "common": {"occurred_time": "/time", "user_id": ["/a", {"expression": "item.b"}]},
            "rules": [{"when": "item.x == 1", "event": {"value": "X"}, "message_id": "/id"}],
        });
        let spec: WebhookSourceSpec = serde_json::from_value(written.clone()).unwrap();
        assert_eq!(spec.violations(), []);
        assert_eq!(serde_json::to_value(&spec).unwrap(), written);
    }

    #[test]
    fn what_is_wrong_with_a_document_is_told_by_field() {
        let spec: WebhookSourceSpec = serde_json::from_value(json!({
            "owner": " ",
            "signature": {"scheme": "hubspot-v3", "url": "example.com", "tolerance": "2d"},
            "common": {"when": "item.x == 1"},
            "rules": [{"event": []}],
        }))
        .unwrap();
        let fields: Vec<_> = spec.violations().into_iter().map(|found| found.field).collect();
        assert_eq!(
            fields,
            [
                "owner",
                "signature.tolerance",
                "signature.url",
                "common",
                "rules[0].event",
                "rules[0].message_id",
                "rules[0].occurred_time",
                "rules[0].user_id",
            ]
        );
        for refused in [
            json!({"event": "Ticket"}),
            json!({"event": {"expression": "item.a +"}}),
            json!({"event": {"expression": "item.map(x, x)"}}),
            json!({"event": {"expression": "event.name"}}),
            json!({"when": "properties.x == 1"}),
            json!({"evnt": "/a"}),
            json!({"occurred_time": {"from": "/a", "format": "stardate"}}),
        ] {
            let document =
                json!({"owner": "a", "signature": {"scheme": "none"}, "rules": [refused]});
            assert!(
                serde_json::from_value::<WebhookSourceSpec>(document.clone()).is_err(),
                "{document}"
            );
        }
    }
}
