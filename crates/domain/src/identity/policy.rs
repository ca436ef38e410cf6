//! Which identifiers a project has, and how many of them one subject may hold.

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::identifier::{Identifier, IdentifierKind};
use super::may_be_linked;
use crate::Violations;

/// A project has one policy of each kind; this is its name.
pub const POLICY_NAME: &str = "default";
/// Longest owner, in bytes.
const OWNER_LIMIT: usize = 200;
const TEXT_LIMIT: usize = 4_000;
const MOST_KINDS: usize = 20;
const MOST_BLOCKED: usize = 1_000;
/// Priority of anonymous ids when the policy does not say: after all others.
const LAST_PRIORITY: u32 = 1_000;

/// The body of a `kind: IdentityPolicy` document.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct IdentityPolicy {
    /// Who answers for it.
    pub owner: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The kinds of identifiers. `user_id` and `anonymous_id` are there without
    /// being named: users are unique and come first, anonymous ids come last.
    #[serde(default)]
    pub identifiers: Vec<KindRule>,
    /// A merge needs an approved decision about exactly it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub approve_merges: bool,
}

/// The rule of one kind of identifier.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct KindRule {
    /// The kind.
    pub kind: IdentifierKind,
    /// Which identifier names a subject that has several kinds: the smallest
    /// number. From 1.
    pub priority: u32,
    /// Whether two different values are two different subjects, which only a
    /// merge by a person joins.
    #[serde(default)]
    pub unique: bool,
    /// Most identifiers of this kind that links may bring together in one subject;
    /// unlimited when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Which of them count against the limit.
    #[serde(default)]
    pub window: LimitWindow,
    /// Values that stand for nobody, beside the built-in list: texts that are
    /// compared without case and surrounding space, in which `*` stands for
    /// anything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocked_values: Vec<String>,
}

/// The time over which a limit counts.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LimitWindow {
    /// All identifiers a subject ever had.
    #[default]
    Ever,
    /// Those of the last 365 days.
    Annually,
    /// Those of the last 30 days.
    Monthly,
    /// Those of the last 7 days.
    Weekly,
}

impl LimitWindow {
    /// How far back it reaches; `None` for ever.
    pub fn length(self) -> Option<TimeDelta> {
        match self {
            Self::Ever => None,
            Self::Annually => Some(TimeDelta::days(365)),
            Self::Monthly => Some(TimeDelta::days(30)),
            Self::Weekly => Some(TimeDelta::days(7)),
        }
    }
}

impl Default for IdentityPolicy {
    /// What holds until a project says otherwise: `user_id` is unique, `email`,
    /// `phone` and `anonymous_id` are unlimited.
    fn default() -> Self {
        let rule = |kind: &str, priority, unique| KindRule {
            kind: kind.parse().expect("a name of a kind"),
            priority,
            unique,
            limit: None,
            window: LimitWindow::Ever,
            blocked_values: Vec::new(),
        };
        Self {
            owner: "northstar".to_owned(),
            description: String::new(),
            identifiers: vec![
                rule(IdentifierKind::USER_ID, 1, true),
                rule("email", 2, false),
                rule("phone", 3, false),
                rule(IdentifierKind::ANONYMOUS_ID, LAST_PRIORITY, false),
            ],
            approve_merges: false,
        }
    }
}

impl IdentityPolicy {
    /// Everything that is wrong with it.
    pub fn violations(&self) -> Violations {
        let mut found = Violations::new();
        found.require_text("owner", &self.owner, OWNER_LIMIT);
        found.require(self.description.len() <= TEXT_LIMIT, "description", "is too long");
        if self.identifiers.len() > MOST_KINDS {
            found.push("identifiers", format!("at most {MOST_KINDS} kinds are allowed"));
        }
        for (index, rule) in self.identifiers.iter().enumerate() {
            let field = |name: &str| format!("identifiers[{index}].{name}");
            if self.identifiers[..index].iter().any(|other| other.kind == rule.kind) {
                found.push(field("kind"), format!("{} is named twice", rule.kind));
            }
            if rule.priority == 0 {
                found.push(field("priority"), "must be at least 1");
            }
            if rule.limit == Some(0) {
                found.push(field("limit"), "must be at least 1, or absent for no limit");
            }
            if rule.unique && rule.limit.is_some_and(|limit| limit != 1) {
                found.push(field("limit"), "a unique kind has the limit 1 and needs none");
            }
            if rule.blocked_values.len() > MOST_BLOCKED {
                found.push(field("blocked_values"), format!("at most {MOST_BLOCKED} are allowed"));
            }
            if rule.blocked_values.iter().any(|value| value.trim().trim_matches('*').is_empty()) {
                found.push(field("blocked_values"), "a value that blocks everything is no value");
            }
        }
        if self
            .identifiers
            .iter()
            .any(|rule| rule.kind.as_str() == IdentifierKind::USER_ID && !rule.unique)
        {
            found.push("identifiers", "user_id must be unique: merge subjects to join two of them");
        }
        found
    }

