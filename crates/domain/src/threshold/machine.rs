//! What follows from an evaluation.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::condition::{Reading, Reference};
use super::spec::Rules;
use crate::kpi::Freshness;
use crate::timestamp;

/// What a threshold remembers. An episode lasts from the moment people should be
/// asked until the value has recovered; each has one number, and at most one is
/// open.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Number of the latest episode; 0 before the first.
    #[serde(default)]
    pub episode: u64,
    /// Where it is.
    #[serde(default)]
    pub phase: Phase,
    /// Only what ends after this counts: everything else belongs to an episode
    /// that is over.
    #[serde(default, with = "timestamp::option", skip_serializing_if = "Option::is_none")]
    pub counted_after: Option<DateTime<Utc>>,
    /// Nobody is asked before this.
    #[serde(default, with = "timestamp::option", skip_serializing_if = "Option::is_none")]
    pub cool_until: Option<DateTime<Utc>>,
}

/// Where a threshold is.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum Phase {
    /// No episode is open.
    #[default]
    Watching,
    /// People should be asked, when the quiet is over.
    Deferred {
        /// Since when.
        #[serde(with = "timestamp")]
        since: DateTime<Utc>,
        /// When the quiet is over.
        #[serde(with = "timestamp")]
        until: DateTime<Utc>,
    },
    /// People were asked, and the value has not recovered.
    Open {
        /// When they were asked.
        #[serde(with = "timestamp")]
        since: DateTime<Utc>,
    },
}

/// What was found when a threshold was evaluated.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// What was observed, oldest first; the last one is the newest.
    pub observations: Vec<Observation>,
    /// Whether the sources behind the values deliver.
    pub freshness: Freshness,
}

/// One bucket or window, and the value in it. Of several values of a dimension,
/// the worst.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Observation {
    /// Its first instant.
    #[serde(with = "timestamp")]
    pub start: DateTime<Utc>,
    /// Its end.
    #[serde(with = "timestamp")]
    pub end: DateTime<Utc>,
    /// The value of the dimension, where one is judged; absent for events without
    /// one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment: Option<String>,
    /// The value; absent when it cannot be computed.
    pub value: Option<f64>,
    /// What a change is measured from, or what the past of an anomaly leads to
    /// expect; absent when too little of it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<f64>,
    /// How far the past of an anomaly strayed, as a robust standard deviation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread: Option<f64>,
    /// Events or subjects that the value rests on.
    pub sample: u64,
    /// Whether nothing but late events can still change it.
    pub complete: bool,
}

/// What keeps an evaluation from having an effect.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// The log is empty.
    Empty,
    /// The sources do not deliver: inform, but do not decide.
    Stale,
    /// There is no value.
    NoData,
    /// The value may still change.
    Immature,
    /// The value rests on too little.
    SmallSample,
    /// Too little time passed since the last recovery.
    CoolDown,
    /// Nobody is asked at this hour.
    Quiet,
}

/// What follows.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Effect {
    /// Nothing.
    None,
    /// It breaches, but the sources do not deliver: nobody is asked.
    Inform,
    /// People are asked later.
    Defer {
        /// When.
        #[serde(with = "timestamp")]
        until: DateTime<Utc>,
    },
    /// People are asked now.
    Raise {
        /// Number of the episode.
        episode: u64,
    },
    /// The value has recovered.
    Clear {
        /// Number of the episode.
        episode: u64,
    },
}

/// Everything that follows from an evaluation.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What is remembered from now on.
    pub state: State,
    /// What happens.
    pub effect: Effect,
    /// What the newest observation says.
    pub reading: Reading,
    /// How many of the observations that count breach.
    pub breaches: u32,
    /// What kept the effect from being another.
    pub gates: Vec<Gate>,
}

impl Observation {
    /// What its value is held against.
    pub fn held_against(&self) -> Reference {
        Reference { value: self.reference, spread: self.spread }
    }

    /// What it says by the rules, and what keeps it from saying more.
    pub fn read(&self, rules: &Rules) -> (Reading, Option<Gate>) {
        let gate = if self.value.is_none() {
            Gate::NoData
        } else if !self.complete {
            Gate::Immature
        } else if self.sample < rules.minimum_sample {
            Gate::SmallSample
        } else {
            return match rules.condition.read(self.value, self.held_against()) {
                Reading::Unknown => (Reading::Unknown, Some(Gate::NoData)),
                reading => (reading, None),
            };
        };
        (Reading::Unknown, Some(gate))
    }
}

