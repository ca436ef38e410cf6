//! What a contract makes of an event: one function, pure.
//!
//! Which version an event is held against:
//!
//! | It names, in `$schema_version` | Held against |
//! |---|---|
//! | nothing | the current version; failing that, those it supersedes, newest first |
//! | the current version | that one |
//! | a superseded version | the current version; failing that, the one it names |
//! | another older version | that one |
//! | a version nobody knows | nothing: `stale_contract` |
//!
//! Of several violations the strictest mode decides. Modes are those of the
//! property at fault, else of the contract.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use northstar_domain::consent::Consent;
use northstar_domain::contract::{ContractMode, SchemaVersion, VERSION_PROPERTY};
use northstar_domain::event::{Event, Fault, Reason};
use northstar_domain::time_correction::TimeCorrection;
use serde_json::{Map, Value};

use crate::contracts::{Compiled, ProjectContracts, Violation};

/// What a contract makes of an event.
#[derive(Debug)]
pub(crate) enum Judgement {
    /// It may go into the log, with or without notes.
    Accept(Option<Box<Notes>>),
    /// It waits in quarantine.
    Quarantine(Fault),
    /// It is refused.
    Reject(Fault),
}

/// What is noted about an event that is accepted.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Notes {
    /// Name of the event.
    pub(crate) name: String,
    /// It breaks its contract, which only observes.
    pub(crate) observed: bool,
    /// It happened longer ago than the horizon of its contract.
    pub(crate) late: bool,
    /// The superseded version that it keeps.
    pub(crate) validated_with: Option<SchemaVersion>,
    /// The properties kept aside, as JSON text of an object; null for one that was
    /// not kept at all.
    pub(crate) omitted: Option<String>,
    /// The same sealed, when there is a key: then only this is stored.
    pub(crate) sealed: Option<Vec<u8>>,
    /// Those that were not kept, for want of consent.
    pub(crate) withheld: Vec<String>,
    /// The properties as they are kept, as JSON text; `None` when that is as sent.
    pub(crate) properties: Option<String>,
    /// There are pseudonyms in the place of values.
    pub(crate) concealed: bool,
}

/// When an event was received and happened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// When it was received.
    pub(crate) received_at: DateTime<Utc>,
    /// The time every KPI uses.
    pub(crate) effective_at: DateTime<Utc>,
    /// How that was derived.
    pub(crate) correction: TimeCorrection,
}

/// Holds an event against the contract of its name.
pub(crate) fn judge(contracts: &ProjectContracts, event: &Event<'_>, times: Times) -> Judgement {
    let Some(contract) = contracts.get(event.name) else {
        return judge_unplanned(contracts.unplanned_events, event.name);
    };
    let mut judgement =
        if times.correction == TimeCorrection::Clamped && contract.quarantines_future() {
            Judgement::Quarantine(Fault::new(
                Reason::FutureTime,
                "occurred_time",
                "lies more than 24 hours ahead",
            ))
        } else {
            judge_properties(contract, object(event.properties))
        };
    if !contracts.consent.purposes.is_empty() {
        judgement = withhold(contract, event, judgement);
    }
    judgement = conceal(contracts, contract, event, judgement);
    if let Judgement::Accept(notes) = &mut judgement
        && contract.spec.late_after.is_some_and(|horizon| {
            times.received_at.signed_duration_since(times.effective_at) > horizon
        })
    {
        notes.get_or_insert_default().late = true;
    }
    if let Judgement::Accept(Some(notes)) = &mut judgement {
        event.name.clone_into(&mut notes.name);
    }
    judgement
}

