//! Conditions on events: a subset of CEL, compiled to predicates over dictionary codes.
//!
//! Vocabulary: `event` (or `event.name`), `event.source`, `event.user_id`, `event.anonymous_id`, `event.account_id`,
//! `properties.x`, `properties["x"]`, `properties.plan.name`; the comparisons `== != < <= > >=` between one of these
//! and a literal; `in [..]`; `&&`, `||`, `!`, `? :`; `has(properties.x)`; `.startsWith()`, `.endsWith()`,
//! `.contains()`, `.matches()` on strings; `true`, `false`, `null`.
//!
//! A comparison with a property that the event does not have is **false**, whatever the operator, so
//! `properties.x != 1` is false and `!(properties.x == 1)` is true for such an event. `== null` is true when the
//! property is missing or null, `!= null` when it is neither. Values of different types are unequal and unordered.
//! Numbers compare as 64-bit floats.

use serde::{Deserialize, Serialize};

/// A condition on an event, parsed and checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Filter {
    source: String,
}

impl Filter {
    /// Parses and checks a CEL expression.
    ///
    /// # Errors
    /// [`FilterError`] names the construct that is wrong or not supported and where it stands.
    pub fn parse(source: &str) -> Result<Self, FilterError> {
        let _ = source;
        todo!()
    }

    /// The expression as it was written.
    pub fn source(&self) -> &str {
        &self.source
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
