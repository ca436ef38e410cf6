//! What a source owes: how soon its events must arrive, how many of them, and how
//! many may fail, and whether it delivers. The shape of `warn_after` and `error_after`, and that
//! null turns a rule off, are those of dbt's source freshness
//! (<https://docs.getdbt.com/reference/resource-properties/freshness>).

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::duration;
use crate::event::{MAX_ID_BYTES, MAX_SOURCE_BYTES};
use crate::{Violation, Violations};

/// Longest period of a rule.
pub const MAX_PERIOD: TimeDelta = TimeDelta::days(90);
/// Most event names with rules of their own.
pub const MAX_EVENTS: usize = 500;
/// Greatest rate of a [`RateLimit`].
pub const MAX_EVENTS_PER_SECOND: u32 = 1_000_000;
/// Greatest burst of a [`RateLimit`].
pub const MAX_BURST: u32 = 100_000_000;

/// Whether a source, or an event of it, delivers. Later states are worse.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Nothing is asked of it.
    Off,
    /// It does.
    Fresh,
    /// Later or less than it should.
    Warn,
    /// So late or so little that no number that reads it may decide anything.
    Breached,
}

impl State {
    /// The state as text, as stored and as shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Fresh => "fresh",
            Self::Warn => "warn",
            Self::Breached => "breached",
        }
    }
}

/// A text names no state.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
#[error("{0:?} is not a state: off, fresh, warn or breached")]
pub struct UnknownState(pub String);

impl FromStr for State {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Off, Self::Fresh, Self::Warn, Self::Breached]
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| UnknownState(text.to_owned()))
    }
}

/// Unit of a period.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// 60 seconds.
    Minute,
    /// 60 minutes.
    Hour,
    /// 24 hours.
    Day,
}

/// A length of time: so many minutes, hours or days.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Period {
    /// How many, from 1.
    pub count: u32,
    /// Of what.
    pub period: Unit,
}

impl Period {
    /// As a duration.
    pub fn duration(self) -> TimeDelta {
        let count = i64::from(self.count);
        match self.period {
            Unit::Minute => TimeDelta::minutes(count),
            Unit::Hour => TimeDelta::hours(count),
            Unit::Day => TimeDelta::days(count),
        }
    }

    fn check(self, found: &mut Violations, field: &str) {
        if self.count == 0 || self.duration() > MAX_PERIOD {
            found.push(field, "must lie between 1 minute and 90 days");
        }
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&duration::format(self.duration()))
    }
}

/// A rule that a narrower place takes over, turns off (null) or sets.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Rule<T> {
    /// Not said: as in the wider place; off where there is none.
    #[default]
    Inherited,
    /// Turned off.
    Off,
    /// Set.
    Set(T),
}

impl<T> Rule<T> {
    /// Whether nothing is said.
    pub fn is_inherited(&self) -> bool {
        matches!(self, Self::Inherited)
    }

    /// The rule, if one is set here.
    pub fn set(&self) -> Option<&T> {
        match self {
            Self::Set(rule) => Some(rule),
            Self::Inherited | Self::Off => None,
        }
    }
}

impl<T: Copy> Rule<T> {
    /// The rule that holds here, within a place where another holds.
    fn within(self, wider: Option<T>) -> Option<T> {
        match self {
            Self::Inherited => wider,
            Self::Off => None,
            Self::Set(rule) => Some(rule),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Rule<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(Self::Off, Self::Set))
    }
}

impl<T: Serialize> Serialize for Rule<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.set().serialize(serializer)
    }
}

/// Which time of an event tells how fresh a source is.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Basis {
    /// When the newest accepted event was received.
    #[default]
    Received,
    /// The greatest effective time of an accepted event: a back-fill of old
    /// events does not make a source fresh.
    Effective,
}

/// How soon events must arrive.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Freshness {
    /// Later than this is `warn`.
    #[serde(default, skip_serializing_if = "Rule::is_inherited")]
    pub warn_after: Rule<Period>,
    /// Later than this is `breached`.
    #[serde(default, skip_serializing_if = "Rule::is_inherited")]
    pub error_after: Rule<Period>,
    /// By which time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basis: Option<Basis>,
    /// Only events of these names count; empty for all. Not for one event.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<String>,
}