/// Leaves out what the actor did not agree to, value and all. An event that would
/// wait in quarantine is kept there whole, so one with such properties is refused.
fn withhold(contract: &Compiled, event: &Event<'_>, judgement: Judgement) -> Judgement {
    // What cannot be read was refused before.
    let said = Consent::from_text(event.consent).ok().flatten();
    let mut withheld = contract.spec.withheld_properties(said.as_ref()).peekable();
    if withheld.peek().is_none() {
        return judgement;
    }
    let sent = object(event.properties);
    let withheld: Vec<String> =
        withheld.filter(|name| sent.contains_key(*name)).map(str::to_owned).collect();
    let Some(first) = withheld.first() else { return judgement };
    match judgement {
        Judgement::Accept(notes) => {
            let mut notes = notes.unwrap_or_default();
            let mut kept = notes.properties.as_deref().map_or(sent, object);
            let mut omitted = notes.omitted.as_deref().map(object).unwrap_or_default();
            for name in &withheld {
                kept.shift_remove(name);
                omitted.insert(name.clone(), Value::Null);
            }
            notes.properties = Some(text(&kept));
            notes.omitted = Some(text(&omitted));
            notes.withheld = withheld;
            Judgement::Accept(Some(notes))
        }
        Judgement::Quarantine(_) => Judgement::Reject(Fault::new(
            Reason::ConsentMissing,
            format!("properties.{first}"),
            "breaks its contract, and may not be kept until that is mended: none of the purposes \
             of this property is granted",
        )),
        refused @ Judgement::Reject(_) => refused,
    }
}

/// Puts pseudonyms in the place of values, where no more is kept. An event that would
/// wait in quarantine is kept there whole, so one with such properties is refused.
/// Without a key, which whoever applied the contract had, nothing is kept.
fn conceal(
    contracts: &ProjectContracts,
    contract: &Compiled,
    event: &Event<'_>,
    judgement: Judgement,
) -> Judgement {
    let mut names = contract.spec.concealed_properties().peekable();
    if names.peek().is_none() {
        return judgement;
    }
    let sent = object(event.properties);
    let is_told = |name: &&str| sent.get(*name).is_some_and(|value| !value.is_null());
    let names: Vec<&str> = names.filter(is_told).collect();
    let Some(first) = names.first() else { return judgement };
    match judgement {
        Judgement::Accept(notes) => {
            let mut notes = notes.unwrap_or_default();
            let mut kept = notes.properties.as_deref().map_or_else(|| sent.clone(), object);
            let mut omitted = notes.omitted.as_deref().map(object).unwrap_or_default();
            for name in names {
                // What broke the contract is not kept aside either.
                if let Some(aside) = omitted.get_mut(name) {
                    *aside = Value::Null;
                }
                let Some(value) = kept.get_mut(name) else { continue };
                if let Some((key, project)) = &contracts.pseudonyms {
                    *value = key.of(*project, value);
                } else {
                    kept.shift_remove(name);
                    omitted.insert(name.to_owned(), Value::Null);
                    notes.withheld.push(name.to_owned());
                }
            }
            notes.concealed = true;
            notes.properties = Some(text(&kept));
            notes.omitted = (!omitted.is_empty()).then(|| text(&omitted));
            Judgement::Accept(Some(notes))
        }
        Judgement::Quarantine(fault) => Judgement::Reject(Fault::new(
            fault.reason,
            fault.field,
            format!(
                "{}; only a pseudonym of the property {first} is kept, so the event cannot wait \
                 in quarantine",
                fault.message
            ),
        )),
        refused @ Judgement::Reject(_) => refused,
    }
}

fn object(text: &str) -> Map<String, Value> {
    serde_json::from_str(text).unwrap_or_default()
}

fn text(object: &Map<String, Value>) -> String {
    serde_json::to_string(object).expect("a JSON object is JSON text")
}

fn judge_unplanned(mode: Option<ContractMode>, name: &str) -> Judgement {
    let fault = || {
        let message = format!("there is no contract for events named {name:?}");
        Fault::new(Reason::UnplannedEvent, "name", message)
    };
    match mode {
        None | Some(ContractMode::Observe) => Judgement::Accept(None),
        Some(ContractMode::Omit | ContractMode::Quarantine) => Judgement::Quarantine(fault()),
        Some(ContractMode::Reject) => Judgement::Reject(fault()),
    }
}

