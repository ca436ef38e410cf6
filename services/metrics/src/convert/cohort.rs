//! Cohorts on the wire.

use northstar_domain::Violations;
use northstar_domain::cohort::{
    Cohort, DidRule, FirstTimeRule, MemberList, Origin, PropertyRule, Rule, SequenceRule, Take,
};
use northstar_domain::metric::EventSelector;
use northstar_proto::metrics::v1 as pb;
use northstar_proto::metrics::v1::cohort::Definition as PbDefinition;
use northstar_proto::metrics::v1::cohort_rule::Rule as PbRule;

use super::metric::{selector_from_proto, selector_to_proto};
use super::time::read_timestamp;
use super::{Received, read_duration, to_duration, to_timestamp};

/// A cohort for the wire.
pub fn to_proto(name: &str, version: i64, etag: &str, cohort: &Cohort) -> pb::Cohort {
    let list = cohort.list.as_ref().map(|list| {
        PbDefinition::List(pb::CohortMemberList {
            snapshot_of: list.snapshot_of.as_ref().map(|origin| pb::CohortOrigin {
                cohort: origin.cohort.clone(),
                version: origin.version,
                log_position: origin.log_position,
                time: Some(to_timestamp(origin.time)),
            }),
        })
    });
    let rule = || cohort.rule.as_ref().map(|rule| PbDefinition::Rule(rule_to_proto(rule)));
    pb::Cohort {
        name: name.to_owned(),
        title: cohort.title.clone(),
        description: cohort.description.clone(),
        owner: cohort.owner.clone(),
        definition: list.or_else(rule),
        version,
        etag: etag.to_owned(),
    }
}

fn rule_to_proto(rule: &Rule) -> pb::CohortRule {
    let rules =
        |parts: &[Rule]| pb::CohortRules { rules: parts.iter().map(rule_to_proto).collect() };
    let selector = |selector: &EventSelector| Some(selector_to_proto(selector));
    pb::CohortRule {
        rule: Some(match rule {
            Rule::All(parts) => PbRule::All(rules(parts)),
            Rule::Any(parts) => PbRule::Any(rules(parts)),
            Rule::Not(part) => PbRule::Not(Box::new(rule_to_proto(part))),
            Rule::Property(rule) => PbRule::Property(pb::CohortPropertyRule {
                name: rule.name.clone(),
                condition: rule.condition.clone(),
                take: match rule.take {
                    Take::Latest => pb::CohortTake::Latest,
                    Take::Any => pb::CohortTake::Any,
                }
                .into(),
                event: selector(&rule.event).filter(|_| rule.event != EventSelector::default()),
            }),
            Rule::Did(rule) => PbRule::Did(pb::CohortDidRule {
                event: selector(&rule.event),
                at_least: rule.at_least.map(u64::cast_signed),
                at_most: rule.at_most.map(u64::cast_signed),
                exactly: rule.exactly.map(u64::cast_signed),
                within: rule.within.map(to_duration),
            }),
            Rule::Sequence(rule) => PbRule::Sequence(pb::CohortSequenceRule {
                steps: rule.steps.iter().map(selector_to_proto).collect(),
                window: rule.window.map(to_duration),
                within: rule.within.map(to_duration),
            }),
            Rule::FirstTime(rule) => PbRule::FirstTime(pb::CohortFirstTimeRule {
                event: selector(&rule.event),
                start_time: rule.from.map(to_timestamp),
                end_time: rule.to.map(to_timestamp),
            }),
        }),
    }
}

/// A cohort from the wire.
pub fn from_proto(cohort: pb::Cohort) -> Received<Cohort> {
    let mut violations = Violations::new();
    let pb::Cohort { name, title, description, owner, definition, version: _, etag } = cohort;
    let mut document = Cohort { title, description, owner, ..Cohort::default() };
    match definition {
        Some(PbDefinition::Rule(rule)) => {
            document.rule = rule_from_proto(&mut violations, "rule", rule);
        }
        Some(PbDefinition::List(list)) => {
            let origin = list.snapshot_of.map(|origin| {
                let field = "list.snapshot_of.time";
                let time = read_timestamp(&mut violations, field, origin.time).unwrap_or_default();
                let pb::CohortOrigin { cohort, version, log_position, time: _ } = origin;
                Origin { cohort, version, log_position, time }
            });
            document.list = Some(MemberList { snapshot_of: origin });
        }
        None => {}
    }
    Received { name, etag, document, violations }
}