/// How many events must arrive. Judged over the last full hours that make the
/// period, once the source has been declared for so long.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    /// Accepted events in one period, from 1.
    pub expected: u64,
    /// Whole hours or days.
    pub every: Period,
    /// Less than this share of them is `warn`, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warn_below: Option<f64>,
    /// Less than this share of them is `breached`, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_below: Option<f64>,
}

/// How many events may fail, which are those that were quarantined or rejected.
/// Their share is of all but duplicates. Judged over the running hour and the full
/// hours of one period before it, so that it is told at once and for a period at
/// least.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Failures {
    /// Whole hours or days.
    pub every: Period,
    /// A greater share of them is `warn`, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warn_above: Option<f64>,
    /// A greater share of them is `breached`, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_above: Option<f64>,
    /// Fewer than this are never told, from 1. With shares of 0 it is the number
    /// that is.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub least: u64,
}

fn one() -> u64 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_one(number: &u64) -> bool {
    *number == 1
}

/// Rules of one event name. What is said of freshness overrides what the source
/// says, threshold by threshold; an expected volume and failures are never taken
/// over.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct EventRules {
    /// How soon.
    #[serde(default, skip_serializing_if = "Rule::is_inherited")]
    pub freshness: Rule<Freshness>,
    /// How many.
    #[serde(default, skip_serializing_if = "Rule::is_inherited")]
    pub volume: Rule<Volume>,
    /// How many may fail.
    #[serde(default, skip_serializing_if = "Rule::is_inherited")]
    pub failures: Rule<Failures>,
}

/// How many events of a source are taken: so many a second in the long run. Each
/// process that takes events in counts for itself.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// Events a second, 1 to [`MAX_EVENTS_PER_SECOND`].
    pub events_per_second: u32,
    /// Events that may come at once, 1 to [`MAX_BURST`]; as many as a second's when
    /// absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
}

impl RateLimit {
    /// Events that may come at once.
    pub fn burst(&self) -> u32 {
        self.burst.unwrap_or(self.events_per_second)
    }

    fn check(self, found: &mut Violations, field: &str) {
        if !(1..=MAX_EVENTS_PER_SECOND).contains(&self.events_per_second) {
            let problem = format!("must lie between 1 and {MAX_EVENTS_PER_SECOND}");
            found.push(format!("{field}.events_per_second"), problem);
        }
        if self.burst.is_some_and(|burst| !(1..=MAX_BURST).contains(&burst)) {
            let problem = format!("must lie between 1 and {MAX_BURST}");
            found.push(format!("{field}.burst"), problem);
        }
    }
}

/// The body of a `kind: Source` document; the source's name is its name.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SourceSpec {
    /// Who answers for it.
    pub owner: String,
    /// What it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// How soon its events must arrive.
    #[serde(default, skip_serializing_if = "Rule::is_inherited")]
    pub freshness: Rule<Freshness>,
    /// How many of them.
    #[serde(default, skip_serializing_if = "Rule::is_inherited")]
    pub volume: Rule<Volume>,
    /// How many of them may fail.
    #[serde(default, skip_serializing_if = "Rule::is_inherited")]
    pub failures: Rule<Failures>,
    /// How many of them are taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<RateLimit>,
    /// Event names that are judged on their own, with what differs for them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub events: BTreeMap<String, EventRules>,
}

/// The rules that hold for a source or one of its events, overrides applied.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules {
    /// Later than this is `warn`.
    pub warn_after: Option<Period>,
    /// Later than this is `breached`.
    pub error_after: Option<Period>,
    /// By which time.
    pub basis: Basis,
    /// Only these events count; empty for all.
    pub events: Vec<String>,
    /// How many must arrive.
    pub volume: Option<Volume>,
    /// How many may fail.
    pub failures: Option<Failures>,
}

/// What arrived, as far as the rules ask.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Arrived {
    /// Time of the newest event by the rules' basis.
    pub newest: Option<DateTime<Utc>>,
    /// Accepted events in [`Volume::window`].
    pub accepted: u64,
    /// Accepted events in [`Failures::window`].
    pub taken: u64,
    /// Quarantined and rejected events in [`Failures::window`].
    pub failed: u64,
}

