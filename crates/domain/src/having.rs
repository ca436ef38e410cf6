//! Which rows of an answer are shown: a condition after aggregation.

use std::collections::BTreeMap;

use cel::common::value::CowVal;
use cel::context::VariableResolver;
use serde_json::{Map, Value};

use crate::expression::{Condition, InvalidCondition, Vocabulary, json};

/// A condition on a row, parsed and checked once: CEL over `value` (of the first
/// metric), `values["name"]`, `previous["name"]` and `dimensions["plan"]`, for
/// example `value > 10 && dimensions.plan != "free"`. Blank is every row. A
/// comparison with what a row does not have is false, as in every [`Condition`].
#[derive(Clone, Debug)]
pub struct Having(Condition);

/// What a row is.
#[derive(Clone, Copy, Debug)]
pub struct RowFacts<'a> {
    /// Value per metric, in order; absent where there is none.
    pub values: &'a [(&'a str, Option<f64>)],
    /// The same of the other time.
    pub previous: &'a [(&'a str, Option<f64>)],
    /// Value per dimension; one named `properties.x` is also known as `x`.
    pub dimensions: &'a BTreeMap<String, String>,
}

impl Having {
    /// Parses and checks a condition.
    ///
    /// # Errors
    /// [`InvalidCondition`] says what is wrong.
    pub fn parse(source: &str) -> Result<Self, InvalidCondition> {
        Condition::parse_in(source, Vocabulary::Row).map(Self)
    }

    /// Whether a row is shown. Never fails.
    pub fn holds(&self, row: &RowFacts<'_>) -> bool {
        let of = |values: &[(&str, Option<f64>)]| -> Map<String, Value> {
            let known = values.iter().filter_map(|(name, value)| Some((*name, (*value)?)));
            known.map(|(name, value)| (name.to_owned(), Value::from(value))).collect()
        };
        let mut dimensions = Map::new();
        for (name, value) in row.dimensions {
            if let Some(short) = name.strip_prefix("properties.") {
                dimensions.insert(short.to_owned(), Value::from(value.as_str()));
            }
            dimensions.insert(name.clone(), Value::from(value.as_str()));
        }
        let mut facts = Map::new();
        if let Some((_, Some(value))) = row.values.first() {
            facts.insert("value".to_owned(), Value::from(*value));
        }
        facts.insert("values".to_owned(), Value::from(of(row.values)));
        facts.insert("previous".to_owned(), Value::from(of(row.previous)));
        facts.insert("dimensions".to_owned(), Value::from(dimensions));
        self.0.holds_for(&Facts(facts))
    }
}

struct Facts(Map<String, Value>);

impl VariableResolver for Facts {
    /// Is asked for `dimensions.plan`, then for `dimensions`.
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        let value = match variable.split_once('.') {
            Some((root, path)) => self.0.get(root)?.get(path)?,
            None => self.0.get(variable)?,
        };
        Some(CowVal::Owned(json(value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_judged_by_values_and_dimensions() {
        let dimensions = BTreeMap::from([("properties.plan".to_owned(), "pro".to_owned())]);
        let row = RowFacts {
            values: &[("weekly-actives", Some(12.0)), ("revenue", None)],
            previous: &[("weekly-actives", Some(10.0))],
            dimensions: &dimensions,
        };
        for (source, shown) in [
            ("", true),
            ("value > 10", true),
            ("value > 12", false),
            (r#"values["weekly-actives"] >= 12.0"#, true),
            ("values.revenue > 0", false),
            ("!(values.revenue > 0)", true),
            ("values.revenue == null", true),
            (r#"previous["weekly-actives"] < value"#, true),
            (r#"dimensions["properties.plan"] == "pro""#, true),
            (r#"dimensions.plan in ["free"]"#, false),
            (r#"dimensions.country == "DE""#, false),
        ] {
            assert_eq!(Having::parse(source).unwrap().holds(&row), shown, "{source}");
        }
        for source in ["properties.plan == 1", "event.name == 'x'", "value >"] {
            assert!(Having::parse(source).is_err(), "{source}");
        }
    }
}