fn judge_properties(contract: &Compiled, properties: Map<String, Value>) -> Judgement {
    let current = contract.spec.schema_version;
    let named = match properties.get(VERSION_PROPERTY) {
        None => None,
        Some(named) => match named.as_str().and_then(|text| text.parse::<SchemaVersion>().ok()) {
            Some(version) if version == current || contract.older.contains_key(&version) => {
                Some(version)
            }
            _ => return judge_stale(contract, named),
        },
    };
    let mut bare = properties.clone();
    bare.shift_remove(VERSION_PROPERTY);

    let superseded = |version: &SchemaVersion| contract.spec.supersedes.contains(version);
    if let Some(version) = named
        && version != current
        && !superseded(&version)
    {
        let found = contract.older[&version].violations(&Value::Object(bare.clone()));
        return match verdict(contract, found, Vec::new(), properties, bare, Some(version)) {
            Judgement::Accept(notes) => {
                let mut notes = notes.unwrap_or_default();
                notes.validated_with = Some(version);
                Judgement::Accept(Some(notes))
            }
            other => other,
        };
    }

    let unplanned: Vec<(String, ContractMode)> = bare
        .keys()
        .filter_map(|name| Some((name.clone(), contract.unplanned_mode(name)?)))
        .collect();
    for (name, _) in &unplanned {
        bare.shift_remove(name);
    }
    let found = contract.current.violations(&Value::Object(bare.clone()));
    if !found.is_empty() {
        let mut whole = properties.clone();
        whole.shift_remove(VERSION_PROPERTY);
        let whole = Value::Object(whole);
        let welcome = contract
            .older
            .iter()
            .rev()
            .filter(|(version, _)| superseded(version))
            .filter(|(version, _)| named.is_none_or(|named| named == **version))
            .find(|(_, validator)| named != Some(current) && validator.allows(&whole));
        if let Some((version, _)) = welcome {
            let notes = Notes { validated_with: Some(*version), ..Notes::default() };
            return Judgement::Accept(Some(Box::new(notes)));
        }
    }
    verdict(contract, found, unplanned, properties, bare, None)
}

fn judge_stale(contract: &Compiled, named: &Value) -> Judgement {
    let fault = Fault::new(
        Reason::StaleContract,
        format!("properties.{VERSION_PROPERTY}"),
        format!(
            "{named} is no version of the contract; the current one is {}",
            contract.spec.schema_version
        ),
    );
    match contract.spec.mode {
        ContractMode::Observe => {
            Judgement::Accept(Some(Box::new(Notes { observed: true, ..Notes::default() })))
        }
        ContractMode::Omit | ContractMode::Quarantine => Judgement::Quarantine(fault),
        ContractMode::Reject => Judgement::Reject(fault),
    }
}