/// A state and why.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Judgement {
    /// The state: the worst of freshness, completeness and failures.
    pub state: State,
    /// What is wrong; empty when nothing is.
    pub reason: String,
}

impl SourceSpec {
    /// Everything that is wrong with the document of the source `name`.
    pub fn violations(&self, name: &str) -> Vec<Violation> {
        let mut found = Violations::new();
        if !(1..=MAX_SOURCE_BYTES).contains(&name.len()) || name.contains('\0') {
            let problem = format!("must have 1 to {MAX_SOURCE_BYTES} bytes and no U+0000");
            found.push("name", problem);
        }
        found.require_line("owner", &self.owner);
        found.text("description", &self.description);
        if let Some(freshness) = self.freshness.set() {
            freshness.check(&mut found, "freshness");
        }
        if let Some(volume) = self.volume.set() {
            volume.check(&mut found, "volume");
        }
        if let Some(failures) = self.failures.set() {
            failures.check(&mut found, "failures");
        }
        if let Some(limit) = self.limit {
            limit.check(&mut found, "limit");
        }
        if self.events.len() > MAX_EVENTS {
            found.push("events", format!("at most {MAX_EVENTS} are allowed"));
        }
        for (event, rules) in &self.events {
            let field = format!("events.{event}");
            check_event_name(&mut found, &field, event);
            if let Some(freshness) = rules.freshness.set() {
                freshness.check(&mut found, &format!("{field}.freshness"));
                if !freshness.events.is_empty() {
                    let problem = "one event is judged by itself; leave it out";
                    found.push(format!("{field}.freshness.events"), problem);
                }
            }
            if let Some(volume) = rules.volume.set() {
                volume.check(&mut found, &format!("{field}.volume"));
            }
            if let Some(failures) = rules.failures.set() {
                failures.check(&mut found, &format!("{field}.failures"));
            }
        }
        found.into_iter().collect()
    }

    /// Changes with every change of the document.
    pub fn etag(&self) -> String {
        let document = serde_json::to_vec(self).expect("a document's keys are strings");
        hex::encode(&Sha256::digest(document)[..8])
    }

    /// The rules that hold for the source as a whole.
    pub fn rules(&self) -> Rules {
        let volume = self.volume.set().copied();
        let failures = self.failures.set().copied();
        match self.freshness.set() {
            None => Rules { volume, failures, ..Rules::default() },
            Some(freshness) => Rules {
                warn_after: freshness.warn_after.within(None),
                error_after: freshness.error_after.within(None),
                basis: freshness.basis.unwrap_or_default(),
                events: freshness.events.clone(),
                volume,
                failures,
            },
        }
    }

    /// The rules that hold for one of [`Self::events`].
    pub fn rules_of(&self, rules: &EventRules) -> Rules {
        let wider = self.rules();
        let volume = rules.volume.set().copied();
        let failures = rules.failures.set().copied();
        match &rules.freshness {
            Rule::Off => Rules { volume, failures, ..Rules::default() },
            Rule::Inherited => Rules { volume, failures, events: Vec::new(), ..wider },
            Rule::Set(freshness) => Rules {
                warn_after: freshness.warn_after.within(wider.warn_after),
                error_after: freshness.error_after.within(wider.error_after),
                basis: freshness.basis.unwrap_or(wider.basis),
                events: Vec::new(),
                volume,
                failures,
            },
        }
    }
}

fn check_event_name(found: &mut Violations, field: &str, name: &str) {
    if !(1..=MAX_ID_BYTES).contains(&name.len()) {
        let problem = format!("an event name has 1 to {MAX_ID_BYTES} bytes");
        found.push(field, problem);
    } else {
        found.line(field, name);
    }
}

