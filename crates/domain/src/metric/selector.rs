//! Which events a metric looks at. In documents an event name alone, or
//! `{name: .., filter: ..}`.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Violations;

/// Longest filter, in bytes.
pub(super) const MAX_FILTER: usize = 4_096;

/// Picks events by name and condition.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct EventSelector {
    /// Event name, at most 200 bytes; empty picks any event.
    pub name: String,
    /// CEL condition over `event` and `properties`; empty is always true.
    pub filter: String,
}

impl EventSelector {
    /// Events of this name.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), filter: String::new() }
    }

    /// Whether it picks any event.
    pub fn is_any(&self) -> bool {
        self.name.is_empty() && self.filter.trim().is_empty()
    }

    pub(crate) fn check(&self, found: &mut Violations, path: &str) {
        found.line(format!("{path}.event"), &self.name);
        if self.filter.len() > MAX_FILTER || self.filter.contains('\0') {
            let problem = format!("must be at most {MAX_FILTER} bytes, none of them zero");
            found.push(format!("{path}.filter"), problem);
        }
    }
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Long {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    filter: String,
}

impl Serialize for EventSelector {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.filter.is_empty() {
            serializer.serialize_str(&self.name)
        } else {
            Long { name: self.name.clone(), filter: self.filter.clone() }.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for EventSelector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SelectorVisitor;

        impl<'de> Visitor<'de> for SelectorVisitor {
            type Value = EventSelector;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an event name or a map with name and filter")
            }

            fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
                Ok(EventSelector::named(name))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                let Long { name, filter } = Long::deserialize(MapAccessDeserializer::new(map))?;
                Ok(EventSelector { name, filter })
            }
        }

        deserializer.deserialize_any(SelectorVisitor)
    }
}
