//! Conditions on events: a subset of CEL, compiled to predicates over dictionary codes.
//!
//! Vocabulary: `event` (or `event.name`), `event.source`, `event.user_id`, `event.anonymous_id`, `event.account_id`,
//! `properties.x`, `properties["x"]`, `properties.plan.name`; the comparisons `== != < <= > >=` between one of these
//! and a literal; `in [..]`; `&&`, `||`, `!`, `? :`; `has(properties.x)`; `.startsWith()`, `.endsWith()`,
//! `.contains()`, `.matches()` on strings; `true`, `false`, `null`. A property that holds a boolean is a condition by
//! itself: `properties.is_trial && event == "signup"`.
//!
//! A comparison with a property that the event does not have is **false**, whatever the operator, so
//! `properties.x != 1` is false and `!(properties.x == 1)` is true for such an event. `== null` is true when the
//! property is missing or null, `!= null` when it is neither. Values of different types are unequal and unordered.
//! Numbers compare as 64-bit floats. `has(properties.plan)` is also true when only members of the object are there.

mod compile;
mod parse;
mod test;

use std::fmt;

use serde::{Deserialize, Serialize};

pub(crate) use compile::{BLOCK, Predicate};
pub(crate) use test::{Comparison, Literal, Test};

use crate::segment::Field;

/// A condition on an event, parsed and checked. Two filters are equal when they were written the same.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Filter {
    source: String,
    condition: Condition,
}

impl Filter {
    /// Parses and checks a CEL expression.
    ///
    /// # Errors
    /// [`FilterError`] names the construct that is wrong or not supported and where it stands.
    pub fn parse(source: &str) -> Result<Self, FilterError> {
        Ok(Self { source: source.to_owned(), condition: parse::parse(source)? })
    }

    /// The expression as it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Dotted paths of the properties that the filter reads, sorted.
    pub fn properties(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.condition.visit(&mut |operand| {
            if let Operand::Property(path) = operand {
                paths.push(path.clone());
            }
        });
        paths.sort();
        paths.dedup();
        paths
    }

    /// Whether an event carries a property, be it null; of an object also when only members of it are there.
    pub(crate) fn carries(path: &str) -> Self {
        let operand = Operand::Property(path.to_owned());
        let quoted = serde_json::Value::from(path).to_string();
        Self {
            source: format!("has(properties[{quoted}])"),
            condition: Condition::Test(operand, Test::IsPresent),
        }
    }

    pub(crate) fn condition(&self) -> &Condition {
        &self.condition
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Filter").field(&self.source).finish()
    }
}

impl PartialEq for Filter {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl TryFrom<String> for Filter {
    type Error = FilterError;

    fn try_from(source: String) -> Result<Self, Self::Error> {
        Self::parse(&source)
    }
}

impl From<Filter> for String {
    fn from(filter: Filter) -> Self {
        filter.source
    }
}

/// Why a filter was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FilterError {
    /// Not CEL.
    #[error("filter `{filter}` is not valid CEL: {problem}")]
    Syntax {
        /// The whole expression.
        filter: String,
        /// What the parser says.
        problem: String,
    },
    /// Longer than any filter may be.
    #[error("the filter is {bytes} bytes long; it may have at most {limit}")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The longest possible.
        limit: usize,
    },
    /// More brackets are open at once, or there are more `?`, than a filter may have.
    #[error("the filter is nested more than {limit} deep; split it into simpler conditions")]
    TooDeep {
        /// The deepest possible.
        limit: usize,
    },
    /// CEL, but outside the vocabulary of filters.
    #[error("filter `{filter}`: {construct} is not supported in `{fragment}`; {hint}")]
    Unsupported {
        /// The whole expression.
        filter: String,
        /// Name of the construct.
        construct: String,
        /// The part of the expression it stands in.
        fragment: String,
        /// What to write instead.
        hint: &'static str,
    },
}

/// A checked filter.
#[derive(Debug, Clone)]
pub(crate) enum Condition {
    Always(bool),
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Not(Box<Condition>),
    Test(Operand, Test),
}

/// What a test looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Operand {
    Field(Field),
    Property(String),
}

impl Condition {
    fn visit(&self, see: &mut dyn FnMut(&Operand)) {
        match self {
            Self::Always(_) => {}
            Self::All(parts) | Self::Any(parts) => parts.iter().for_each(|part| part.visit(see)),
            Self::Not(part) => part.visit(see),
            Self::Test(operand, _) => see(operand),
        }
    }
}