impl Freshness {
    fn check(&self, found: &mut Violations, field: &str) {
        for (name, rule) in [("warn_after", &self.warn_after), ("error_after", &self.error_after)] {
            if let Some(period) = rule.set() {
                period.check(found, &format!("{field}.{name}"));
            }
        }
        if let (Some(warn), Some(error)) = (self.warn_after.set(), self.error_after.set())
            && warn.duration() > error.duration()
        {
            let problem = "must not be longer than error_after";
            found.push(format!("{field}.warn_after"), problem);
        }
        if self.events.len() > MAX_EVENTS {
            let problem = format!("at most {MAX_EVENTS} are allowed");
            found.push(format!("{field}.events"), problem);
        }
        for (index, event) in self.events.iter().enumerate() {
            check_event_name(found, &format!("{field}.events[{index}]"), event);
        }
    }
}

fn check_hours(every: Period, found: &mut Violations, field: &str) {
    if every.period == Unit::Minute {
        found.push(field, "must be whole hours or days: events are counted by the hour");
    } else {
        every.check(found, field);
    }
}

impl Volume {
    fn check(&self, found: &mut Violations, field: &str) {
        if self.expected == 0 || i64::try_from(self.expected).is_err() {
            found.push(format!("{field}.expected"), "must be at least 1");
        }
        check_hours(self.every, found, &format!("{field}.every"));
        for (name, share) in [("warn_below", self.warn_below), ("error_below", self.error_below)] {
            if share.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
                found.push(format!("{field}.{name}"), "must lie between 0 and 1");
            }
        }
        match (self.warn_below, self.error_below) {
            (None, None) => {
                let problem = "say warn_below, error_below or both";
                found.push(field, problem);
            }
            (Some(warn), Some(error)) if warn < error => {
                let problem = "must not be smaller than error_below";
                found.push(format!("{field}.warn_below"), problem);
            }
            _ => {}
        }
    }

    /// The stretch that is counted: up to the last full hour.
    pub fn window(&self, now: DateTime<Utc>) -> (DateTime<Utc>, DateTime<Utc>) {
        // Only a time near the end of the calendar has no full hour before it.
        let end = now.duration_trunc(TimeDelta::hours(1)).unwrap_or(now);
        (end - self.every.duration(), end)
    }
}

impl Failures {
    fn check(&self, found: &mut Violations, field: &str) {
        check_hours(self.every, found, &format!("{field}.every"));
        for (name, share) in [("warn_above", self.warn_above), ("error_above", self.error_above)] {
            if share.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
                found.push(format!("{field}.{name}"), "must lie between 0 and 1");
            }
        }
        if self.least == 0 || i64::try_from(self.least).is_err() {
            found.push(format!("{field}.least"), "must be at least 1");
        }
        match (self.warn_above, self.error_above) {
            (None, None) => found.push(field, "say warn_above, error_above or both"),
            (Some(warn), Some(error)) if warn > error => {
                found.push(format!("{field}.warn_above"), "must not be greater than error_above");
            }
            _ => {}
        }
    }

    /// The stretch that is counted: one period of full hours, and the running one.
    pub fn window(&self, now: DateTime<Utc>) -> (DateTime<Utc>, DateTime<Utc>) {
        let hour = now.duration_trunc(TimeDelta::hours(1)).unwrap_or(now);
        (hour - self.every.duration(), hour + TimeDelta::hours(1))
    }
}

