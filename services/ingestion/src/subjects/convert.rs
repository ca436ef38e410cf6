//! Between the wire and the domain's words about subjects.

use chrono::{DateTime, Utc};
use northstar_domain::Violations;
use northstar_domain::consent_policy::{ConsentPolicy, DataUse, Purpose};
use northstar_domain::identity::{
    Identifier, IdentityPolicy, KindRule, LimitWindow, POLICY_NAME, Refusal, Verb,
};
use northstar_proto::ingestion::v1 as pb;
use northstar_server::status::invalid_fields;
use northstar_store::ingestion::identity::StoredFact;

use crate::convert::{time_from_proto, time_to_proto};
use crate::error::Error;

/// Longest reason, in bytes.
const REASON_LIMIT: usize = 1_000;

/// The identity policy as people write it, from the wire.
///
/// # Errors
/// Everything that is wrong with it.
pub fn identity_policy_from_proto(from: &pb::IdentityPolicy) -> Result<IdentityPolicy, Violations> {
    let mut found = Violations::new();
    found.require(from.name == POLICY_NAME, "name", "a project has one, which is named default");
    let mut identifiers = Vec::with_capacity(from.identifiers.len());
    for (index, rule) in from.identifiers.iter().enumerate() {
        let field = |name: &str| format!("identifiers[{index}].{name}");
        let kind = found.parse(&field("kind"), &rule.kind);
        let priority = u32::try_from(rule.priority).unwrap_or(0);
        let limit = u32::try_from(rule.limit)
            .map_err(|_| found.push(field("limit"), "must not be negative"))
            .unwrap_or(0);
        let Some(kind) = kind else { continue };
        identifiers.push(KindRule {
            kind,
            priority,
            unique: rule.unique,
            limit: (limit > 0).then_some(limit),
            window: match rule.window() {
                pb::LimitWindow::Unspecified | pb::LimitWindow::Ever => LimitWindow::Ever,
                pb::LimitWindow::Annually => LimitWindow::Annually,
                pb::LimitWindow::Monthly => LimitWindow::Monthly,
                pb::LimitWindow::Weekly => LimitWindow::Weekly,
            },
            blocked_values: rule.blocked_values.clone(),
        });
    }
    let policy = IdentityPolicy {
        owner: from.owner.clone(),
        description: from.description.clone(),
        identifiers,
        approve_merges: from.approve_merges,
    };
    found.extend(policy.violations());
    found.or(policy)
}

/// The identity policy for the wire, without what only the store knows.
pub fn identity_policy_to_proto(policy: &IdentityPolicy) -> pb::IdentityPolicy {
    let rule = |rule: &KindRule| pb::IdentifierRule {
        kind: rule.kind.to_string(),
        priority: i32::try_from(rule.priority).unwrap_or(i32::MAX),
        unique: rule.unique,
        limit: rule.limit.map_or(0, |limit| i32::try_from(limit).unwrap_or(i32::MAX)),
        window: match rule.window {
            LimitWindow::Ever => pb::LimitWindow::Ever,
            LimitWindow::Annually => pb::LimitWindow::Annually,
            LimitWindow::Monthly => pb::LimitWindow::Monthly,
            LimitWindow::Weekly => pb::LimitWindow::Weekly,
        }
        .into(),
        blocked_values: rule.blocked_values.clone(),
    };
    pb::IdentityPolicy {
        name: POLICY_NAME.to_owned(),
        owner: policy.owner.clone(),
        description: policy.description.clone(),
        identifiers: policy.identifiers.iter().map(rule).collect(),
        approve_merges: policy.approve_merges,
        etag: String::new(),
        update_time: None,
    }
}

/// The consent policy as people write it, from the wire.
///
/// # Errors
/// Everything that is wrong with it.
pub fn consent_policy_from_proto(from: &pb::ConsentPolicy) -> Result<ConsentPolicy, Violations> {
    let mut found = Violations::new();
    found.require(from.name == POLICY_NAME, "name", "a project has one, which is named default");
    let mut purposes = Vec::with_capacity(from.purposes.len());
    for (index, purpose) in from.purposes.iter().enumerate() {
        let mut required_for = Vec::new();
        for data_use in purpose.required_for() {
            match data_use {
                pb::DataUse::Store => required_for.push(DataUse::Store),
                pb::DataUse::Analyse => required_for.push(DataUse::Analyse),
                pb::DataUse::Act => required_for.push(DataUse::Act),
                pb::DataUse::Unspecified => found
                    .push(format!("purposes[{index}].required_for"), "say store, analyse or act"),
            }
        }
        purposes.push(Purpose {
            name: purpose.name.clone(),
            description: purpose.description.clone(),
            required_for,
        });
    }
    let policy = ConsentPolicy {
        owner: from.owner.clone(),
        description: from.description.clone(),
        purposes,
        allowed_regions: from.allowed_regions.clone(),
        blocked_regions: from.blocked_regions.clone(),
    };
    found.extend(policy.violations());
    found.or(policy)
}

