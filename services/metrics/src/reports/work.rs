//! What the suite did in a stretch of time, from its own events in the log.

use std::collections::BTreeMap;

use chrono_tz::Tz;
use northstar_domain::kpi::Window;
use northstar_domain::metric::{Definition, EventSelector, Metric};
use northstar_engine::{Answer, Dimension, Grain, Query};
use northstar_proto::metrics::v1 as pb;

use crate::Result;
use crate::dataset::View;
use crate::plan::{self, Metrics, instant};
use crate::provenance::{Answered, Sources, digest, provenance};

/// What the suite tells of itself, and which properties are looked at.
pub(super) const RUNS: Told =
    Told { event: "northstar.automation.run", filter: TREATED, by: &["automation"] };
pub(super) const VERDICTS: Told = Told {
    event: "northstar.decision.verdict",
    filter: DECIDED,
    by: &["subject", "handling_seconds"],
};
pub(super) const EXPIRED: Told =
    Told { event: "northstar.decision.expired", filter: OWN, by: &["subject"] };
pub(super) const RAISED: Told =
    Told { event: "northstar.threshold.raised", filter: OWN, by: &["pillar", "automation"] };
pub(super) const STARTED: Told =
    Told { event: "northstar.experiment.started", filter: OWN, by: &["experiment"] };
pub(super) const STOPPED: Told =
    Told { event: "northstar.experiment.stopped", filter: OWN, by: &["experiment"] };
pub(super) const CONCLUDED: Told =
    Told { event: "northstar.experiment.concluded", filter: OWN, by: &["experiment"] };

/// Anybody may send an event of such a name, but only the suite from its source.
const OWN: &str = "event.source == 'northstar'";
const TREATED: &str = "event.source == 'northstar' && properties.arm == 'treated'";
/// Of several verdicts on a question, the one that decided it.
const DECIDED: &str = "event.source == 'northstar' && properties.state != 'pending'";

/// One kind of event that the suite tells of itself.
#[derive(Clone, Copy)]
pub(super) struct Told {
    pub(super) event: &'static str,
    filter: &'static str,
    by: &'static [&'static str],
}

impl Told {
    /// The command that shows the events.
    pub(super) fn command(self) -> String {
        format!(
            "northstar events list --filter \"event.name == '{}' && {}\"",
            self.event, self.filter
        )
    }

    fn metric(self) -> Metric {
        let event = EventSelector { name: self.event.to_owned(), filter: self.filter.to_owned() };
        Metric { definition: Some(Definition::Count { event }), ..Metric::default() }
    }

    /// The name under which its definition stands in a provenance.
    fn name(self) -> String {
        self.event.replace('.', "-")
    }
}

/// So many events with the same properties.
pub(super) struct Group {
    /// Values of the properties, in their order; empty where there is none.
    pub(super) values: Vec<String>,
    pub(super) count: u64,
}

/// What was told in a stretch of time.
pub(super) struct Count {
    metrics: Metrics,
    window: Window,
    query: Query,
    answer: Answer,
    pub(super) groups: Vec<Group>,
}

/// Everything that was told in a stretch of time.
pub(super) struct Work(BTreeMap<&'static str, Count>);

impl Work {
    /// Counts it.
    pub(super) fn read(view: &View, window: Window) -> Result<Self> {
        let all = [RUNS, VERDICTS, EXPIRED, RAISED, STARTED, STOPPED, CONCLUDED];
        let counts = all.into_iter().map(|told| Ok((told.event, count(view, told, window)?)));
        Ok(Self(counts.collect::<Result<_>>()?))
    }

    /// What was told of one kind.
    pub(super) fn groups(&self, told: Told) -> &[Group] {
        self.0.get(told.event).map_or(&[], |count| count.groups.as_slice())
    }

    /// Where a number that is made of these comes from.
    pub(super) fn provenance(
        &self,
        of: &[Told],
        view: &View,
        sources: &Sources,
        zone: Tz,
    ) -> Result<pb::Provenance> {
        let counts: Vec<_> = of.iter().filter_map(|told| self.0.get(told.event)).collect();
        let metrics: Metrics = counts.iter().flat_map(|count| (*count.metrics).clone()).collect();
        let queries: Vec<_> = counts.iter().map(|count| &count.query).collect();
        let rows: Vec<_> = counts.iter().map(|count| &count.answer.rows).collect();
        let window = counts.first().map_or(
            Window { start: chrono::DateTime::UNIX_EPOCH, end: chrono::DateTime::UNIX_EPOCH },
            |count| count.window,
        );
        let answered = Answered {
            metrics: &metrics,
            metric_version: 0,
            window,
            time_zone: zone.name(),
            filter: "",
            head: view.head,
            excluded_events: view.excluded_events,
            scanned_events: counts.iter().map(|count| count.answer.events_scanned).sum(),
            digest: digest(&metrics, 0, &queries, view.head, &rows)?,
        };
        Ok(provenance(sources, answered))
    }
}

fn count(view: &View, told: Told, window: Window) -> Result<Count> {
    let name = told.name();
    let mut metrics = Metrics::new();
    if let Ok(name) = name.parse() {
        metrics.insert(name, told.metric());
    }
    let query = Query {
        metric: plan::spec(&metrics, &name)?,
        from_micros: instant(window.start),
        to_micros: instant(window.end),
        zone: Tz::UTC,
        grain: Grain::Total,
        breakdowns: told.by.iter().map(|by| Dimension::Property((*by).to_owned())).collect(),
        filter: None,
        as_of_micros: Some(instant(window.end)),
    };
    let answer = view.snapshot.query(&query)?;
    let groups = answer
        .rows
        .iter()
        .map(|row| Group {
            values: row.dimensions.iter().map(|value| value.clone().unwrap_or_default()).collect(),
            count: row.n,
        })
        .collect();
    Ok(Count { metrics, window, query, answer, groups })
}
