//! Events out of the log and out of quarantine.

use northstar_domain::failure;
use northstar_domain::quarantine::QuarantineState;
use northstar_domain::time_correction::TimeCorrection;
use northstar_proto::ingestion::v1 as pb;
use northstar_store::ingestion::log::LoggedEvent;
use northstar_store::ingestion::quarantine::{Content, Quarantined};
use northstar_store::ingestion::sources::Source;
use prost::Message as _;

use super::{consent_to_proto, properties_to_proto, time_to_proto};

/// An event of the log; its properties are parsed already.
pub(crate) fn logged_to_proto(
    event: LoggedEvent,
    properties: serde_json::Map<String, serde_json::Value>,
) -> pb::LoggedEvent {
    let correction = match event.correction {
        TimeCorrection::None => pb::TimeCorrection::None,
        TimeCorrection::Skew => pb::TimeCorrection::Skew,
        TimeCorrection::Clamped => pb::TimeCorrection::Clamped,
    };
    pb::LoggedEvent {
        position: event.position,
        source: event.source,
        event: Some(pb::Event {
            message_id: event.message_id,
            name: event.name,
            user_id: event.user_id,
            anonymous_id: event.anonymous_id,
            account_id: event.account_id,
            occurred_time: Some(time_to_proto(event.occurred_at)),
            sent_time: event.sent_at.map(time_to_proto),
            sequence: event.sequence,
            properties: properties_to_proto(properties),
            region: event.region,
            consent: consent_to_proto(&event.consent),
        }),
        received_time: Some(time_to_proto(event.received_at)),
        effective_time: Some(time_to_proto(event.effective_at)),
        correction: correction.into(),
    }
}

/// An event of the quarantine.
pub(crate) fn quarantined_to_proto(quarantined: Quarantined) -> pb::QuarantinedEvent {
    let (event, raw) = match quarantined.content {
        // What this program encoded it can decode; bytes that it can not are
        // shown as they are rather than not at all.
        Content::Event(bytes) => match pb::Event::decode(bytes.as_slice()) {
            Ok(event) => (Some(event), Vec::new()),
            Err(_) => (None, bytes),
        },
        Content::Raw(bytes) => (None, bytes),
    };
    let patched_event =
        quarantined.patched.and_then(|bytes| pb::Event::decode(bytes.as_slice()).ok());
    let state = match quarantined.state {
        QuarantineState::Open => pb::QuarantineState::Open,
        // What is on its way is seen as what it was before.
        QuarantineState::Replaying if patched_event.is_none() => pb::QuarantineState::Open,
        QuarantineState::Patched | QuarantineState::Replaying => pb::QuarantineState::Patched,
        QuarantineState::Replayed => pb::QuarantineState::Replayed,
        QuarantineState::Discarded => pb::QuarantineState::Discarded,
    };
    let failure = failure::of(&quarantined.reason);
    pb::QuarantinedEvent {
        quarantine_id: quarantined.id.to_string(),
        source: quarantined.source,
        event,
        reason: quarantined.reason,
        field: quarantined.field,
        message: quarantined.message,
        received_time: Some(time_to_proto(quarantined.received_at)),
        state: state.into(),
        raw,
        patched_event,
        failure_type: failure.kind.as_str().to_owned(),
        advice: failure.advice.to_owned(),
        position: quarantined.position.unwrap_or_default(),
        changed_by: quarantined.changed_by.unwrap_or_default(),
        change_time: quarantined.changed_at.map(time_to_proto),
        discard_reason: quarantined.discard_reason.unwrap_or_default(),
    }
}

/// A source and its accounting.
pub(crate) fn source_to_proto(source: Source) -> pb::Source {
    let counts = source.counts;
    pb::Source {
        name: source.name,
        received: counts.received(),
        accepted: counts.accepted,
        duplicate: counts.duplicate,
        quarantined: counts.quarantined,
        rejected: counts.rejected,
        last_received_time: counts.last_received_at.map(time_to_proto),
        last_effective_time: counts.last_effective_at.map(time_to_proto),
    }
}
