//! From the rule of a document to a rule for the engine.

use northstar_domain::cohort::{Rule, Take};
use northstar_domain::metric::property_path;
use northstar_engine as engine;

use crate::plan::{self, micros};
use crate::{Error, Result};

/// What the engine judges.
pub(crate) fn rule(rule: &Rule) -> Result<engine::CohortRule> {
    let all = |parts: &[Rule]| parts.iter().map(self::rule).collect::<Result<Vec<_>>>();
    Ok(match rule {
        Rule::All(parts) => engine::CohortRule::All(all(parts)?),
        Rule::Any(parts) => engine::CohortRule::Any(all(parts)?),
        Rule::Not(part) => engine::CohortRule::Not(Box::new(self::rule(part)?)),
        Rule::Property(rule) => engine::CohortRule::Property {
            event: plan::selector(&rule.event)?,
            property: property_path(&rule.name).to_owned(),
            condition: engine::Filter::parse(&rule.condition)
                .map_err(|error| Error::Engine(engine::Error::Filter(error)))?,
            take: match rule.take {
                Take::Latest => engine::Take::Latest,
                Take::Any => engine::Take::Any,
            },
        },
        Rule::Did(rule) => {
            let (at_least, at_most) = rule.bounds();
            engine::CohortRule::Did {
                event: plan::selector(&rule.event)?,
                at_least,
                at_most,
                within_micros: rule.within.map(micros),
            }
        }
        Rule::Sequence(rule) => engine::CohortRule::Sequence {
            steps: rule.steps.iter().map(plan::selector).collect::<Result<_>>()?,
            window_micros: rule.window.map(micros),
            within_micros: rule.within.map(micros),
        },
        Rule::FirstTime(rule) => engine::CohortRule::FirstTime {
            event: plan::selector(&rule.event)?,
            from_micros: rule.from.map_or(i64::MIN, plan::instant),
            to_micros: rule.to.map_or(i64::MAX, plan::instant),
        },
    })
}
