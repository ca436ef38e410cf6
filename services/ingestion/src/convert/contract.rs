//! Contracts.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use northstar_domain::Violation;
use northstar_domain::contract::{
    Bump, ContractMode, ContractSpec, FutureRule, PropertyRule, SchemaVersion,
};
use northstar_proto::ingestion::v1 as pb;

use crate::contracts::Compiled;

/// A contract as people write it, from the wire.
///
/// # Errors
/// Everything that is wrong with it, the schema included.
pub fn contract_from_proto(
    contract: &pb::Contract,
) -> Result<(String, ContractSpec), Vec<Violation>> {
    let mut violations = Vec::new();
    let mode = mode_from_proto(contract.mode());
    if mode.is_none() {
        violations.push(Violation::new("mode", "say observe, omit, quarantine or reject"));
    }
    let schema_version = contract
        .schema_version
        .parse()
        .map_err(|error| violations.push(Violation::new("schema_version", format!("{error}"))))
        .ok();
    let json_schema = serde_json::from_str(&contract.json_schema)
        .map_err(|error| violations.push(Violation::new("json_schema", format!("{error}"))))
        .ok();
    let mut supersedes = BTreeSet::new();
    for version in &contract.supersedes {
        match version.parse::<SchemaVersion>() {
            Ok(version) => {
                supersedes.insert(version);
            }
            Err(error) => violations.push(Violation::new("supersedes", format!("{error}"))),
        }
    }
    let late_after = contract.late_after.as_ref().and_then(|horizon| {
        let read = TimeDelta::new(horizon.seconds, u32::try_from(horizon.nanos).ok()?);
        read.filter(|horizon| *horizon < TimeDelta::days(36_500))
    });
    if late_after.is_none() && contract.late_after.is_some() {
        violations.push(Violation::new("late_after", "must lie between 0 and 100 years"));
    }
    let properties = contract
        .properties
        .iter()
        .map(|(name, rule)| {
            let rule = PropertyRule {
                mode: mode_from_proto(rule.mode()),
                pii: rule.pii.clone(),
                purposes: rule.purposes.clone(),
                pseudonym: rule.pseudonym,
            };
            (name.clone(), rule)
        })
        .collect();
    let (Some(mode), Some(schema_version), Some(json_schema)) = (mode, schema_version, json_schema)
    else {
        return Err(violations);
    };
    let spec = ContractSpec {
        schema_version,
        mode,
        owner: contract.owner.clone(),
        description: contract.description.clone(),
        json_schema,
        unplanned_properties: mode_from_proto(contract.unplanned_properties()),
        supersedes,
        properties,
        late_after,
        future: match contract.future() {
            pb::FutureRule::Unspecified | pb::FutureRule::Clamp => FutureRule::Clamp,
            pb::FutureRule::Quarantine => FutureRule::Quarantine,
        },
    };
    violations.extend(spec.violations(&contract.name));
    if violations.is_empty()
        && let Err(problem) = Compiled::compile(spec.clone())
    {
        violations.push(Violation::new("json_schema", problem));
    }
    if violations.is_empty() { Ok((contract.name.clone(), spec)) } else { Err(violations) }
}

/// A contract for the wire, without what only the store knows: etag, times and
/// counts.
pub fn contract_to_proto(name: &str, spec: &ContractSpec) -> pb::Contract {
    let rule = |rule: &PropertyRule| pb::PropertyRule {
        mode: mode_to_proto(rule.mode).into(),
        pii: rule.pii.clone(),
        purposes: rule.purposes.clone(),
        pseudonym: rule.pseudonym,
    };
    pb::Contract {
        name: name.to_owned(),
        schema_version: spec.schema_version.to_string(),
        json_schema: spec.json_schema.to_string(),
        mode: mode_to_proto(Some(spec.mode)).into(),
        owner: spec.owner.clone(),
        description: spec.description.clone(),
        unplanned_properties: mode_to_proto(spec.unplanned_properties).into(),
        supersedes: spec.supersedes.iter().map(ToString::to_string).collect(),
        properties: spec.properties.iter().map(|(name, it)| (name.clone(), rule(it))).collect(),
        late_after: spec.late_after.map(|horizon| prost_types::Duration {
            seconds: horizon.num_seconds(),
            nanos: horizon.subsec_nanos(),
        }),
        future: match spec.future {
            FutureRule::Clamp => pb::FutureRule::Unspecified,
            FutureRule::Quarantine => pb::FutureRule::Quarantine,
        }
        .into(),
        ..pb::Contract::default()
    }
}

