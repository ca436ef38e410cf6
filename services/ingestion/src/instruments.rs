//! What this process did with events, and how declared sources stand, for
//! `/metrics` and the OTLP export.

use std::time::Duration;

use northstar_domain::ProjectId;
use northstar_domain::source::State;
use northstar_proto::ingestion::v1::EventOutcome;
use northstar_server::telemetry::Gauge;
use northstar_store::ingestion::accounting::EventCounts;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram};

use crate::transaction::Answer;

/// From a commit to memory to one that waits for a disk that is not well, seconds.
const BOUNDARIES: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

/// What the writer did.
pub(crate) struct Writing {
    events: Counter<u64>,
    seconds: Histogram<f64>,
}

impl Writing {
    pub(crate) fn new() -> Self {
        let meter = opentelemetry::global::meter("northstar-ingestion");
        Self {
            events: meter
                .u64_counter("northstar.ingestion.events")
                .with_description("Events that this process answered for, by outcome")
                .build(),
            seconds: meter
                .f64_histogram("northstar.ingestion.write.duration")
                .with_unit("s")
                .with_boundaries(BOUNDARIES.to_vec())
                .with_description(
                    "Time that the write of one transaction took, its commit included",
                )
                .build(),
        }
    }

    /// A transaction was committed.
    pub(crate) fn committed(&self, took: Duration, answers: &[Answer]) {
        self.seconds.record(took.as_secs_f64(), &[]);
        let mut counts = [0_u64; 4];
        for result in answers.iter().flat_map(|answer| &answer.results) {
            match result.outcome() {
                EventOutcome::Accepted => counts[0] += 1,
                EventOutcome::Duplicate => counts[1] += 1,
                EventOutcome::Quarantined => counts[2] += 1,
                EventOutcome::Rejected => counts[3] += 1,
                EventOutcome::Unspecified | EventOutcome::Retry => {}
            }
        }
        let outcomes = ["accepted", "duplicate", "quarantined", "rejected"];
        for (outcome, count) in outcomes.into_iter().zip(counts).filter(|(_, count)| *count > 0) {
            self.events.add(count, &[KeyValue::new("outcome", outcome)]);
        }
    }
}

/// How declared sources stand. Documents are few, so a series for each is.
pub(crate) struct Standings {
    state: Gauge,
    age: Gauge,
    events: Gauge,
}

impl Standings {
    pub(crate) fn new() -> Self {
        Self {
            state: Gauge::new(
                "northstar.source.state",
                "State of a declared source: 0 off, 1 fresh, 2 warn, 3 breached",
            ),
            age: Gauge::new(
                "northstar.source.age.seconds",
                "Time since the newest accepted event of a declared source was received",
            ),
            events: Gauge::new(
                "northstar.source.events",
                "Events of a declared source in the accounting equation, by outcome",
            ),
        }
    }

    /// A source was judged.
    pub(crate) fn judged(
        &self,
        project: ProjectId,
        source: &str,
        state: State,
        age: Option<Duration>,
        total: &EventCounts,
    ) {
        let labels = [("project", project.to_string()), ("source", source.to_owned())];
        let level = match state {
            State::Off => 0.0,
            State::Fresh => 1.0,
            State::Warn => 2.0,
            State::Breached => 3.0,
        };
        self.state.set(level, &labels);
        if let Some(age) = age {
            self.age.set(age.as_secs_f64(), &labels);
        }
        let counts = &total.counts;
        for (outcome, count) in [
            ("accepted", counts.accepted),
            ("duplicate", counts.duplicate),
            ("quarantined", counts.quarantined),
            ("rejected", counts.rejected),
        ] {
            let [project, source] = labels.clone();
            self.events.set(count as f64, &[project, source, ("outcome", outcome.to_owned())]);
        }
    }
}
