//! How long a project's events stay in the database.

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{ResourceName, duration};
use crate::{Violation, Violations};

/// Events stay in the database for at least so long.
const LEAST_ARCHIVE_AFTER: TimeDelta = TimeDelta::days(1);
/// How long the table of a detached partition is kept, unless it is said.
pub const DROP_AFTER: TimeDelta = TimeDelta::days(7);

/// The body of a `kind: RetentionPolicy` document. A project has at most one;
/// without one its events stay in the database for ever.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionSpec {
    /// Who answers for it.
    pub owner: String,
    /// Why it is so.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// A partition of the log whose newest event was received longer ago than
    /// this goes to the archive; at least a day.
    #[serde(with = "duration")]
    pub archive_after: TimeDelta,
    /// So long after it left the log, the table of a partition is dropped.
    #[serde(default = "drop_after", with = "duration")]
    pub drop_after: TimeDelta,
}

fn drop_after() -> TimeDelta {
    DROP_AFTER
}

impl RetentionSpec {
    /// Everything that is wrong with the policy of a name.
    pub fn violations(&self, name: &str) -> Vec<Violation> {
        let mut found = Violations::new();
        if let Err(error) = name.parse::<ResourceName>() {
            found.push("name", error.to_string());
        }
        found.require_line("owner", &self.owner);
        found.text("description", &self.description);
        if self.archive_after < LEAST_ARCHIVE_AFTER {
            found.push("archive_after", "must be at least 1d");
        }
        if self.drop_after < TimeDelta::zero() {
            found.push("drop_after", "must not be negative");
        }
        found.into_iter().collect()
    }

    /// Changes with every change of the policy.
    pub fn etag(&self) -> String {
        let document = serde_json::to_vec(self).expect("a document's keys are strings");
        hex::encode(&Sha256::digest(document)[..8])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_reads_as_people_write_it_and_says_what_is_wrong() {
        let read = |yaml: &str| serde_norway::from_str::<RetentionSpec>(yaml);
        let policy = read("owner: data\narchive_after: 365d\n").unwrap();
        assert_eq!(policy.violations("log"), []);
        assert_eq!(policy.drop_after, TimeDelta::days(7));
        let short = read("owner: ''\narchive_after: 23h\n").unwrap();
        let fields: Vec<_> = short.violations("Log").into_iter().map(|v| v.field).collect();
        assert_eq!(fields, ["name", "owner", "archive_after"]);
        assert!(read("owner: data\n").is_err());
    }
}
