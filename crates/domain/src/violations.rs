//! Collects everything that is wrong with a document, not only the first thing.

use std::fmt::{self, Display};
use std::str::FromStr;

use crate::Violation;

/// Longest title, owner, unit or lever, in bytes.
const MAX_LINE: usize = 200;
/// Longest description, in bytes.
const MAX_TEXT: usize = 4_000;

/// Every field of a document that breaks a rule, in the order they were looked
/// at.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Violations(Vec<Violation>);

impl Violations {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one.
    pub fn push(&mut self, field: impl Into<String>, problem: impl Into<String>) {
        self.0.push(Violation::new(field, problem));
    }

    /// Adds one unless the rule holds.
    pub fn require(&mut self, holds: bool, field: &str, problem: &str) {
        if !holds {
            self.push(field, problem);
        }
    }

    /// Requires a text of 1 to `limit` bytes that is more than white space.
    pub fn require_text(&mut self, field: &str, text: &str, limit: usize) {
        if text.trim().is_empty() {
            self.push(field, "must not be empty");
        } else if text.len() > limit {
            self.push(field, format!("must have at most {limit} bytes, not {}", text.len()));
        }
    }

    /// Notes a line of text that is longer than 200 bytes or holds control
    /// characters.
    pub fn line(&mut self, field: impl Into<String>, line: &str) {
        if line.len() > MAX_LINE {
            self.push(field, format!("must be at most {MAX_LINE} bytes"));
        } else if line.chars().any(char::is_control) {
            self.push(field, "must be one line without control characters");
        }
    }

    /// Notes a required line that is blank, and what [`Self::line`] notes.
    pub fn require_line(&mut self, field: &str, line: &str) {
        if line.trim().is_empty() {
            self.push(field, "is required");
        } else {
            self.line(field, line);
        }
    }

    /// Notes a text that is longer than 4,000 bytes or holds control characters
    /// other than line breaks and tabs.
    pub fn text(&mut self, field: &str, text: &str) {
        if text.len() > MAX_TEXT {
            self.push(field, format!("must be at most {MAX_TEXT} bytes"));
        } else if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
            self.push(field, "must not contain control characters");
        }
    }

    /// Reads a text; what it cannot read becomes a violation.
    pub fn parse<T>(&mut self, field: &str, text: &str) -> Option<T>
    where
        T: FromStr,
        T::Err: Display,
    {
        text.parse().map_err(|error: T::Err| self.push(field, error.to_string())).ok()
    }

    /// Takes the violations of a part over.
    pub fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// The same with every path below a field, for example `policy`.
    #[must_use]
    pub fn below(self, field: &str) -> Self {
        let lower = |violation: Violation| {
            Violation::new(format!("{field}.{}", violation.field), violation.problem)
        };
        Self(self.0.into_iter().map(lower).collect())
    }

    /// Whether nothing was wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The violations.
    pub fn as_slice(&self) -> &[Violation] {
        &self.0
    }

    /// `value` when nothing was wrong.
    ///
    /// # Errors
    /// The violations.
    pub fn or<T>(self, value: T) -> Result<T, Self> {
        if self.is_empty() { Ok(value) } else { Err(self) }
    }
}

impl IntoIterator for Violations {
    type Item = Violation;
    type IntoIter = std::vec::IntoIter<Violation>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl FromIterator<Violation> for Violations {
    fn from_iter<I: IntoIterator<Item = Violation>>(violations: I) -> Self {
        Self(violations.into_iter().collect())
    }
}

impl Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, violation) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{violation}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Violations {}

#[cfg(test)]
mod tests {
    use super::Violations;
    use crate::ResourceName;

    #[test]
    fn every_violation_is_kept_in_order() {
        let mut violations = Violations::new();
        assert_eq!(violations.parse::<ResourceName>("policy.name", "Ship It"), None);
        violations.require_text("policy.owner", "  ", 10);
        violations.require_text("policy.action", "far too long", 3);
        violations.require(true, "policy.quorum", "never seen");
        let fields: Vec<_> = violations.as_slice().iter().map(|v| v.field.as_str()).collect();
        assert_eq!(fields, ["policy.name", "policy.owner", "policy.action"]);
        assert!(violations.to_string().contains("policy.owner: must not be empty"));
        assert!(violations.or(()).is_err());
    }
}
