//! Webhook sources: how the payloads that another system sends become events.
//!
//! A source says how its requests are signed and has a list of rules. Of the
//! rules whose condition holds for a payload, the first one reads the event's
//! fields. Fields are read by JSON Pointer
//! ([RFC 6901](https://www.rfc-editor.org/rfc/rfc6901)), computed by an
//! expression in CEL, or said once and for all.

mod payload;
mod reading;
mod signature;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Violation;
use crate::canonical_json;

pub use payload::{Headers, Mapped, Unreadable};
pub use reading::{OccurredTime, Reading, TimeFormat, When};
pub use signature::{DEFAULT_TOLERANCE, Digest, Encoding, Signature};

/// Most rules of a source.
pub const MAX_RULES: usize = 100;
/// Most properties a rule reads.
pub const MAX_RULE_PROPERTIES: usize = 200;
/// Most items of one payload that become events.
pub const MAX_ITEMS: usize = 1_000;
/// Most bytes of an owner.
const MAX_OWNER_BYTES: usize = 200;
const MAX_DESCRIPTION_BYTES: usize = 4_096;

/// The body of a `kind: WebhookSource` document. Its name is that of the source
/// in the log, and the last part of the address that it is sent to.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookSourceSpec {
    /// Who answers for it.
    pub owner: String,
    /// What it sends.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// How a request proves where it comes from.
    pub signature: Signature,
    /// How payloads become events.
    #[serde(flatten)]
    pub mapping: Mapping,
}

/// How payloads become events.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Mapping {
    /// Pointer to the list in the payload whose items become an event each;
    /// without it the payload is the only item. `""` is the payload itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub each: Option<String>,
    /// What every rule says unless it says otherwise.
    #[serde(default, skip_serializing_if = "Rule::is_empty")]
    pub common: Rule,
    /// The rules; the first whose condition holds decides.
    #[serde(default)]
    pub rules: Vec<Rule>,
}

/// What an item becomes. Pointers begin at the item, and expressions know it as
/// `item`, the whole payload as `body` and the request's headers, with names in
/// lower case, as `headers`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Condition on the item, in CEL; none is always.
    #[serde(default, skip_serializing_if = "When::is_always")]
    pub when: When,
    /// Such items become nothing. They are counted, and not kept.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ignore: bool,
    /// What happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<Reading>,
    /// What tells a second delivery of the item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<Reading>,
    /// Id of a known person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<Reading>,
    /// Id of somebody or something that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anonymous_id: Option<Reading>,
    /// Id of the account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_id: Option<Reading>,
    /// When it happened. It must be the same in a second delivery, so the time
    /// of receipt will not do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub occurred_time: Option<OccurredTime>,
    /// Pointer to an object whose fields are properties.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub properties_from: Option<String>,
    /// Properties by name; they win over those of `properties_from`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<String, Reading>,
}

impl Rule {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl WebhookSourceSpec {
    /// Everything that is wrong with it.
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        let mut say = |field: String, problem: String| found.push(Violation::new(field, problem));
        if self.owner.trim().is_empty() || self.owner.len() > MAX_OWNER_BYTES {
            say("owner".to_owned(), format!("must be 1 to {MAX_OWNER_BYTES} bytes"));
        }
        if self.description.len() > MAX_DESCRIPTION_BYTES {
            say("description".to_owned(), format!("at most {MAX_DESCRIPTION_BYTES} bytes"));
        }
        for (field, text) in [("owner", &self.owner), ("description", &self.description)] {
            if text.contains('\0') {
                say(field.to_owned(), "contains the character U+0000".to_owned());
            }
        }
        self.signature.check(&mut say);
        self.mapping.check(&mut say);
        found
    }

    /// Changes with every change of what the document says.
    pub fn etag(&self) -> String {
        let json = serde_json::to_value(self).expect("a document serialises");
        let digest = canonical_json::digest(&json).to_string();
        digest[..16].to_owned()
    }
}

impl Mapping {
    fn check(&self, say: &mut dyn FnMut(String, String)) {
        if let Some(each) = &self.each
            && !reading::is_pointer(each)
        {
            say("each".to_owned(), reading::NO_POINTER.to_owned());
        }
        if !self.common.when.is_always() || self.common.ignore {
            say("common".to_owned(), "`when` and `ignore` belong to a rule".to_owned());
        }
        check_rule(&self.common, "common", say);
        if self.rules.is_empty() || self.rules.len() > MAX_RULES {
            say("rules".to_owned(), format!("must be 1 to {MAX_RULES}"));
        }
        for (index, rule) in self.rules.iter().enumerate() {
            let path = format!("rules[{index}]");
            check_rule(rule, &path, say);
            if rule.ignore {
                continue;
            }
            let common = &self.common;
            for (field, missing) in [
                ("event", rule.event.is_none() && common.event.is_none()),
                ("message_id", rule.message_id.is_none() && common.message_id.is_none()),
                ("occurred_time", rule.occurred_time.is_none() && common.occurred_time.is_none()),
            ] {
                if missing {
                    say(format!("{path}.{field}"), "say it here or in `common`".to_owned());
                }
            }
            let actors = [&rule.user_id, &rule.anonymous_id, &common.user_id, &common.anonymous_id];
            if actors.iter().all(|actor| actor.is_none()) {
                say(
                    format!("{path}.user_id"),
                    "an event is about somebody: say user_id or anonymous_id".to_owned(),
                );
            }
        }
    }
}

fn check_rule(rule: &Rule, path: &str, say: &mut dyn FnMut(String, String)) {
    let readings = [
        ("event", &rule.event),
        ("message_id", &rule.message_id),
        ("user_id", &rule.user_id),
        ("anonymous_id", &rule.anonymous_id),
        ("account_id", &rule.account_id),
    ];
    for (field, reading) in readings {
        if let Some(reading) = reading {
            reading.check(&format!("{path}.{field}"), say);
        }
    }
    if let Some(time) = &rule.occurred_time {
        time.from.check(&format!("{path}.occurred_time"), say);
    }
    if let Some(pointer) = &rule.properties_from
        && !reading::is_pointer(pointer)
    {
        say(format!("{path}.properties_from"), reading::NO_POINTER.to_owned());
    }
    if rule.properties.len() > MAX_RULE_PROPERTIES {
        say(format!("{path}.properties"), format!("at most {MAX_RULE_PROPERTIES}"));
    }
    for (name, reading) in &rule.properties {
        let path = format!("{path}.properties.{name}");
        if name.is_empty() || name.contains('\0') {
            say(path.clone(), "a property's name is neither empty nor holds U+0000".to_owned());
        }
        reading.check(&path, say);
    }
}
