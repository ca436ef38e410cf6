//! Conditions on one event, written in CEL: the filter of a subscription and
//! the trigger of an automation.
//!
//! Vocabulary: `event.name` (or `event` alone), `event.source`,
//! `event.user_id`, `event.anonymous_id`, `event.account_id` and `properties`,
//! a map; comparisons, `in`, `&&`, `||`, `!`, `? :`, `has()`, arithmetic and the
//! string, number and time functions of the CEL standard library
//! (<https://github.com/google/cel-spec/blob/master/doc/langdef.md>).
//!
//! A comparison with something the event does not have is **false**, whatever
//! the operator, so `properties.x != 1` is false and `!(properties.x == 1)` is
//! true when there is no `x`. `properties.x == null` is true when `x` is missing
//! or null, `!= null` when it is neither. Values of different types are unequal
//! and unordered. The filters of metrics mean the same.
//!
//! Macros over lists, map and message literals are refused: the time to decide
//! a condition must not grow faster than the event.

mod check;
mod event;
mod formula;
mod node;
#[cfg(test)]
mod tests;
mod value;

use std::fmt;
use std::sync::{Arc, LazyLock};

use cel::context::VariableResolver;
use cel::{Context, Env};
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub(crate) use check::Vocabulary;
use check::{MAX_DEPTH, MAX_NESTING};
pub use event::EventFacts;
pub(crate) use formula::Formula;
use node::Node;
pub(crate) use value::json;

/// Most bytes of a condition.
pub const MAX_CONDITION_BYTES: usize = 4096;

/// A condition on an event, parsed and checked once. Blank means always. Cheap
/// to clone; in documents it is its text.
#[derive(Clone, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Condition {
    source: Arc<str>,
    root: Arc<Node>,
}

/// Why a text is not a condition.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum InvalidCondition {
    /// It is not CEL. Holds what the parser says, with line and column.
    #[error("not a valid CEL expression: {0}")]
    Syntax(String),
    /// It is CEL, but says something that conditions do not.
    #[error("{construct} is not supported here; {hint}")]
    Unsupported {
        /// What.
        construct: String,
        /// What to write instead.
        hint: &'static str,
    },
    /// It is longer than 4,096 bytes.
    #[error("{0} bytes long; a condition has at most {MAX_CONDITION_BYTES}")]
    TooLong(usize),
    /// Its brackets, choices or operators are nested too deeply.
    #[error("nested too deeply: at most {MAX_NESTING} brackets and {MAX_DEPTH} operators deep")]
    TooDeep,
}

static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

impl Condition {
    /// Parses and checks a condition.
    ///
    /// # Errors
    /// [`InvalidCondition`] says what is wrong and, for a construct that is not
    /// supported, what to write instead.
    pub fn parse(source: &str) -> Result<Self, InvalidCondition> {
        Self::parse_in(source, Vocabulary::Event)
    }

    /// The same over other variables.
    pub(crate) fn parse_in(source: &str, vocabulary: Vocabulary) -> Result<Self, InvalidCondition> {
        let root = if source.trim().is_empty() {
            check::check_size(source)?;
            Node::Always
        } else {
            check::parse(source, vocabulary, Node::compile)?
        };
        Ok(Self { source: source.into(), root: Arc::new(root) })
    }

    /// The condition as it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether the event meets the condition. Never fails: what cannot be
    /// compared does not match.
    pub fn matches(&self, event: &EventFacts<'_>) -> bool {
        self.holds_for(event)
    }

    /// Whether what the resolver knows meets the condition.
    pub(crate) fn holds_for(&self, facts: &dyn VariableResolver) -> bool {
        if matches!(*self.root, Node::Always) {
            return true;
        }
        let mut context = Context::with_env(Arc::clone(&ENVIRONMENT));
        context.set_variable_resolver(facts);
        self.root.holds(&context)
    }
}

impl PartialEq for Condition {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for Condition {}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Condition").field(&self.source).finish()
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

impl TryFrom<String> for Condition {
    type Error = InvalidCondition;

    fn try_from(source: String) -> Result<Self, Self::Error> {
        Self::parse(&source)
    }
}

impl From<Condition> for String {
    fn from(condition: Condition) -> Self {
        condition.source.as_ref().to_owned()
    }
}
