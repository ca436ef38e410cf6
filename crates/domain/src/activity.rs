//! Activities: what "active" means, defined once and referred to by name.

use serde::{Deserialize, Serialize};

use crate::Violations;
use crate::metric::EventSelector;

/// Most events of an activity.
const MAX_EVENTS: usize = 50;

/// What makes a subject active, as written in its document.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Activity {
    /// Title for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// What it means and what it leaves out.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Who answers for it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub owner: String,
    /// Any of these makes a subject active. At least one.
    #[serde(default)]
    pub events: Vec<EventSelector>,
    /// Whether it is what metrics mean that name no activity; at most one is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub default: bool,
}

impl Activity {
    /// Every field that breaks a rule.
    pub fn violations(&self) -> Violations {
        let mut found = Violations::new();
        found.line("title", &self.title);
        found.text("description", &self.description);
        found.line("owner", &self.owner);
        if self.events.is_empty() || self.events.len() > MAX_EVENTS {
            let problem = format!("needs 1 to {MAX_EVENTS} events, has {}", self.events.len());
            found.push("events", problem);
        }
        for (index, event) in self.events.iter().enumerate() {
            event.check(&mut found, &format!("events[{index}]"));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::Activity;

    #[test]
    fn an_activity_reads_as_people_write_it_and_reports_everything_wrong() {
        let activity: Activity = serde_norway::from_str(
            "{events: [Opened, {name: Edited, filter: properties.words > 0}], default: true}",
        )
        .unwrap();
        assert!(activity.violations().is_empty());
        assert_eq!(activity.events[1].filter, "properties.words > 0");
        let wrong = Activity { title: "two\nlines".to_owned(), ..Activity::default() };
        let fields: Vec<_> = wrong.violations().into_iter().map(|v| v.field).collect();
        assert_eq!(fields, ["title", "events"]);
    }
}
