//! What is wrong with a document, by what its author must do about it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Violations;

/// One field that breaks a rule.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Violation {
    /// Path of the field from the root of the document, for example
    /// `guardrails[0].margin`.
    pub field: String,
    /// What is wrong and what would be right.
    pub problem: String,
}

impl Violation {
    /// A violation.
    pub fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.problem)
    }
}

/// A field that names something which does not exist.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MissingReference {
    /// Path of the field.
    pub field: String,
    /// Kind of the missing document, for example `Metric`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
}

/// An expression that does not compile.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct InvalidExpression {
    /// Path of the field.
    pub field: String,
    /// The expression as it was written.
    pub expression: String,
    /// What is wrong with it.
    pub problem: String,
}

/// Everything wrong with one document, by what its author must do about it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Problems {
    /// Fields that are missing, malformed or out of range.
    pub fields: Violations,
    /// Expressions that do not compile.
    pub expressions: Vec<InvalidExpression>,
    /// Names of documents that do not exist.
    pub missing: Vec<MissingReference>,
}

impl Problems {
    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty() && self.expressions.is_empty() && self.missing.is_empty()
    }

    /// The same problems of a document that stands in a larger one, under this
    /// field.
    #[must_use]
    pub fn under(mut self, parent: &str) -> Self {
        let expressions = self.expressions.iter_mut().map(|invalid| &mut invalid.field);
        let missing = self.missing.iter_mut().map(|reference| &mut reference.field);
        for field in expressions.chain(missing) {
            *field = format!("{parent}.{field}");
        }
        Self { fields: self.fields.below(parent), ..self }
    }

    /// Every problem as a violation, for whoever only shows them.
    pub fn violations(&self) -> Violations {
        let mut all = self.fields.clone();
        for invalid in &self.expressions {
            all.push(invalid.field.as_str(), invalid.problem.as_str());
        }
        for MissingReference { field, kind, name } in &self.missing {
            all.push(field.as_str(), format!("there is no {kind} named {name:?}; apply it first"));
        }
        all
    }
}
