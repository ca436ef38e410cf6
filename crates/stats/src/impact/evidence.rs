//! What kind of evidence an answer is, in words that nobody can mistake.

use serde::{Deserialize, Serialize};

/// How the comparison came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// Chance decided who was held out.
    Randomised,
    /// Nobody was assigned; like was compared with like.
    Matched,
    /// The treated with themselves before.
    BeforeAfter,
}

/// What the checks of a matched comparison found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Findings {
    /// Covariates that still differ after matching.
    pub imbalanced: u64,
    /// Treated subjects without a counterpart.
    pub unmatched: u64,
    /// Treated subjects.
    pub treated: u64,
    /// Whether the groups were drifting apart before; `None` when that could not be tested.
    pub diverging: Option<bool>,
}

impl Evidence {
    /// The statement that goes with every answer.
    pub fn statement(self, findings: Findings) -> String {
        match self {
            Self::Randomised => {
                "Randomised: chance decided who was held out, so the difference is \
                                 the effect, within its interval."
                    .to_owned()
            }
            Self::BeforeAfter => "Before/after only: the same subjects before and after, with \
                                  nobody to compare with. Seasons, other changes and the reason \
                                  they adopted are all in this number; it does not say what the \
                                  change did."
                .to_owned(),
            Self::Matched => {
                let mut text = "Quasi-experimental: adopters were compared with others who were \
                                like them before, and with what those did meanwhile. Nobody was \
                                assigned at random, so a difference that the covariates do not \
                                show may still be the cause."
                    .to_owned();
                if findings.imbalanced > 0 {
                    text += &format!(
                        " {} covariate{} still differ{} between the groups.",
                        findings.imbalanced,
                        if findings.imbalanced == 1 { "" } else { "s" },
                        if findings.imbalanced == 1 { "s" } else { "" },
                    );
                }
                if findings.unmatched > 0 {
                    text += &format!(
                        " {} of {} adopters had no counterpart; the answer is not about them.",
                        findings.unmatched, findings.treated
                    );
                }
                match findings.diverging {
                    Some(true) => {
                        text += " The groups were drifting apart before anybody adopted: do not \
                                 act on this number.";
                    }
                    Some(false) => {
                        text += " Before adoption the groups moved alike.";
                    }
                    None => {
                        text += " Whether the groups moved alike before could not be tested.";
                    }
                }
                text
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matched_answer_says_what_it_cannot_know() {
        let findings = Findings { imbalanced: 1, unmatched: 3, treated: 10, diverging: Some(true) };
        let text = Evidence::Matched.statement(findings);
        assert!(text.starts_with("Quasi-experimental"));
        assert!(text.contains("1 covariate still differs"));
        assert!(text.contains("3 of 10 adopters"));
        assert!(text.contains("do not act"));
        assert!(Evidence::BeforeAfter.statement(findings).starts_with("Before/after only"));
    }
}