fn rule_from_proto(found: &mut Violations, path: &str, rule: pb::CohortRule) -> Option<Rule> {
    let Some(rule) = rule.rule else {
        found.push(path, "is required: all, any, not, property, did, sequence or first_time");
        return None;
    };
    Some(match rule {
        PbRule::All(parts) => Rule::All(rules_from_proto(found, &format!("{path}.all"), parts)),
        PbRule::Any(parts) => Rule::Any(rules_from_proto(found, &format!("{path}.any"), parts)),
        PbRule::Not(part) => {
            Rule::Not(Box::new(rule_from_proto(found, &format!("{path}.not"), *part)?))
        }
        PbRule::Property(rule) => Rule::Property(PropertyRule {
            take: match rule.take() {
                pb::CohortTake::Any => Take::Any,
                pb::CohortTake::Latest | pb::CohortTake::Unspecified => Take::Latest,
            },
            name: rule.name,
            condition: rule.condition,
            event: selector_from_proto(rule.event),
        }),
        PbRule::Did(rule) => {
            let mut times = |field: &str, times: Option<i64>| {
                let times = times?;
                let read = u64::try_from(times).ok();
                if read.is_none() {
                    found.push(format!("{path}.did.{field}"), "must not be negative");
                }
                read
            };
            let (at_least, at_most, exactly) = (
                times("at_least", rule.at_least),
                times("at_most", rule.at_most),
                times("exactly", rule.exactly),
            );
            let within = read_duration(found, &format!("{path}.did.within"), rule.within);
            let event = selector_from_proto(rule.event);
            Rule::Did(DidRule { event, at_least, at_most, exactly, within })
        }
        PbRule::Sequence(rule) => Rule::Sequence(SequenceRule {
            steps: rule.steps.into_iter().map(|step| selector_from_proto(Some(step))).collect(),
            window: read_duration(found, &format!("{path}.sequence.window"), rule.window),
            within: read_duration(found, &format!("{path}.sequence.within"), rule.within),
        }),
        PbRule::FirstTime(rule) => {
            let path = format!("{path}.first_time");
            Rule::FirstTime(FirstTimeRule {
                event: selector_from_proto(rule.event),
                from: read_timestamp(found, &format!("{path}.start_time"), rule.start_time),
                to: read_timestamp(found, &format!("{path}.end_time"), rule.end_time),
            })
        }
    })
}

fn rules_from_proto(found: &mut Violations, path: &str, rules: pb::CohortRules) -> Vec<Rule> {
    let rules = rules.rules.into_iter().enumerate();
    rules
        .filter_map(|(index, rule)| rule_from_proto(found, &format!("{path}[{index}]"), rule))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cohort_survives_the_wire() {
        let spec = serde_json::json!({
            "title": "Power users",
            "rule": {"all": [
                {"any": [
                    {"did": {"event": "Report", "at_least": 3, "at_most": 9, "within": "30d"}},
                    {"did": {"event": "Report", "exactly": 0}},
                ]},
                {"property": {"name": "plan", "where": "properties.plan == 1", "take": "any"}},
                {"not": {"sequence": {"steps": ["a", "b"], "window": "1d", "within": "2d"}}},
                {"first_time": {"event": "Signed Up", "from": "2026-01-01", "to": "2026-02-01"}},
            ]},
        });
        let cohort: Cohort = serde_json::from_value(spec).unwrap();
        let received = from_proto(to_proto("power-users", 3, "e", &cohort));
        assert!(received.violations.is_empty(), "{}", received.violations);
        assert_eq!((received.name.as_str(), received.etag.as_str()), ("power-users", "e"));
        assert_eq!(received.document, cohort);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let rule = pb::CohortRule { rule: None };
        let not = pb::CohortRule { rule: Some(PbRule::Not(Box::new(rule))) };
        let never = pb::CohortDidRule { at_least: Some(-1), ..Default::default() };
        let did = pb::CohortRule { rule: Some(PbRule::Did(never)) };
        let all = PbRule::All(pb::CohortRules { rules: vec![not, did] });
        let rule = PbDefinition::Rule(pb::CohortRule { rule: Some(all) });
        let received = from_proto(pb::Cohort { definition: Some(rule), ..Default::default() });
        let fields: Vec<_> =
            received.violations.into_iter().map(|violation| violation.field).collect();
        assert_eq!(fields, ["rule.all[0].not", "rule.all[1].did.at_least"]);
    }
}
