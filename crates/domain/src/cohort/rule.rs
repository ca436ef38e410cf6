//! The rule of a cohort. In documents a map with one key, for example
//! `{did: {event: Paid, at_least: 3}}`.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::metric::{EventSelector, MAX_FUNNEL_STEPS, MAX_WINDOW, property_path};
use crate::{Violations, duration, timestamp};

/// How deeply rules may stand in rules.
const MAX_DEPTH: usize = 6;
/// Most rules side by side.
const MAX_PARTS: usize = 20;
/// Most times that something can be asked for.
const MAX_TIMES: u64 = 1_000_000;

/// Who is in a cohort.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(try_from = "Document", into = "Document")]
pub enum Rule {
    /// Whoever every one of these holds for.
    All(Vec<Rule>),
    /// Whoever at least one of these holds for.
    Any(Vec<Rule>),
    /// Whoever this does not hold for.
    Not(Box<Rule>),
    /// By a property of the subject's events.
    Property(PropertyRule),
    /// By how often the subject did something.
    Did(DidRule),
    /// By whether the subject did one thing, then another.
    Sequence(SequenceRule),
    /// By when the subject did something for the first time.
    FirstTime(FirstTimeRule),
}

/// By a property of the subject's events.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PropertyRule {
    /// Name of the property, for example `plan`.
    pub name: String,
    /// CEL condition on the event that carries it.
    #[serde(rename = "where")]
    pub condition: String,
    /// Which event counts.
    #[serde(default, skip_serializing_if = "is_default")]
    pub take: Take,
    /// Only events like this are looked at; any when absent.
    #[serde(default, skip_serializing_if = "is_default")]
    pub event: EventSelector,
}

/// Which event of a subject decides about a property.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Take {
    /// The last that carries the property.
    #[default]
    Latest,
    /// Any of them.
    Any,
}

/// By how often the subject did something: at least once when nothing is said.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DidRule {
    /// What it did.
    pub event: EventSelector,
    /// At least so often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<u64>,
    /// At most so often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<u64>,
    /// Exactly so often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exactly: Option<u64>,
    /// Only within so long before the cohort is judged; ever when absent.
    #[serde(default, with = "duration::option", skip_serializing_if = "Option::is_none")]
    pub within: Option<TimeDelta>,
}

/// By whether the subject did one thing, then another.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SequenceRule {
    /// One to 30 steps, in order, others in between allowed.
    pub steps: Vec<EventSelector>,
    /// From first to last step, inclusive; unlimited when absent.
    #[serde(default, with = "duration::option", skip_serializing_if = "Option::is_none")]
    pub window: Option<TimeDelta>,
    /// Only within so long before the cohort is judged; ever when absent.
    #[serde(default, with = "duration::option", skip_serializing_if = "Option::is_none")]
    pub within: Option<TimeDelta>,
}

/// By when the subject did something for the first time.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct FirstTimeRule {
    /// What it did.
    pub event: EventSelector,
    /// Not before; ever when absent.
    #[serde(default, with = "timestamp::option", skip_serializing_if = "Option::is_none")]
    pub from: Option<DateTime<Utc>>,
    /// Before; ever when absent.
    #[serde(default, with = "timestamp::option", skip_serializing_if = "Option::is_none")]
    pub to: Option<DateTime<Utc>>,
}

impl DidRule {
    /// The fewest and the most times.
    pub fn bounds(&self) -> (u64, Option<u64>) {
        match (self.exactly, self.at_least, self.at_most) {
            (Some(times), _, _) => (times, Some(times)),
            (None, None, None) => (1, None),
            (None, least, most) => (least.unwrap_or(0), most),
        }
    }
}

impl Rule {
    pub(super) fn check(&self, found: &mut Violations, path: &str) {
        self.check_at(found, path, 0);
    }

    fn check_at(&self, found: &mut Violations, path: &str, depth: usize) {
        if depth > MAX_DEPTH {
            found.push(path, format!("rules must not be nested deeper than {MAX_DEPTH}"));
            return;
        }
        match self {
            Self::All(parts) | Self::Any(parts) => {
                let path = self.path(path);
                if !(1..=MAX_PARTS).contains(&parts.len()) {
                    found
                        .push(&*path, format!("needs 1 to {MAX_PARTS} rules, has {}", parts.len()));
                }
                for (index, part) in parts.iter().enumerate() {
                    part.check_at(found, &format!("{path}[{index}]"), depth + 1);
                }
            }
            Self::Not(part) => part.check_at(found, &self.path(path), depth + 1),
            Self::Property(rule) => rule.check(found, &self.path(path)),
            Self::Did(rule) => rule.check(found, &self.path(path)),
            Self::Sequence(rule) => rule.check(found, &self.path(path)),
            Self::FirstTime(rule) => rule.check(found, &self.path(path)),
        }
    }

    fn path(&self, parent: &str) -> String {
        let key = match self {
            Self::All(_) => "all",
            Self::Any(_) => "any",
            Self::Not(_) => "not",
            Self::Property(_) => "property",
            Self::Did(_) => "did",
            Self::Sequence(_) => "sequence",
            Self::FirstTime(_) => "first_time",
        };
        format!("{parent}.{key}")
    }