    /// Changes with every change of the policy.
    pub fn etag(&self) -> String {
        let document = serde_json::to_vec(self).expect("a policy's keys are strings");
        hex::encode(&Sha256::digest(document)[..8])
    }

    /// The rule of a kind, if the policy has one.
    pub fn rule(&self, kind: &IdentifierKind) -> Option<&KindRule> {
        self.identifiers.iter().find(|rule| rule.kind == *kind)
    }

    /// Whether identifiers of this kind may be linked at all.
    pub fn knows(&self, kind: &IdentifierKind) -> bool {
        kind.is_actor() || self.rule(kind).is_some()
    }

    /// Names subjects: the smallest goes first.
    pub fn priority(&self, kind: &IdentifierKind) -> u32 {
        self.rule(kind).map_or_else(
            || if kind.as_str() == IdentifierKind::USER_ID { 1 } else { LAST_PRIORITY },
            |rule| rule.priority,
        )
    }

    /// Most identifiers of a kind in one subject, and which count.
    pub fn limit(&self, kind: &IdentifierKind) -> Option<(u32, LimitWindow)> {
        let unique = kind.as_str() == IdentifierKind::USER_ID;
        match self.rule(kind) {
            None => unique.then_some((1, LimitWindow::Ever)),
            Some(rule) if rule.unique => Some((1, LimitWindow::Ever)),
            Some(rule) => rule.limit.map(|limit| (limit, rule.window)),
        }
    }

    /// Whether an identifier names one actor under this policy.
    pub fn allows(&self, identifier: &Identifier) -> bool {
        may_be_linked(&identifier.value) && !self.blocks(identifier)
    }

    fn blocks(&self, identifier: &Identifier) -> bool {
        let Some(rule) = self.rule(&identifier.kind) else { return false };
        if rule.blocked_values.is_empty() {
            return false;
        }
        let value = identifier.value.trim().to_lowercase();
        rule.blocked_values.iter().any(|pattern| matches(&pattern.trim().to_lowercase(), &value))
    }
}

/// Whether a text fits a pattern in which `*` stands for anything.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, text, fits) in [
            ("test", "test", true),
            ("test", "test1", false),
            ("test*", "test1", true),
            ("*@example.com", "a@example.com", true),
            ("*@example.com", "a@example.org", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("ab*ba", "aba", false),
        ] {
            assert_eq!(matches(pattern, text), fits, "{pattern} {text}");
        }
    }

    #[test]
    fn a_policy_is_read_strictly_and_every_fault_is_told() {
        let policy: IdentityPolicy = serde_norway::from_str(
            "owner: growth\nidentifiers:\n  - {kind: user_id, priority: 1, unique: true}\n  \
             - {kind: email, priority: 2, limit: 5, window: monthly, blocked_values: ['*@test.io']}\n",
        )
        .unwrap();
        assert!(policy.violations().is_empty());
        assert!(!policy.allows(&"email:QA@test.io".parse().unwrap()));
        assert!(policy.allows(&"user_id:qa@test.io".parse().unwrap()));
        assert!(!policy.knows(&"phone".parse().unwrap()));
        let wrong: IdentityPolicy = serde_norway::from_str(
            "owner: ''\nidentifiers:\n  - {kind: email, priority: 0, limit: 0}\n  \
             - {kind: email, priority: 1, unique: true, limit: 3, blocked_values: ['*']}\n  \
             - {kind: user_id, priority: 1}\n",
        )
        .unwrap();
        let fields: Vec<_> =
            wrong.violations().as_slice().iter().map(|found| found.field.clone()).collect();
        assert_eq!(
            fields,
            [
                "owner",
                "identifiers[0].priority",
                "identifiers[0].limit",
                "identifiers[1].kind",
                "identifiers[1].limit",
                "identifiers[1].blocked_values",
                "identifiers",
            ]
        );
        assert!(serde_norway::from_str::<IdentityPolicy>("owner: x\nkinds: []\n").is_err());
        assert_ne!(policy.etag(), IdentityPolicy::default().etag());
    }
}
