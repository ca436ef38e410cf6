//! Pillars: the few outcomes that count.

use serde::{Deserialize, Serialize};

use crate::Violations;

/// Most levers of a pillar.
const MAX_LEVERS: usize = 50;

/// A vision pillar or North Star, as written in its document.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Pillar {
    /// Title for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// Why it counts.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Who answers for it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub owner: String,
    /// Controllable drivers of the pillar, at most 50.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub levers: Vec<String>,
}

impl Pillar {
    /// Every field that breaks a rule.
    pub fn violations(&self) -> Violations {
        let mut found = Violations::new();
        found.line("title", &self.title);
        found.text("description", &self.description);
        found.line("owner", &self.owner);
        if self.levers.len() > MAX_LEVERS {
            found.push("levers", format!("at most {MAX_LEVERS} are allowed"));
        }
        for (index, lever) in self.levers.iter().enumerate() {
            let field = format!("levers[{index}]");
            if lever.trim().is_empty() {
                found.push(field, "must not be blank");
            } else {
                found.line(field, lever);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::Pillar;

    #[test]
    fn a_pillar_reports_every_violation_at_once() {
        let pillar = Pillar {
            title: "two\nlines".to_owned(),
            owner: "x".repeat(201),
            levers: vec!["time to first touch".to_owned(), " ".to_owned()],
            ..Pillar::default()
        };
        let fields: Vec<_> = pillar.violations().into_iter().map(|v| v.field).collect();
        assert_eq!(fields, ["title", "owner", "levers[1]"]);
    }
}