/// Decides by the strictest mode, and leaves out what is to be omitted.
/// `checked` are the properties that were held against the schema.
fn verdict(
    contract: &Compiled,
    found: Vec<Violation>,
    unplanned: Vec<(String, ContractMode)>,
    mut properties: Map<String, Value>,
    mut checked: Map<String, Value>,
    version: Option<SchemaVersion>,
) -> Judgement {
    if found.is_empty() && unplanned.is_empty() {
        return Judgement::Accept(None);
    }
    let mut faults: Vec<(ContractMode, String, Fault)> = found
        .into_iter()
        .map(|Violation { property, fault }| (contract.mode(&property), property, fault))
        .collect();
    faults.extend(unplanned.into_iter().map(|(name, mode)| {
        let fault = Fault::new(
            Reason::UnplannedProperty,
            format!("properties.{name}"),
            format!("the contract does not plan a property {name:?}"),
        );
        (mode, name, fault)
    }));
    let strictest = faults.iter().map(|(mode, ..)| *mode).max().unwrap_or(ContractMode::Observe);
    let first = |wanted| {
        let fault = faults.iter().find(|(mode, ..)| *mode == wanted);
        fault.map(|(.., fault)| fault.clone()).expect("the strictest mode is that of a fault")
    };
    let observed = faults.iter().any(|(mode, ..)| *mode == ContractMode::Observe);
    match strictest {
        ContractMode::Reject => Judgement::Reject(first(strictest)),
        ContractMode::Quarantine => Judgement::Quarantine(first(strictest)),
        ContractMode::Observe => {
            Judgement::Accept(Some(Box::new(Notes { observed: true, ..Notes::default() })))
        }
        ContractMode::Omit => {
            let leave_out: BTreeSet<&str> = faults
                .iter()
                .filter(|(mode, ..)| *mode == ContractMode::Omit)
                .map(|(_, property, _)| property.as_str())
                .collect();
            let mut omitted = Map::new();
            for name in leave_out {
                checked.shift_remove(name);
                if let Some(value) = properties.shift_remove(name) {
                    omitted.insert(name.to_owned(), value);
                }
            }
            // What is required cannot be left out.
            let validator = version.map_or(&contract.current, |version| &contract.older[&version]);
            let left = validator
                .violations(&Value::Object(checked))
                .into_iter()
                .find(|left| contract.mode(&left.property) != ContractMode::Observe);
            if let Some(left) = left {
                return Judgement::Quarantine(left.fault);
            }
            Judgement::Accept(Some(Box::new(Notes {
                observed,
                omitted: Some(text(&omitted)),
                properties: Some(text(&properties)),
                ..Notes::default()
            })))
        }
    }
}

#[cfg(test)]
mod tests {
    use northstar_domain::contract::ContractSpec;
    use serde_json::json;

    use super::*;
    use crate::contracts::Validator;

    fn contracts(spec: Value) -> ProjectContracts {
        let mut whole = json!({
            "schema_version": "1-1-0", "mode": "quarantine", "owner": "growth",
            "json_schema": {"type": "object", "required": ["plan"], "properties": {
                "plan": {"type": "string"}, "seats": {"type": "integer"}}},
        });
        whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let spec: ContractSpec = serde_json::from_value(whole).unwrap();
        let mut contracts =
            ProjectContracts::compile([("Signed Up".to_owned(), spec)], None).unwrap();
        let older = |required: &str| Validator::compile(&json!({"required": [required]})).unwrap();
        contracts.add_older("Signed Up", "1-0-0".parse().unwrap(), older("tier"));
        contracts.add_older("Signed Up", "1-0-1".parse().unwrap(), older("level"));
        contracts
    }

    fn judged(contracts: &ProjectContracts, properties: Value) -> Judgement {
        judged_with(contracts, properties, "")
    }

    fn judged_with(contracts: &ProjectContracts, properties: Value, consent: &str) -> Judgement {
        let at = DateTime::UNIX_EPOCH;
        let times = Times { received_at: at, effective_at: at, correction: TimeCorrection::None };
        let event = Event { properties: &properties.to_string(), consent, ..event_at(at) };
        judge(contracts, &event, times)
    }

