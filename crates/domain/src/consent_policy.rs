//! What may be done with whose data: purposes, regions, and the last word of a
//! subject.
//!
//! Everything here fails closed: what needs a grant is not done while nobody has
//! said yes, and of two words of the same time the refusal holds.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::Violations;
use crate::consent::{Consent, MAX_PURPOSE_BYTES};
use crate::event::{Fault, MAX_REGION_BYTES, Reason};

/// The purpose whose withdrawal takes a subject out of every number, in every
/// project, whether or not a policy names it.
pub const ANALYTICS: &str = "analytics";

const OWNER_LIMIT: usize = 200;
const TEXT_LIMIT: usize = 4_000;
const MOST_PURPOSES: usize = 50;
const MOST_REGIONS: usize = 500;

/// What is done with the data of a subject.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DataUse {
    /// An event is kept.
    Store,
    /// It counts in numbers.
    Analyse,
    /// An automation acts on the subject.
    Act,
}

/// Something a person can agree to.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Purpose {
    /// Its name, for example `analytics`.
    pub name: String,
    /// What people are told it means.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// What is not done without a grant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub required_for: Vec<DataUse>,
}

/// The body of a `kind: ConsentPolicy` document.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ConsentPolicy {
    /// Who answers for it.
    pub owner: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The purposes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub purposes: Vec<Purpose>,
    /// When it names any, only events of these regions are taken, and one that
    /// does not say its region is refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_regions: Vec<String>,
    /// Events of these regions are refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocked_regions: Vec<String>,
}

/// Whether a text can name a purpose: 1 to 100 bytes on one line.
pub fn is_purpose(name: &str) -> bool {
    (1..=MAX_PURPOSE_BYTES).contains(&name.len())
        && !name.trim().is_empty()
        && !name.chars().any(char::is_control)
}

impl ConsentPolicy {
    /// Whether it keeps any event from being stored: one that does not needs no
    /// look at what events say.
    pub fn judges_events(&self) -> bool {
        !self.allowed_regions.is_empty()
            || !self.blocked_regions.is_empty()
            || self.required_for(DataUse::Store).next().is_some()
    }

    /// Everything that is wrong with it.
    pub fn violations(&self) -> Violations {
        let mut found = Violations::new();
        found.require_text("owner", &self.owner, OWNER_LIMIT);
        found.require(self.description.len() <= TEXT_LIMIT, "description", "is too long");
        if self.purposes.len() > MOST_PURPOSES {
            found.push("purposes", format!("at most {MOST_PURPOSES} are allowed"));
        }
        for (index, purpose) in self.purposes.iter().enumerate() {
            let field = |name: &str| format!("purposes[{index}].{name}");
            if !is_purpose(&purpose.name) {
                found.push(
                    field("name"),
                    format!(
                        "{:?} is not a purpose: use 1 to {MAX_PURPOSE_BYTES} bytes on one line",
                        purpose.name
                    ),
                );
            }
            if self.purposes[..index].iter().any(|other| other.name == purpose.name) {
                found.push(field("name"), format!("{} is named twice", purpose.name));
            }
            if purpose.description.len() > TEXT_LIMIT {
                found.push(field("description"), "is too long");
            }
        }
        for (name, regions) in
            [("allowed_regions", &self.allowed_regions), ("blocked_regions", &self.blocked_regions)]
        {
            if regions.len() > MOST_REGIONS {
                found.push(name, format!("at most {MOST_REGIONS} are allowed"));
            }
            if regions.iter().any(|region| !(1..=MAX_REGION_BYTES).contains(&region.trim().len())) {
                found.push(name, format!("a region has 1 to {MAX_REGION_BYTES} bytes"));
            }
        }
        if let Some(both) =
            self.allowed_regions.iter().find(|region| contains(&self.blocked_regions, region))
        {
            found.push("blocked_regions", format!("{both} is allowed and blocked"));
        }
        found
    }

    /// Changes with every change of the policy.
    pub fn etag(&self) -> String {
        let document = serde_json::to_vec(self).expect("a policy's keys are strings");
        hex::encode(&Sha256::digest(document)[..8])
    }

    /// The purposes without whose grant something is not done.
    pub fn required_for(&self, data_use: DataUse) -> impl Iterator<Item = &str> {
        self.purposes
            .iter()
            .filter(move |purpose| purpose.required_for.contains(&data_use))
            .map(|purpose| purpose.name.as_str())
    }

