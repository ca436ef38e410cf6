//! Who takes part in an experiment: a condition on the attributes of a subject.

use std::collections::BTreeMap;

use cel::common::types::{CelMap, CelString};
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;

use crate::expression::{Condition, InvalidCondition, Vocabulary};

/// A condition on attributes, parsed and checked once: CEL over `attributes`, a
/// map of strings, for example `attributes.country == "DE"` or
/// `int(attributes.seats) > 10`. `true` is everybody. A comparison with an
/// attribute that the subject does not have is false, as in every [`Condition`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Segment(Condition);

impl Segment {
    /// Parses and checks a segment.
    ///
    /// # Errors
    /// [`InvalidCondition`] says what is wrong.
    pub fn parse(source: &str) -> Result<Self, InvalidCondition> {
        Condition::parse_in(source, Vocabulary::Attributes).map(Self)
    }

    /// Whether a subject with these attributes belongs to it. Never fails.
    pub fn contains(&self, attributes: &BTreeMap<String, String>) -> bool {
        self.0.holds_for(&Attributes(attributes))
    }
}

struct Attributes<'a>(&'a BTreeMap<String, String>);

impl VariableResolver for Attributes<'_> {
    /// Is asked for `attributes.country`, then for `attributes`.
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        if variable == "attributes" {
            let entries: std::collections::HashMap<_, Box<dyn Val + 'b>> = self
                .0
                .iter()
                .map(|(name, value)| {
                    let value: Box<dyn Val + 'b> = Box::new(CelString::from(value.as_str()));
                    (name.as_str().into(), value)
                })
                .collect();
            return Some(CowVal::Owned(Box::new(CelMap::from(entries))));
        }
        let value = self.0.get(variable.strip_prefix("attributes.")?)?;
        Some(CowVal::owned(CelString::from(value.as_str())))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::Segment;

    fn contains(source: &str) -> bool {
        let attributes: BTreeMap<String, String> =
            [("country", "DE"), ("plan", "pro"), ("seats", "12"), ("utm.source", "mail")]
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect();
        Segment::parse(source)
            .unwrap_or_else(|error| panic!("{source}: {error}"))
            .contains(&attributes)
    }

    #[test]
    fn a_segment_reads_attributes() {
        for holds in [
            "true",
            "attributes.country == 'DE'",
            "attributes.country in ['DE', 'AT'] && attributes.plan != 'free'",
            "int(attributes.seats) > 10",
            "attributes['utm.source'] == 'mail'",
            "has(attributes.plan) && !has(attributes.trial)",
            "attributes.trial == null",
            "attributes.trial == 'yes' || attributes.plan.startsWith('p')",
        ] {
            assert!(contains(holds), "{holds}");
        }
    }

    #[test]
    fn who_lacks_an_attribute_is_outside() {
        for fails in
            ["false", "attributes.trial == 'x'", "attributes.trial != 'x'", "attributes.plan"]
        {
            assert!(!contains(fails), "{fails}");
        }
    }

    #[test]
    fn a_segment_knows_nothing_but_attributes() {
        for refused in ["event.name == 'x'", "properties.plan == 'pro'", "country == 'DE'", "a ="] {
            assert!(Segment::parse(refused).is_err(), "{refused}");
        }
    }
}