impl Rules {
    /// Judges what arrived. A source that never sent anything is as old as its
    /// declaration.
    pub fn judge(
        &self,
        arrived: Arrived,
        declared_at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Judgement {
        let (late, why_late) = self.judge_freshness(arrived.newest, declared_at, now);
        let (little, why_little) = self.judge_volume(arrived.accepted, declared_at, now);
        let (bad, why_bad) = self.judge_failures(arrived);
        let reasons: Vec<String> = [why_late, why_little, why_bad].into_iter().flatten().collect();
        Judgement { state: late.max(little).max(bad), reason: reasons.join("; ") }
    }

    fn judge_failures(&self, arrived: Arrived) -> (State, Option<String>) {
        let Some(failures) = &self.failures else { return (State::Off, None) };
        let Arrived { taken, failed, .. } = arrived;
        if failed < failures.least {
            return (State::Fresh, None);
        }
        let all = taken + failed;
        let share = failed as f64 / all as f64;
        let above = |limit: Option<f64>| limit.is_some_and(|limit| share > limit);
        let why = || Some(format!("{failed} of {all} events failed in {}", failures.every));
        if above(failures.error_above) {
            (State::Breached, why())
        } else if above(failures.warn_above) {
            (State::Warn, why())
        } else {
            (State::Fresh, None)
        }
    }

    fn judge_freshness(
        &self,
        newest: Option<DateTime<Utc>>,
        declared_at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> (State, Option<String>) {
        let beyond = |limit: Option<Period>| {
            limit.filter(|limit| now - newest.unwrap_or(declared_at) > limit.duration())
        };
        let why = |name: &str, limit: Period| {
            Some(match newest {
                Some(newest) => {
                    let newest = newest.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
                    format!("no event since {newest}, {name} is {limit}")
                }
                None => format!("no event since it was declared, {name} is {limit}"),
            })
        };
        match (beyond(self.error_after), beyond(self.warn_after)) {
            (Some(limit), _) => (State::Breached, why("error_after", limit)),
            (None, Some(limit)) => (State::Warn, why("warn_after", limit)),
            (None, None) if self.warn_after.is_none() && self.error_after.is_none() => {
                (State::Off, None)
            }
            (None, None) => (State::Fresh, None),
        }
    }

    fn judge_volume(
        &self,
        accepted: u64,
        declared_at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> (State, Option<String>) {
        let Some(volume) = &self.volume else { return (State::Off, None) };
        if volume.window(now).0 < declared_at {
            return (State::Fresh, None);
        }
        let expected = volume.expected;
        let share = accepted as f64 / expected as f64;
        let below = |limit: Option<f64>| limit.is_some_and(|limit| share < limit);
        let why = || Some(format!("{accepted} of {expected} events in {}", volume.every));
        if below(volume.error_below) {
            (State::Breached, why())
        } else if below(volume.warn_below) {
            (State::Warn, why())
        } else {
            (State::Fresh, None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(yaml: &str) -> SourceSpec {
        serde_norway::from_str(yaml).unwrap()
    }

    fn at(time: &str) -> DateTime<Utc> {
        time.parse().unwrap()
    }

    const SHOP: &str = "
owner: growth
freshness:
  warn_after: {count: 6, period: hour}
  error_after: {count: 12, period: hour}
volume: {expected: 100, every: {count: 1, period: day}, warn_below: 0.9, error_below: 0.5}
events:
  Order Placed:
    freshness: {warn_after: {count: 1, period: hour}, error_after: null}
  Cart Viewed: {freshness: null}
  Signed Up: {}
failures: {every: {count: 1, period: hour}, warn_above: 0.01, least: 5}
limit: {events_per_second: 1000}
";

    #[test]
    fn silence_turns_from_fresh_over_warn_to_breached() {
        let rules = spec(SHOP).rules();
        let newest = at("2026-03-02T00:00:00Z");
        let state = |hours, minutes| {
            let now = newest + TimeDelta::hours(hours) + TimeDelta::minutes(minutes);
            let arrived = Arrived { newest: Some(newest), accepted: 100, ..Arrived::default() };
            rules.judge(arrived, at("2026-01-01T00:00:00Z"), now).state
        };
        assert_eq!(state(6, 0), State::Fresh);
        assert_eq!(state(6, 1), State::Warn);
        assert_eq!(state(12, 0), State::Warn);
        assert_eq!(state(12, 1), State::Breached);
    }

    #[test]
    fn a_source_that_never_sent_is_as_old_as_its_declaration() {
        let rules = spec(SHOP).rules();
        let declared = at("2026-03-02T00:00:00Z");
        let judged =
            |hours| rules.judge(Arrived::default(), declared, declared + TimeDelta::hours(hours));
        assert_eq!(judged(1).state, State::Fresh);
        let breached = judged(13);
        assert_eq!(breached.state, State::Breached);
        assert_eq!(breached.reason, "no event since it was declared, error_after is 12h");
    }

    #[test]
    fn too_few_events_warn_and_breach_once_a_period_has_passed() {
        let rules = Rules { warn_after: None, error_after: None, ..spec(SHOP).rules() };
        let declared = at("2026-03-01T10:30:00Z");
        let state = |accepted, now: &str| {
            rules.judge(Arrived { accepted, ..Arrived::default() }, declared, at(now)).state
        };
        assert_eq!(state(0, "2026-03-02T10:59:00Z"), State::Fresh, "a full day has not passed");
        assert_eq!(state(0, "2026-03-02T11:00:00Z"), State::Breached);
        assert_eq!(state(49, "2026-03-02T12:00:00Z"), State::Breached);
        assert_eq!(state(50, "2026-03-02T12:00:00Z"), State::Warn);
        assert_eq!(state(90, "2026-03-02T12:00:00Z"), State::Fresh);
    }

    #[test]
    fn failures_are_told_by_their_share_and_from_a_least_number_on() {
        let judged = |failures: &str, taken, failed| {
            let spec = spec(&format!("owner: growth\nfailures: {failures}"));
            assert_eq!(spec.violations("shop"), []);
            let arrived = Arrived { taken, failed, ..Arrived::default() };
            spec.rules().judge(arrived, DateTime::UNIX_EPOCH, at("2026-03-02T12:30:00Z"))
        };
        let shares = "{every: {count: 1, period: hour}, warn_above: 0.01, error_above: 0.1}";
        assert_eq!(judged(shares, 0, 0).state, State::Fresh);
        assert_eq!(judged(shares, 99, 1).state, State::Fresh);
        assert_eq!(judged(shares, 98, 2).state, State::Warn);
        let breached = judged(shares, 89, 11);
        assert_eq!(breached.state, State::Breached);
        assert_eq!(breached.reason, "11 of 100 events failed in 1h");
        assert_eq!(judged(shares, 0, 1).state, State::Breached);

        let number = "{every: {count: 1, period: day}, warn_above: 0, least: 10}";
        assert_eq!(judged(number, 0, 9).state, State::Fresh);
        assert_eq!(judged(number, 1_000_000, 10).state, State::Warn);
    }

    #[test]
    fn failures_are_looked_for_in_the_running_hour_and_a_period_before_it() {
        let failures = Failures {
            every: Period { count: 2, period: Unit::Hour },
            warn_above: Some(0.0),
            error_above: None,
            least: 1,
        };
        let window = failures.window(at("2026-03-02T12:30:00Z"));
        assert_eq!(window, (at("2026-03-02T10:00:00Z"), at("2026-03-02T13:00:00Z")));
    }

    #[test]
    fn an_event_overrides_its_source_threshold_by_threshold() {
        let shop = spec(SHOP);
        let rules = |event: &str| shop.rules_of(&shop.events[event]);
        let hours = |count| Some(Period { count, period: Unit::Hour });
        assert_eq!(rules("Order Placed").warn_after, hours(1));
        assert_eq!(rules("Order Placed").error_after, None);
        assert_eq!(rules("Cart Viewed"), Rules::default());
        assert_eq!(rules("Signed Up").error_after, hours(12));
        assert_eq!(rules("Signed Up").volume, None, "a volume is that of the whole source");
    }

    #[test]
    fn a_document_reads_back_as_it_was_written() {
        let shop = spec(SHOP);
        assert_eq!(shop.violations("shop"), []);
        let again: SourceSpec = spec(&serde_norway::to_string(&shop).unwrap());
        assert_eq!(again, shop);
        assert_eq!(again.etag(), shop.etag());
    }

    #[test]
    fn every_fault_is_told_with_its_field() {
        let bad = spec(
            "
owner: ''
freshness: {warn_after: {count: 2, period: day}, error_after: {count: 1, period: day}}
volume: {expected: 0, every: {count: 5, period: minute}}
failures: {every: {count: 90, period: minute}, warn_above: 0.5, error_above: 0.2, least: 0}
limit: {events_per_second: 0, burst: 0}
events:
  A: {freshness: {warn_after: {count: 0, period: hour}, events: [B]}}
",
        );
        let fields: Vec<String> = bad.violations("").into_iter().map(|v| v.field).collect();
        assert_eq!(
            fields,
            [
                "name",
                "owner",
                "freshness.warn_after",
                "volume.expected",
                "volume.every",
                "volume",
                "failures.every",
                "failures.least",
                "failures.warn_above",
                "limit.events_per_second",
                "limit.burst",
                "events.A.freshness.warn_after",
                "events.A.freshness.events",
            ]
        );
    }
}
