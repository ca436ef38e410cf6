//! Cohorts: subjects by what they are, by what they did, or by list.

mod rule;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{Violations, timestamp};

pub use rule::{DidRule, FirstTimeRule, PropertyRule, Rule, SequenceRule, Take};

/// Most members of a list.
pub const MAX_MEMBERS: u64 = 1_000_000;

/// A cohort, as written in its document: either a rule, whose members change
/// with every event, or a list, whose members somebody chose.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Cohort {
    /// Title for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// What it is for and whom it leaves out.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Who answers for it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub owner: String,
    /// Who is in it, judged anew with every question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<Rule>,
    /// That its members are listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<MemberList>,
}

/// A cohort whose members are listed: uploaded, or kept from another cohort.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct MemberList {
    /// The cohort that it was kept from; absent when members are uploaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_of: Option<Origin>,
}

/// Where the members of a static snapshot come from.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// Name of the cohort.
    pub cohort: String,
    /// Its version.
    pub version: i64,
    /// Position of the log up to which events were known.
    pub log_position: i64,
    /// The instant it was judged at.
    #[serde(with = "timestamp")]
    pub time: DateTime<Utc>,
}

impl Cohort {
    /// Every field that breaks a rule which can be judged from the document
    /// alone.
    pub fn violations(&self) -> Violations {
        let mut found = Violations::new();
        found.line("title", &self.title);
        found.text("description", &self.description);
        found.line("owner", &self.owner);
        match (&self.rule, &self.list) {
            (Some(rule), None) => rule.check(&mut found, "rule"),
            (None, Some(_)) => {}
            (None, None) => found.push("rule", "is required, or a list instead"),
            (Some(_), Some(_)) => found.push("list", "must not stand beside a rule"),
        }
        found
    }

    /// Every filter with its path.
    pub fn filters(&self) -> Vec<(String, &str)> {
        let mut found = Vec::new();
        if let Some(rule) = &self.rule {
            rule.filters("rule", &mut found);
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(spec: serde_json::Value) -> Cohort {
        serde_json::from_value(spec).unwrap()
    }

    #[test]
    fn a_cohort_is_written_as_it_is_read() {
        let spec = serde_json::json!({
            "owner": "growth",
            "rule": {"all": [
                {"did": {"event": "Report Created", "at_least": 3, "within": "30d"}},
                {"property": {"name": "plan", "where": "properties.plan == \"pro\""}},
                {"not": {"did": {"event": {"name": "Ticket", "filter": "properties.open"}}}},
                {"sequence": {"steps": ["a", "b"], "window": "1d"}},
                {"first_time": {"event": "Signed Up", "from": "2026-01-01"}},
            ]},
        });
        let cohort = read(spec.clone());
        assert_eq!(serde_json::to_value(&cohort).unwrap(), spec);
        assert!(cohort.violations().is_empty(), "{}", cohort.violations());
        let filters: Vec<_> = cohort.filters().into_iter().map(|(path, _)| path).collect();
        assert_eq!(filters, ["rule.all[1].property.where", "rule.all[2].not.did.event.filter"]);
    }

    #[test]
    fn every_violation_has_its_path() {
        let cohort = read(serde_json::json!({
            "list": {},
            "rule": {"any": [
                {"did": {"event": "a", "exactly": 1, "at_least": 1}},
                {"did": {"event": "a", "at_least": 4, "at_most": 2, "within": "0s"}},
                {"sequence": {"steps": []}},
                {"property": {"name": "", "where": ""}},
                {"first_time": {"event": "a", "from": "2026-02-01", "to": "2026-01-01"}},
                {"all": []},
            ]},
        }));
        let only_rule = Cohort { list: None, ..cohort.clone() };
        let fields: Vec<_> = only_rule.violations().into_iter().map(|found| found.field).collect();
        assert_eq!(
            fields,
            [
                "rule.any[0].did.exactly",
                "rule.any[1].did.within",
                "rule.any[1].did.at_most",
                "rule.any[2].sequence.steps",
                "rule.any[3].property.name",
                "rule.any[3].property.where",
                "rule.any[4].first_time.to",
                "rule.any[5].all",
            ]
        );
        assert_eq!(cohort.violations().as_slice()[0].field, "list");
        assert_eq!(Cohort::default().violations().as_slice()[0].field, "rule");
    }

    #[test]
    fn a_rule_says_exactly_one_thing() {
        let two = serde_json::json!({"rule": {"did": {"event": "a"}, "all": []}});
        let error = serde_json::from_value::<Cohort>(two).unwrap_err().to_string();
        assert!(error.contains("exactly one of"), "{error}");
    }
}