    /// Whether an event may be kept. The fault names no content of the event.
    ///
    /// # Errors
    /// [`Reason::RegionBlocked`] and [`Reason::ConsentMissing`].
    pub fn may_store(&self, region: &str, said: Option<&Consent>) -> Result<(), Fault> {
        let region = region.trim();
        let blocked = contains(&self.blocked_regions, region)
            || (!self.allowed_regions.is_empty() && !contains(&self.allowed_regions, region));
        if blocked {
            return Err(Fault::new(
                Reason::RegionBlocked,
                "region",
                if region.is_empty() {
                    "the consent policy takes events of named regions only, and this one says none"
                } else {
                    "the consent policy refuses events of this region; nothing was kept"
                },
            ));
        }
        let granted = |purpose: &str| {
            said.is_some_and(|said| {
                said.granted.contains(purpose) && !said.denied.contains(purpose)
            })
        };
        match self.required_for(DataUse::Store).find(|purpose| !granted(purpose)) {
            None => Ok(()),
            Some(purpose) => Err(Fault::new(
                Reason::ConsentMissing,
                "consent",
                format!("without consent to {purpose} nothing is kept"),
            )),
        }
    }
}

fn contains(regions: &[String], region: &str) -> bool {
    regions.iter().any(|known| known.trim().eq_ignore_ascii_case(region.trim()))
}

/// The last word about one purpose.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Word {
    /// When it was said.
    pub at: DateTime<Utc>,
    /// Whether it was yes.
    pub granted: bool,
}

impl Word {
    /// Of two words the one that holds: the later, and of the same time the
    /// refusal.
    #[must_use]
    pub fn or_later(self, other: Self) -> Self {
        let order = |word: &Self| (word.at, !word.granted);
        if order(&other) > order(&self) { other } else { self }
    }
}

/// The last words of a subject, by purpose.
pub type Words = BTreeMap<String, Word>;

/// Whether something may be done with a subject's data. Nothing is done against
/// a refusal of a purpose it needs; what needs a grant needs one.
pub fn may(policy: &ConsentPolicy, data_use: DataUse, words: &Words) -> bool {
    let granted = |purpose: &str| words.get(purpose).is_some_and(|word| word.granted);
    let withdrawn =
        data_use == DataUse::Analyse && words.get(ANALYTICS).is_some_and(|word| !word.granted);
    !withdrawn && policy.required_for(data_use).all(granted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> ConsentPolicy {
        serde_norway::from_str(
            "owner: privacy\npurposes:\n  - {name: service, required_for: [store]}\n  \
             - {name: analytics, required_for: [analyse]}\n  \
             - {name: marketing, required_for: [act]}\nallowed_regions: [eu, uk]\n",
        )
        .unwrap()
    }

    #[test]
    fn what_is_not_said_is_refused() {
        let policy = policy();
        assert!(policy.violations().is_empty());
        let service = Consent::new(["service"], []).unwrap();
        let refusal = Consent::new([], ["service"]).unwrap();
        let reason = |region: &str, said: &Consent| {
            policy.may_store(region, Some(said)).err().map(|fault| fault.reason)
        };
        assert_eq!(reason("EU ", &service), None);
        assert_eq!(reason("us", &service), Some(Reason::RegionBlocked));
        assert_eq!(reason("", &service), Some(Reason::RegionBlocked));
        assert_eq!(reason("eu", &Consent::default()), Some(Reason::ConsentMissing));
        assert_eq!(reason("eu", &refusal), Some(Reason::ConsentMissing));
        assert_eq!(policy.may_store("eu", None).unwrap_err().reason, Reason::ConsentMissing);
        let none = ConsentPolicy::default();
        assert!(none.may_store("", None).is_ok());
    }

    #[test]
    fn the_last_word_holds_and_of_the_same_time_the_refusal() {
        let word =
            |seconds, granted| Word { at: DateTime::from_timestamp(seconds, 0).unwrap(), granted };
        assert_eq!(word(1, true).or_later(word(2, false)), word(2, false));
        assert_eq!(word(2, false).or_later(word(1, true)), word(2, false));
        assert_eq!(word(2, true).or_later(word(2, false)), word(2, false));
        assert_eq!(word(2, false).or_later(word(2, true)), word(2, false));
        let words = Words::from([("analytics".to_owned(), word(1, true))]);
        assert!(may(&policy(), DataUse::Analyse, &words));
        assert!(!may(&policy(), DataUse::Act, &words));
        assert!(!may(&policy(), DataUse::Analyse, &Words::new()));
        let open = ConsentPolicy::default();
        assert!(may(&open, DataUse::Analyse, &Words::new()));
        let withdrawn = Words::from([("analytics".to_owned(), word(1, false))]);
        assert!(!may(&open, DataUse::Analyse, &withdrawn));
    }

    #[test]
    fn every_fault_of_a_policy_is_told() {
        let wrong: ConsentPolicy = serde_norway::from_str(
            "owner: ''\npurposes: [{name: ' '}, {name: a}, {name: a}]\n\
             allowed_regions: [eu, '']\nblocked_regions: [EU]\n",
        )
        .unwrap();
        let fields: Vec<_> =
            wrong.violations().as_slice().iter().map(|found| found.field.clone()).collect();
        assert_eq!(
            fields,
            ["owner", "purposes[0].name", "purposes[2].name", "allowed_regions", "blocked_regions"]
        );
        assert!(serde_norway::from_str::<ConsentPolicy>("owner: x\nregions: []\n").is_err());
    }
}
