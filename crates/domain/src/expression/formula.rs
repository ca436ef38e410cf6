//! Expressions that give a value instead of yes or no.

use std::fmt;
use std::sync::Arc;

use cel::common::ast::IdedExpr;
use cel::context::VariableResolver;
use cel::{Context, Value};

use super::check::{Vocabulary, parse};
use super::value::to_json;
use super::{ENVIRONMENT, InvalidCondition};

/// A value computed from what a vocabulary knows, parsed and checked once. It
/// keeps the same limits as a [`Condition`]. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Formula {
    source: Arc<str>,
    expression: Arc<IdedExpr>,
}

impl Formula {
    /// Parses and checks a formula.
    pub(crate) fn parse_in(source: &str, vocabulary: Vocabulary) -> Result<Self, InvalidCondition> {
        let expression = parse(source, vocabulary, IdedExpr::clone)?;
        Ok(Self { source: source.into(), expression: Arc::new(expression) })
    }

    /// The formula as it was written.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// Its value as JSON; `None` when something it needs is missing, or when
    /// the value has no place in JSON.
    pub(crate) fn value_for(&self, facts: &dyn VariableResolver) -> Option<serde_json::Value> {
        let mut context = Context::with_env(Arc::clone(&ENVIRONMENT));
        context.set_variable_resolver(facts);
        to_json(Value::resolve(&self.expression, &context).ok()?)
    }
}

impl PartialEq for Formula {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl fmt::Debug for Formula {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Formula").field(&self.source).finish()
    }
}