/// A mode from the wire; `None` when it is not set.
pub(crate) fn mode_from_proto(mode: pb::ContractMode) -> Option<ContractMode> {
    match mode {
        pb::ContractMode::Unspecified => None,
        pb::ContractMode::Observe => Some(ContractMode::Observe),
        pb::ContractMode::Omit => Some(ContractMode::Omit),
        pb::ContractMode::Quarantine => Some(ContractMode::Quarantine),
        pb::ContractMode::Reject => Some(ContractMode::Reject),
    }
}

/// A mode for the wire.
pub(crate) fn mode_to_proto(mode: Option<ContractMode>) -> pb::ContractMode {
    match mode {
        None => pb::ContractMode::Unspecified,
        Some(ContractMode::Observe) => pb::ContractMode::Observe,
        Some(ContractMode::Omit) => pb::ContractMode::Omit,
        Some(ContractMode::Quarantine) => pb::ContractMode::Quarantine,
        Some(ContractMode::Reject) => pb::ContractMode::Reject,
    }
}

/// A bump for the wire.
pub(crate) fn bump_to_proto(bump: Bump) -> pb::SchemaBump {
    match bump {
        Bump::None => pb::SchemaBump::None,
        Bump::Addition => pb::SchemaBump::Addition,
        Bump::Revision => pb::SchemaBump::Revision,
        Bump::Model => pb::SchemaBump::Model,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contract_reads_back_from_the_wire() {
        let contract = pb::Contract {
            name: "Signed Up".to_owned(),
            schema_version: "1-0-2".to_owned(),
            json_schema: r#"{"type":"object","required":["plan"]}"#.to_owned(),
            mode: pb::ContractMode::Reject.into(),
            owner: "growth".to_owned(),
            description: "A person made an account".to_owned(),
            unplanned_properties: pb::ContractMode::Omit.into(),
            supersedes: vec!["1-0-0".to_owned()],
            properties: [(
                "email".to_owned(),
                pb::PropertyRule {
                    mode: pb::ContractMode::Quarantine.into(),
                    pii: "email".to_owned(),
                    purposes: vec!["analytics".to_owned()],
                    pseudonym: true,
                },
            )]
            .into(),
            late_after: Some(prost_types::Duration { seconds: 86_400, nanos: 0 }),
            future: pb::FutureRule::Quarantine.into(),
            ..pb::Contract::default()
        };
        let (name, spec) = contract_from_proto(&contract).unwrap();
        assert_eq!(contract_to_proto(&name, &spec), contract);
    }

    #[test]
    fn every_fault_of_a_contract_is_told() {
        let fields = |contract: &pb::Contract| -> Vec<String> {
            contract_from_proto(contract).unwrap_err().into_iter().map(|v| v.field).collect()
        };
        assert_eq!(fields(&pb::Contract::default()), ["mode", "schema_version", "json_schema"]);
        let contract = pb::Contract {
            schema_version: "1-0-0".to_owned(),
            json_schema: r#"{"type":"strin"}"#.to_owned(),
            mode: pb::ContractMode::Observe.into(),
            ..pb::Contract::default()
        };
        assert_eq!(fields(&contract), ["name", "owner"]);
        let named = pb::Contract { name: "a".to_owned(), owner: "b".to_owned(), ..contract };
        assert_eq!(fields(&named), ["json_schema"]);
        let remote = r#"{"$ref":"https://example.com/schema.json"}"#.to_owned();
        assert_eq!(fields(&pb::Contract { json_schema: remote, ..named }), ["json_schema"]);
    }
}