    fn event_at(occurred_at: DateTime<Utc>) -> Event<'static> {
        Event {
            message_id: "m",
            name: "Signed Up",
            user_id: "u",
            anonymous_id: "",
            account_id: "",
            occurred_at,
            sent_at: None,
            sequence: 0,
            properties: "{}",
            region: "",
            consent: "",
        }
    }

    fn fault(judgement: Judgement) -> (Reason, String) {
        match judgement {
            Judgement::Quarantine(fault) => (fault.reason, fault.field.into_owned()),
            other => panic!("{other:?}"),
        }
    }

    fn notes(judgement: Judgement) -> Notes {
        match judgement {
            Judgement::Accept(notes) => notes.map(|notes| *notes).unwrap_or_default(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_property_at_fault_decides_the_mode() {
        let rules = contracts(json!({
            "mode": "observe", "properties": {"seats": {"mode": "reject"}},
        }));
        assert!(notes(judged(&rules, json!({}))).observed);
        assert!(matches!(
            judged(&rules, json!({"seats": "many"})),
            Judgement::Reject(fault) if fault.field == "properties.seats"
        ));
    }

    #[test]
    fn what_is_omitted_is_kept_aside() {
        let rules = contracts(json!({"mode": "omit", "unplanned_properties": "omit"}));
        let sent =
            json!({"plan": "pro", "seats": "many", "extra": 2.0, "$schema_version": "1-1-0"});
        let found = notes(judged(&rules, sent));
        assert_eq!(found.name, "Signed Up");
        assert_eq!(found.omitted.as_deref(), Some(r#"{"extra":2.0,"seats":"many"}"#));
        let kept = r#"{"plan":"pro","$schema_version":"1-1-0"}"#;
        assert_eq!(found.properties.as_deref(), Some(kept));
        assert!(!found.observed);
    }

    #[test]
    fn a_property_is_not_kept_without_a_grant_for_one_of_its_purposes() {
        let mut rules = contracts(json!({"properties": {
            "email": {"purposes": ["support", "marketing"]}, "plan": {"purposes": []},
        }}));
        let sent = || json!({"plan": "pro", "email": "a@b.c"});
        assert_eq!(notes(judged(&rules, sent())), Notes::default(), "nobody asks for consent");
        let policy = json!({"owner": "privacy", "purposes": [{"name": "support"}]});
        rules.consent = serde_json::from_value(policy).unwrap();
        let said = |granted: &[&str], denied: &[&str]| {
            json!({"granted": granted, "denied": denied}).to_string()
        };
        let kept = notes(judged_with(&rules, sent(), &said(&["marketing"], &["support"])));
        assert_eq!(kept, Notes::default());
        for consent in ["", &said(&["other"], &[]), &said(&["support"], &["support"])] {
            let found = notes(judged_with(&rules, sent(), consent));
            assert_eq!(found.properties.as_deref(), Some(r#"{"plan":"pro"}"#), "{consent}");
            assert_eq!(found.omitted.as_deref(), Some(r#"{"email":null}"#));
            assert_eq!(found.withheld, ["email"]);
        }
        assert_eq!(notes(judged(&rules, json!({"plan": "pro"}))), Notes::default());
        // Quarantine would keep it.
        let broken = judged(&rules, json!({"email": "a@b.c"}));
        assert!(matches!(
            broken,
            Judgement::Reject(fault)
                if fault.reason == Reason::ConsentMissing && fault.field == "properties.email"
        ));
    }

    #[test]
    fn of_some_properties_only_a_pseudonym_is_kept() {
        let rules = contracts(json!({"properties": {"email": {"pseudonym": true}}}));
        let kept = |properties: Value| -> Value {
            let found = notes(judged(&rules, properties));
            assert!(found.concealed && found.omitted.is_none(), "{found:?}");
            serde_json::from_str(&found.properties.unwrap()).unwrap()
        };
        let ada = kept(json!({"plan": "pro", "email": "ada@example.com"}));
        assert_eq!(ada["plan"], "pro");
        assert!(ada["email"].as_str().unwrap().starts_with("pn_"), "{ada}");
        let again = kept(json!({"email": "ada@example.com", "plan": "free"}));
        assert_eq!(again["email"], ada["email"]);
        assert_eq!(kept(ada.clone()), ada, "what is read back stays");
        // Without such a value there is nothing to be done.
        let without = json!({"plan": "pro", "email": null});
        assert_eq!(notes(judged(&rules, without)), Notes::default());

        // Quarantine keeps events whole, so it does not get this one.
        let judgement = judged(&rules, json!({"email": "ada@example.com"}));
        let Judgement::Reject(fault) = judgement else { panic!("{judgement:?}") };
        assert_eq!((fault.reason, &*fault.field), (Reason::SchemaViolation, "properties.plan"));
        assert!(fault.message.contains("email"), "{}", fault.message);

        // Without a key nothing is kept.
        let mut keyless = rules;
        keyless.pseudonyms = None;
        let found = notes(judged(&keyless, json!({"plan": "pro", "email": "ada@example.com"})));
        assert_eq!(found.properties.as_deref(), Some(r#"{"plan":"pro"}"#));
        assert_eq!(found.omitted.as_deref(), Some(r#"{"email":null}"#));
        assert_eq!(found.withheld, ["email"]);
    }

    #[test]
    fn an_event_of_the_future_waits_only_with_what_may_be_kept() {
        let mut rules = contracts(json!({
            "future": "quarantine", "properties": {"email": {"purposes": ["marketing"]}},
        }));
        rules.consent = serde_json::from_value(json!({
            "owner": "privacy", "purposes": [{"name": "marketing"}],
        }))
        .unwrap();
        let clamped = |properties: &str| {
            let at = DateTime::UNIX_EPOCH;
            let correction = TimeCorrection::Clamped;
            let event = Event { properties, ..event_at(at) };
            judge(&rules, &event, Times { received_at: at, effective_at: at, correction })
        };
        assert_eq!(fault(clamped(r#"{"plan":"pro"}"#)).0, Reason::FutureTime);
        let judgement = clamped(r#"{"plan":"pro","email":"ada@example.com"}"#);
        assert!(matches!(
            judgement,
            Judgement::Reject(fault) if fault.reason == Reason::ConsentMissing
        ));
    }

    #[test]
    fn what_is_required_cannot_be_omitted() {
        let rules = contracts(json!({"mode": "omit"}));
        let expected = (Reason::SchemaViolation, "properties.plan".to_owned());
        assert_eq!(fault(judged(&rules, json!({"plan": 3}))), expected);
    }

    #[test]
    fn unplanned_properties_pass_unless_a_rule_says_otherwise() {
        let sent = || json!({"plan": "pro", "extra": 1});
        assert_eq!(notes(judged(&contracts(json!({})), sent())), Notes::default());
        let rules = contracts(json!({"unplanned_properties": "quarantine"}));
        let expected = (Reason::UnplannedProperty, "properties.extra".to_owned());
        assert_eq!(fault(judged(&rules, sent())), expected);
        let rules = contracts(json!({
            "unplanned_properties": "quarantine", "properties": {"extra": {"mode": "observe"}},
        }));
        assert!(notes(judged(&rules, sent())).observed);
    }

    #[test]
    fn a_superseded_version_is_still_welcome() {
        let rules = contracts(json!({"supersedes": ["1-0-0"]}));
        let found = notes(judged(&rules, json!({"tier": "pro"})));
        assert_eq!(found.validated_with, Some("1-0-0".parse().unwrap()));
        // It is held against the current version first.
        let current = json!({"plan": "pro", "$schema_version": "1-0-0"});
        assert_eq!(notes(judged(&rules, current)), Notes::default());
        // An older version that is not superseded must be named.
        assert_eq!(fault(judged(&rules, json!({"level": 1}))).0, Reason::SchemaViolation);
        let named = json!({"level": 1, "$schema_version": "1-0-1"});
        assert_eq!(notes(judged(&rules, named)).validated_with, Some("1-0-1".parse().unwrap()));
        // Who names the current version must keep it.
        let named = json!({"tier": "pro", "$schema_version": "1-1-0"});
        assert_eq!(fault(judged(&rules, named)).0, Reason::SchemaViolation);
        for unknown in [json!("9-0-0"), json!("one"), json!(1)] {
            let named = json!({"plan": "pro", "$schema_version": unknown});
            assert_eq!(fault(judged(&rules, named)).0, Reason::StaleContract);
        }
    }

    #[test]
    fn names_without_a_contract_pass_unless_the_rule_says_otherwise() {
        for (mode, accepted) in [
            (None, true),
            (Some(ContractMode::Observe), true),
            (Some(ContractMode::Quarantine), false),
            (Some(ContractMode::Reject), false),
        ] {
            let rules = ProjectContracts::compile([], mode).unwrap();
            let judgement = judged(&rules, json!({}));
            assert_eq!(matches!(judgement, Judgement::Accept(None)), accepted, "{judgement:?}");
        }
    }
}
