//! Metrics that a metric is computed from. In documents a name alone, or
//! `{metric: .., filter: ..}`.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::options::CalendarGrain;
use crate::span::Span;

/// A metric, over some of its events.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct MetricInput {
    /// Name of the metric.
    pub metric: String,
    /// CEL condition that its events must meet, too; empty is always true.
    pub filter: String,
}

impl MetricInput {
    /// A metric as it is.
    pub fn named(name: impl Into<String>) -> Self {
        Self { metric: name.into(), filter: String::new() }
    }
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Long {
    metric: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    filter: String,
}

impl Serialize for MetricInput {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.filter.is_empty() {
            serializer.serialize_str(&self.metric)
        } else {
            Long { metric: self.metric.clone(), filter: self.filter.clone() }.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for MetricInput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InputVisitor;

        impl<'de> Visitor<'de> for InputVisitor {
            type Value = MetricInput;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a metric or a map with metric and filter")
            }

            fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
                Ok(MetricInput::named(name))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                let Long { metric, filter } = Long::deserialize(MapAccessDeserializer::new(map))?;
                Ok(MetricInput { metric, filter })
            }
        }

        deserializer.deserialize_any(InputVisitor)
    }
}

/// What a derived metric reads.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DerivedInput {
    /// The metric.
    pub metric: MetricInput,
    /// Its name in the expression; the metric's own when empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub alias: String,
    /// Of the bucket that lies so far back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset_window: Option<Span>,
    /// Of the first bucket of the week, month, quarter or year.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset_to_grain: Option<CalendarGrain>,
}

impl DerivedInput {
    /// Its name in the expression.
    pub fn alias(&self) -> &str {
        if self.alias.is_empty() { &self.metric.metric } else { &self.alias }
    }
}

/// A property that base and conversion must have in common.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ConstantProperty {
    /// Of the base event.
    pub base_property: String,
    /// Of the conversion.
    pub conversion_property: String,
}
