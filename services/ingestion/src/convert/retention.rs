//! Retention policies.

use chrono::TimeDelta;
use northstar_domain::Violation;
use northstar_domain::retention::{DROP_AFTER, RetentionSpec};
use northstar_proto::ingestion::v1 as pb;

/// A policy as people write it, from the wire.
///
/// # Errors
/// Everything that is wrong with it.
pub fn retention_policy_from_proto(
    policy: &pb::RetentionPolicy,
) -> Result<(String, RetentionSpec), Vec<Violation>> {
    let mut found = Vec::new();
    let mut read = |field: &str, duration: Option<&prost_types::Duration>| {
        let duration = duration?;
        let micros = duration
            .seconds
            .checked_mul(1_000_000)
            .and_then(|micros| micros.checked_add(i64::from(duration.nanos) / 1_000));
        if micros.is_none() {
            found.push(Violation::new(field, "is longer than a time can be"));
        }
        micros.map(TimeDelta::microseconds)
    };
    let archive_after = read("archive_after", policy.archive_after.as_ref());
    let drop_after = read("drop_after", policy.drop_after.as_ref());
    let spec = RetentionSpec {
        owner: policy.owner.clone(),
        description: policy.description.clone(),
        archive_after: archive_after.unwrap_or_default(),
        drop_after: drop_after.unwrap_or(DROP_AFTER),
    };
    found.extend(spec.violations(&policy.name));
    if found.is_empty() { Ok((policy.name.clone(), spec)) } else { Err(found) }
}

/// A policy for the wire, without what only the store knows.
pub fn retention_policy_to_proto(name: &str, spec: &RetentionSpec) -> pb::RetentionPolicy {
    let duration = |delta: TimeDelta| prost_types::Duration {
        seconds: delta.num_seconds(),
        nanos: delta.subsec_nanos(),
    };
    pb::RetentionPolicy {
        name: name.to_owned(),
        owner: spec.owner.clone(),
        description: spec.description.clone(),
        archive_after: Some(duration(spec.archive_after)),
        drop_after: Some(duration(spec.drop_after)),
        ..pb::RetentionPolicy::default()
    }
}
