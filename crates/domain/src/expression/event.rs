//! The event as expressions see it.

use cel::common::types::CelString;
use cel::common::value::CowVal;
use cel::context::VariableResolver;

use super::value::{json, object};

/// What a condition looks at. An empty id is one the event does not have.
#[derive(Clone, Copy, Debug)]
pub struct EventFacts<'a> {
    /// What happened.
    pub name: &'a str,
    /// Name of the producing system.
    pub source: &'a str,
    /// Id of a known person.
    pub user_id: &'a str,
    /// Id of a device or session before sign-in.
    pub anonymous_id: &'a str,
    /// Id of the account.
    pub account_id: &'a str,
    /// The properties.
    pub properties: &'a serde_json::Map<String, serde_json::Value>,
}

impl VariableResolver for EventFacts<'_> {
    /// Is asked for `properties.plan.name`, then `properties.plan`, then
    /// `properties`, so that one property costs one look-up.
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        let (root, path) = match variable.split_once('.') {
            Some((root, path)) => (root, Some(path)),
            None => (variable, None),
        };
        match (root, path) {
            ("event", field) => {
                let text = match field.unwrap_or("name") {
                    "name" => self.name,
                    "source" => self.source,
                    "user_id" => self.user_id,
                    "anonymous_id" => self.anonymous_id,
                    "account_id" => self.account_id,
                    _ => return None,
                };
                (!text.is_empty()).then(|| CowVal::owned(CelString::from(text)))
            }
            ("properties", None) => Some(CowVal::Owned(object(self.properties))),
            ("properties", Some(path)) => {
                let mut fields = path.split('.');
                let mut value = self.properties.get(fields.next()?)?;
                for field in fields {
                    value = value.as_object()?.get(field)?;
                }
                Some(CowVal::Owned(json(value)))
            }
            _ => None,
        }
    }
}