impl State {
    /// What follows from an evaluation at an instant. The same state, evaluation
    /// and instant always have the same consequences.
    #[must_use]
    pub fn step(self, rules: &Rules, evaluation: &Evaluation, now: DateTime<Utc>) -> Step {
        let counted: Vec<_> = evaluation
            .observations
            .iter()
            .filter(|observation| self.counted_after.is_none_or(|after| observation.end > after))
            .map(|observation| observation.read(rules).0)
            .collect();
        let newest = evaluation.observations.last();
        let (reading, gate) =
            newest.map_or((Reading::Unknown, Some(Gate::NoData)), |newest| newest.read(rules));
        let counts_now =
            newest.is_some_and(|newest| self.counted_after.is_none_or(|after| newest.end > after));
        let breached = counted.iter().filter(|reading| **reading == Reading::Breached).count();
        let breaches = u32::try_from(breached).unwrap_or(u32::MAX);
        let mut gates: Vec<Gate> = gate.into_iter().collect();
        let trusted = match evaluation.freshness {
            Freshness::Fresh => true,
            Freshness::Stale => {
                gates.push(Gate::Stale);
                false
            }
            Freshness::Empty => {
                gates.push(Gate::Empty);
                false
            }
        };
        let confirmed = counts_now && reading == Reading::Breached && breaches >= rules.breaches;
        let recovered = trusted && reading == Reading::Clear;
        let (state, effect) = match self.phase {
            Phase::Open { .. } if recovered => self.clear(rules, newest, now),
            Phase::Open { .. } => (self, Effect::None),
            Phase::Deferred { .. } if recovered => self.clear(rules, newest, now),
            Phase::Deferred { since, until } => {
                self.ask_later(rules, reading, trusted, (since, until), now, &mut gates)
            }
            Phase::Watching if !confirmed => {
                let informs = !trusted && reading == Reading::Breached;
                (self, if informs { Effect::Inform } else { Effect::None })
            }
            Phase::Watching if !trusted => (self, Effect::Inform),
            Phase::Watching if self.cool_until.is_some_and(|until| until > now) => {
                gates.push(Gate::CoolDown);
                (self, Effect::None)
            }
            Phase::Watching => self.open(rules, now, &mut gates),
        };
        Step { state, effect, reading, breaches, gates }
    }

    fn open(self, rules: &Rules, now: DateTime<Utc>, gates: &mut Vec<Gate>) -> (Self, Effect) {
        let episode = self.episode + 1;
        match quiet_until(rules, now) {
            Some(until) => {
                gates.push(Gate::Quiet);
                let phase = Phase::Deferred { since: now, until };
                (Self { episode, phase, ..self }, Effect::Defer { until })
            }
            None => {
                let phase = Phase::Open { since: now };
                (Self { episode, phase, ..self }, Effect::Raise { episode })
            }
        }
    }

    /// What was confirmed in the quiet is asked after it, unless it has recovered.
    fn ask_later(
        self,
        rules: &Rules,
        reading: Reading,
        trusted: bool,
        (since, until): (DateTime<Utc>, DateTime<Utc>),
        now: DateTime<Utc>,
        gates: &mut Vec<Gate>,
    ) -> (Self, Effect) {
        if let Some(quiet) =
            quiet_until(rules, now).or_else(|| Some(until).filter(|until| *until > now))
        {
            gates.push(Gate::Quiet);
            let phase = Phase::Deferred { since, until: quiet };
            return (Self { phase, ..self }, Effect::None);
        }
        if !trusted {
            let informs = reading == Reading::Breached;
            return (self, if informs { Effect::Inform } else { Effect::None });
        }
        match reading {
            Reading::Breached | Reading::Between => {
                let phase = Phase::Open { since: now };
                (Self { phase, ..self }, Effect::Raise { episode: self.episode })
            }
            Reading::Clear | Reading::Unknown => (self, Effect::None),
        }
    }

    /// Only what people were asked about cools down: what recovered before it was
    /// asked bothered nobody.
    fn clear(
        self,
        rules: &Rules,
        newest: Option<&Observation>,
        now: DateTime<Utc>,
    ) -> (Self, Effect) {
        let cool_until = match self.phase {
            Phase::Open { .. } => Some(now + rules.cool_down).filter(|until| *until > now),
            Phase::Deferred { .. } | Phase::Watching => self.cool_until,
        };
        let counted_after = newest.map(|newest| newest.end).or(self.counted_after);
        let state =
            Self { phase: Phase::Watching, counted_after, cool_until, episode: self.episode };
        (state, Effect::Clear { episode: self.episode })
    }
}

fn quiet_until(rules: &Rules, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    rules.quiet.as_ref().and_then(|quiet| quiet.until(now))
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
