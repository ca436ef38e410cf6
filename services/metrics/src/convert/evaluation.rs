//! Where thresholds are, and their evaluations, on the wire.

use northstar_domain::threshold::{
    Effect, Gate, Observation, Phase, Reading, Rules, State, Threshold,
};
use northstar_proto::metrics::v1 as pb;
use northstar_store::Error as StoreError;
use northstar_store::metrics::definition::Stored;
use northstar_store::metrics::threshold::{Logged, Standing};
use prost::Message as _;

use super::threshold::stored_to_proto;
use super::to_timestamp;

/// A threshold and where it is, for the wire.
pub(crate) fn status_to_proto(
    stored: &Stored<Threshold>,
    standing: &Standing,
) -> pb::ThresholdStatus {
    let question = standing.question.clone().unwrap_or_default();
    pb::ThresholdStatus {
        threshold: Some(stored_to_proto(stored)),
        state: Some(state_to_proto(&standing.state)),
        paused: standing.pause_reason.is_some(),
        pause_reason: standing.pause_reason.clone().unwrap_or_default(),
        next_evaluation_time: standing.next_due_at.map(to_timestamp),
        decision_request: question.decision_request.map(|id| id.to_string()).unwrap_or_default(),
        refusal: question.refusal.unwrap_or_default(),
        withdrawal: question.withdrawal.unwrap_or_default(),
    }
}

/// What a threshold remembers, for the wire.
pub(crate) fn state_to_proto(state: &State) -> pb::ThresholdState {
    let (phase, since, until) = match state.phase {
        Phase::Watching => (pb::ThresholdPhase::Watching, None, None),
        Phase::Deferred { since, until } => {
            (pb::ThresholdPhase::Deferred, Some(since), Some(until))
        }
        Phase::Open { since } => (pb::ThresholdPhase::Open, Some(since), None),
    };
    pb::ThresholdState {
        phase: phase.into(),
        episode: state.episode.cast_signed(),
        since_time: since.map(to_timestamp),
        deferred_until_time: until.map(to_timestamp),
        cool_until_time: state.cool_until.map(to_timestamp),
        counted_after_time: state.counted_after.map(to_timestamp),
    }
}

fn reading_to_proto(reading: Reading) -> pb::ThresholdReading {
    match reading {
        Reading::Breached => pb::ThresholdReading::Breached,
        Reading::Between => pb::ThresholdReading::Between,
        Reading::Clear => pb::ThresholdReading::Clear,
        Reading::Unknown => pb::ThresholdReading::Unknown,
    }
}

fn gate_to_proto(gate: Gate) -> pb::ThresholdGate {
    match gate {
        Gate::Empty => pb::ThresholdGate::Empty,
        Gate::Stale => pb::ThresholdGate::Stale,
        Gate::NoData => pb::ThresholdGate::NoData,
        Gate::Immature => pb::ThresholdGate::Immature,
        Gate::SmallSample => pb::ThresholdGate::SmallSample,
        Gate::CoolDown => pb::ThresholdGate::CoolDown,
        Gate::Quiet => pb::ThresholdGate::Quiet,
    }
}

fn effect_to_proto(effect: Effect) -> pb::ThresholdEffect {
    match effect {
        Effect::None => pb::ThresholdEffect::None,
        Effect::Inform => pb::ThresholdEffect::Inform,
        Effect::Defer { .. } => pb::ThresholdEffect::Defer,
        Effect::Raise { .. } => pb::ThresholdEffect::Raise,
        Effect::Clear { .. } => pb::ThresholdEffect::Clear,
    }
}

fn observation_to_proto(observation: &Observation, rules: &Rules) -> pb::ThresholdObservation {
    pb::ThresholdObservation {
        start_time: Some(to_timestamp(observation.start)),
        end_time: Some(to_timestamp(observation.end)),
        segment: observation.segment.clone(),
        value: observation.value,
        reference: observation.reference,
        spread: observation.spread,
        sample: observation.sample.cast_signed(),
        complete: observation.complete,
        reading: reading_to_proto(observation.read(rules).0).into(),
    }
}

/// An evaluation, for the wire.
pub(crate) fn evaluation_to_proto(
    logged: &Logged,
    rules: &Rules,
) -> Result<pb::ThresholdEvaluation, StoreError> {
    let provenance = pb::Provenance::decode(logged.provenance.as_slice()).map_err(|error| {
        StoreError::Corrupt {
            table: "metrics.threshold_evaluations",
            column: "provenance",
            row: format!("{}/{}", logged.name, logged.sequence),
            value: error.to_string(),
        }
    })?;
    Ok(pb::ThresholdEvaluation {
        threshold: logged.name.clone(),
        sequence: logged.sequence,
        threshold_version: logged.version,
        evaluation_time: Some(to_timestamp(logged.evaluated_at)),
        create_time: Some(to_timestamp(logged.created_at)).filter(|_| logged.sequence > 0),
        observations: logged
            .observations
            .iter()
            .map(|observation| observation_to_proto(observation, rules))
            .collect(),
        reading: reading_to_proto(logged.reading).into(),
        breaches: i32::try_from(logged.breaches).unwrap_or(i32::MAX),
        gates: logged.gates.iter().map(|gate| gate_to_proto(*gate).into()).collect(),
        state_before: Some(state_to_proto(&logged.state_before)),
        state_after: Some(state_to_proto(&logged.state_after)),
        effect: effect_to_proto(logged.effect).into(),
        provenance: Some(provenance),
    })
}
