//! What is wrong with a document, field by field, all at once.

use std::fmt;

use serde::{Deserialize, Serialize};

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
    pub fields: Vec<Violation>,
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
        let fields = self.fields.iter_mut().map(|violation| &mut violation.field);
        let expressions = self.expressions.iter_mut().map(|invalid| &mut invalid.field);
        let missing = self.missing.iter_mut().map(|reference| &mut reference.field);
        for field in fields.chain(expressions).chain(missing) {
            *field = format!("{parent}.{field}");
        }
        self
    }

    /// Every problem as a violation, for whoever only shows them.
    pub fn violations(&self) -> Vec<Violation> {
        let expressions = self
            .expressions
            .iter()
            .map(|invalid| Violation::new(invalid.field.as_str(), invalid.problem.as_str()));
        let missing = self.missing.iter().map(|MissingReference { field, kind, name }| {
            Violation::new(
                field.as_str(),
                format!("there is no {kind} named {name:?}; apply it first"),
            )
        });
        self.fields.iter().cloned().chain(expressions).chain(missing).collect()
    }
}

/// Longest title, owner, unit or lever, in bytes.
const MAX_LINE: usize = 200;
/// Longest description, in bytes.
const MAX_TEXT: usize = 4_000;

/// Notes a line of text that is longer than 200 bytes or holds control
/// characters.
pub(crate) fn check_line(found: &mut Vec<Violation>, field: impl Into<String>, line: &str) {
    if line.len() > MAX_LINE {
        found.push(Violation::new(field, format!("must be at most {MAX_LINE} bytes")));
    } else if line.chars().any(char::is_control) {
        found.push(Violation::new(field, "must be one line without control characters"));
    }
}

/// Notes a required line that is blank, and what [`check_line`] notes.
pub(crate) fn check_required_line(found: &mut Vec<Violation>, field: &str, line: &str) {
    if line.trim().is_empty() {
        found.push(Violation::new(field, "is required"));
    } else {
        check_line(found, field, line);
    }
}

/// Notes a text that is longer than 4,000 bytes or holds control characters
/// other than line breaks and tabs.
pub(crate) fn check_text(found: &mut Vec<Violation>, field: &str, text: &str) {
    if text.len() > MAX_TEXT {
        found.push(Violation::new(field, format!("must be at most {MAX_TEXT} bytes")));
    } else if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        found.push(Violation::new(field, "must not contain control characters"));
    }
}