    /// Every filter with its path.
    pub(super) fn filters<'a>(&'a self, path: &str, found: &mut Vec<(String, &'a str)>) {
        let path = self.path(path);
        let mut selector = |path: String, selector: &'a EventSelector| {
            if !selector.filter.trim().is_empty() {
                found.push((format!("{path}.filter"), selector.filter.as_str()));
            }
        };
        match self {
            Self::All(parts) | Self::Any(parts) => {
                for (index, part) in parts.iter().enumerate() {
                    part.filters(&format!("{path}[{index}]"), found);
                }
            }
            Self::Not(part) => part.filters(&path, found),
            Self::Property(rule) => {
                selector(format!("{path}.event"), &rule.event);
                found.push((format!("{path}.where"), rule.condition.as_str()));
            }
            Self::Did(rule) => selector(format!("{path}.event"), &rule.event),
            Self::Sequence(rule) => {
                for (index, step) in rule.steps.iter().enumerate() {
                    selector(format!("{path}.steps[{index}]"), step);
                }
            }
            Self::FirstTime(rule) => selector(format!("{path}.event"), &rule.event),
        }
    }
}

impl PropertyRule {
    fn check(&self, found: &mut Violations, path: &str) {
        if property_path(&self.name).is_empty() {
            found.push(format!("{path}.name"), "is required, for example \"plan\"");
        } else {
            found.line(format!("{path}.name"), &self.name);
        }
        if self.condition.trim().is_empty() {
            let problem = "is required, for example properties.plan == \"pro\"";
            found.push(format!("{path}.where"), problem);
        }
        self.event.check(found, &format!("{path}.event"));
    }
}

impl DidRule {
    fn check(&self, found: &mut Violations, path: &str) {
        self.event.check(found, &format!("{path}.event"));
        check_length(found, format!("{path}.within"), self.within);
        if self.exactly.is_some() && (self.at_least.is_some() || self.at_most.is_some()) {
            let problem = "must not stand beside at_least and at_most";
            found.push(format!("{path}.exactly"), problem);
        }
        let (least, most) = self.bounds();
        if most.is_some_and(|most| most < least) {
            found.push(format!("{path}.at_most"), format!("must not be less than {least}"));
        }
        if least > MAX_TIMES || most.is_some_and(|most| most > MAX_TIMES) {
            found.push(format!("{path}.at_least"), format!("must be at most {MAX_TIMES}"));
        }
    }
}

impl SequenceRule {
    fn check(&self, found: &mut Violations, path: &str) {
        if !(1..=MAX_FUNNEL_STEPS).contains(&self.steps.len()) {
            let problem = format!("needs 1 to {MAX_FUNNEL_STEPS} steps, has {}", self.steps.len());
            found.push(format!("{path}.steps"), problem);
        }
        for (index, step) in self.steps.iter().enumerate() {
            step.check(found, &format!("{path}.steps[{index}]"));
        }
        check_length(found, format!("{path}.window"), self.window);
        check_length(found, format!("{path}.within"), self.within);
    }
}

impl FirstTimeRule {
    fn check(&self, found: &mut Violations, path: &str) {
        self.event.check(found, &format!("{path}.event"));
        if let (Some(from), Some(to)) = (self.from, self.to)
            && from >= to
        {
            found.push(format!("{path}.to"), "must be later than from");
        }
    }
}

fn check_length(found: &mut Violations, path: String, length: Option<TimeDelta>) {
    if length.is_some_and(|length| length <= TimeDelta::zero() || length > MAX_WINDOW) {
        found.push(path, "must be longer than nothing and at most 3660d");
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A rule as documents write it.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    all: Option<Vec<Rule>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    any: Option<Vec<Rule>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    not: Option<Box<Rule>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    property: Option<PropertyRule>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    did: Option<DidRule>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sequence: Option<SequenceRule>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    first_time: Option<FirstTimeRule>,
}

/// A rule says nothing, or several things at once.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
#[error(
    "a rule has exactly one of all, any, not, property, did, sequence and first_time, not {0} of \
     them"
)]
pub struct NotOneRule(usize);

impl TryFrom<Document> for Rule {
    type Error = NotOneRule;

    fn try_from(document: Document) -> Result<Self, NotOneRule> {
        let Document { all, any, not, property, did, sequence, first_time } = document;
        let said = [
            all.map(Self::All),
            any.map(Self::Any),
            not.map(Self::Not),
            property.map(Self::Property),
            did.map(Self::Did),
            sequence.map(Self::Sequence),
            first_time.map(Self::FirstTime),
        ];
        let mut said: Vec<Self> = said.into_iter().flatten().collect();
        match (said.len(), said.pop()) {
            (1, Some(rule)) => Ok(rule),
            (count, _) => Err(NotOneRule(count)),
        }
    }
}

impl From<Rule> for Document {
    fn from(rule: Rule) -> Self {
        let mut document = Self::default();
        match rule {
            Rule::All(parts) => document.all = Some(parts),
            Rule::Any(parts) => document.any = Some(parts),
            Rule::Not(part) => document.not = Some(part),
            Rule::Property(rule) => document.property = Some(rule),
            Rule::Did(rule) => document.did = Some(rule),
            Rule::Sequence(rule) => document.sequence = Some(rule),
            Rule::FirstTime(rule) => document.first_time = Some(rule),
        }
        document
    }
}