/// The consent policy for the wire, without what only the store knows.
pub fn consent_policy_to_proto(policy: &ConsentPolicy) -> pb::ConsentPolicy {
    let data_use = |data_use: &DataUse| {
        i32::from(match data_use {
            DataUse::Store => pb::DataUse::Store,
            DataUse::Analyse => pb::DataUse::Analyse,
            DataUse::Act => pb::DataUse::Act,
        })
    };
    let purpose = |purpose: &Purpose| pb::Purpose {
        name: purpose.name.clone(),
        description: purpose.description.clone(),
        required_for: purpose.required_for.iter().map(data_use).collect(),
    };
    pb::ConsentPolicy {
        name: POLICY_NAME.to_owned(),
        owner: policy.owner.clone(),
        description: policy.description.clone(),
        purposes: policy.purposes.iter().map(purpose).collect(),
        allowed_regions: policy.allowed_regions.clone(),
        blocked_regions: policy.blocked_regions.clone(),
        etag: String::new(),
        update_time: None,
    }
}

pub(super) fn refused(violations: &Violations) -> Error {
    Error::from(invalid_fields(violations))
}

/// Reads an identifier of a request.
pub(super) fn identifier(
    field: &'static str,
    from: Option<&pb::Identifier>,
) -> Result<Identifier, Error> {
    let from = from.ok_or_else(|| Error::invalid(field, "is required"))?;
    let kind = from
        .kind
        .parse()
        .map_err(|error| Error::invalid(format!("{field}.kind"), format!("{error}")))?;
    Identifier::new(kind, &from.value)
        .map_err(|error| Error::invalid(format!("{field}.value"), error.to_string()))
}

/// Reads the reason, without which nothing is changed.
pub(super) fn reason(from: &str) -> Result<&str, Error> {
    let mut found = Violations::new();
    found.require_text("reason", from, REASON_LIMIT);
    found.require(!from.contains('\0'), "reason", "must not contain U+0000");
    found.or(from.trim()).map_err(|found| refused(&found))
}

/// Reads an optional time, which may not lie in the future.
pub(super) fn effective_time(
    from: Option<&prost_types::Timestamp>,
    now: DateTime<Utc>,
) -> Result<DateTime<Utc>, Error> {
    match from {
        None => Ok(now),
        Some(time) => time_from_proto(time)
            .filter(|time| *time <= now)
            .ok_or_else(|| Error::invalid("effective_time", "must be a time that has come")),
    }
}

pub(super) fn identifier_to_proto(identifier: &Identifier) -> pb::Identifier {
    pb::Identifier { kind: identifier.kind.to_string(), value: identifier.value.clone() }
}

pub(super) fn fact_to_proto(stored: &StoredFact, refusal: &str) -> pb::IdentityFact {
    let fact = &stored.fact;
    pb::IdentityFact {
        fact_id: fact.id,
        verb: match fact.verb {
            Verb::Link => pb::IdentityVerb::Link,
            Verb::Unlink => pb::IdentityVerb::Unlink,
            Verb::Merge => pb::IdentityVerb::Merge,
            Verb::Unmerge => pb::IdentityVerb::Unmerge,
        }
        .into(),
        from: Some(identifier_to_proto(&fact.from)),
        to: Some(identifier_to_proto(&fact.to)),
        effective_time: Some(time_to_proto(fact.effective_at)),
        record_time: Some(time_to_proto(stored.recorded_at)),
        position: stored.position.unwrap_or(0),
        actor: stored.actor.clone(),
        reason: stored.reason.clone(),
        undoes_fact_id: fact.undoes.unwrap_or(0),
        refusal: refusal.to_owned(),
    }
}

/// A refusal as machines read it.
pub(super) fn refusal_word(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::Blocked(_) => "blocked",
        Refusal::Limit { .. } => "limit",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_read_back_from_the_wire() {
        let identity = IdentityPolicy::default();
        assert_eq!(
            identity_policy_from_proto(&identity_policy_to_proto(&identity)).unwrap(),
            identity
        );
        let consent = ConsentPolicy {
            owner: "privacy".to_owned(),
            purposes: vec![Purpose {
                name: "analytics".to_owned(),
                description: String::new(),
                required_for: vec![DataUse::Analyse, DataUse::Act],
            }],
            allowed_regions: vec!["eu".to_owned()],
            ..ConsentPolicy::default()
        };
        assert_eq!(consent_policy_from_proto(&consent_policy_to_proto(&consent)).unwrap(), consent);
    }

    #[test]
    fn a_policy_of_another_name_is_refused() {
        let policy = pb::IdentityPolicy { name: "eu".to_owned(), ..pb::IdentityPolicy::default() };
        let found = identity_policy_from_proto(&policy).unwrap_err();
        let fields: Vec<_> = found.as_slice().iter().map(|found| found.field.as_str()).collect();
        assert_eq!(fields, ["name", "owner"]);
    }
}
