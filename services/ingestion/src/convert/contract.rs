//! Contracts.

use northstar_domain::Violation;
use northstar_domain::contract::{ContractMode, ContractSpec};
use northstar_proto::ingestion::v1 as pb;

use crate::contracts::Validator;

/// A contract as people write it, from the wire.
///
/// # Errors
/// Everything that is wrong with it, the schema included.
pub fn contract_from_proto(
    contract: &pb::Contract,
) -> Result<(String, ContractSpec), Vec<Violation>> {
    let mut violations = Vec::new();
    let mode = match contract.mode() {
        pb::ContractMode::Observe => Some(ContractMode::Observe),
        pb::ContractMode::Quarantine => Some(ContractMode::Quarantine),
        pb::ContractMode::Reject => Some(ContractMode::Reject),
        pb::ContractMode::Unspecified => {
            violations.push(Violation::new("mode", "say observe, quarantine or reject"));
            None
        }
    };
    let schema_version = contract
        .schema_version
        .parse()
        .map_err(|error| violations.push(Violation::new("schema_version", format!("{error}"))))
        .ok();
    let json_schema = serde_json::from_str(&contract.json_schema)
        .map_err(|error| violations.push(Violation::new("json_schema", format!("{error}"))))
        .ok();
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
    };
    violations.extend(spec.violations(&contract.name));
    if violations.is_empty()
        && let Err(problem) = Validator::compile(&spec.json_schema)
    {
        violations.push(Violation::new("json_schema", problem));
    }
    if violations.is_empty() { Ok((contract.name.clone(), spec)) } else { Err(violations) }
}

/// A contract for the wire, without what only the store knows: etag, times and
/// counts.
pub fn contract_to_proto(name: &str, spec: &ContractSpec) -> pb::Contract {
    let mode = match spec.mode {
        ContractMode::Observe => pb::ContractMode::Observe,
        ContractMode::Quarantine => pb::ContractMode::Quarantine,
        ContractMode::Reject => pb::ContractMode::Reject,
    };
    pb::Contract {
        name: name.to_owned(),
        schema_version: spec.schema_version.to_string(),
        json_schema: spec.json_schema.to_string(),
        mode: mode.into(),
        owner: spec.owner.clone(),
        description: spec.description.clone(),
        ..pb::Contract::default()
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
