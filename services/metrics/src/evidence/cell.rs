//! A cell as a request names it, with the answer it belongs to.

use northstar_domain::{Problems, ProjectId};
use northstar_engine as engine;
use northstar_engine::Grain;
use northstar_proto::metrics::v1 as pb;

use crate::convert::from_timestamp;
use crate::plan;
use crate::provenance::Sources;
use crate::query::{Computed, compute};
use crate::service::Metrics as Service;
use crate::{Error, Result};

/// A cell, and the answer it belongs to.
pub(super) struct Found {
    pub(super) computed: Computed,
    pub(super) cell: engine::Cell,
    /// Its row; `None` when the answer has none there.
    pub(super) row: Option<pb::MetricRow>,
    pub(super) provenance: pb::Provenance,
    /// Events that wait in quarantine.
    pub(super) quarantined: i64,
}

impl Found {
    /// Computes the answer that a cell belongs to.
    pub(super) async fn compute(
        service: &Service,
        project: ProjectId,
        cell: Option<pb::Cell>,
    ) -> Result<Self> {
        let pb::Cell { question, bucket_time, dimensions } = cell.unwrap_or_default();
        let question = question.unwrap_or_default();
        let mut problems = Problems::default();
        for name in dimensions.keys().filter(|name| !question.breakdowns.contains(name)) {
            let problem = "is not among the breakdowns of the question";
            problems.fields.push(format!("cell.dimensions[{name}]"), problem);
        }
        let bucket_start = bucket_time.and_then(|time| {
            let read = from_timestamp(&time);
            if read.is_none() {
                let problem = "is not a time: seconds or nanos are out of range";
                problems.fields.push("cell.bucket_time", problem);
            }
            read.map(plan::instant)
        });
        Error::check(problems)?;
        let computed = compute(service, project, &question, None).await.map_err(below)?;
        match (computed.query.grain, bucket_start) {
            (Grain::Total, Some(_)) => {
                let problem = "must be unset: the question has one bucket only";
                return Err(Error::field("cell.bucket_time", problem));
            }
            (Grain::Total, None) | (_, Some(_)) => {}
            (_, None) => {
                return Err(Error::field("cell.bucket_time", "is required: the bucket of the row"));
            }
        }
        let of = |name: &String| dimensions.get(name).cloned();
        let cell =
            engine::Cell { bucket_start, dimensions: question.breakdowns.iter().map(of).collect() };
        let at = computed.answer.rows.iter().position(|row| {
            row.bucket_start == cell.bucket_start && row.dimensions == cell.dimensions
        });
        let row = match at {
            Some(at) => computed.rows(&question)?.into_iter().nth(at),
            None => None,
        };
        let head = computed.view.head;
        let sources = Sources::read(&service.pool, project, head, service.clock.now()).await?;
        let provenance = computed.provenance(&sources, &question)?;
        let quarantined = provenance.excluded_quarantined_events;
        Ok(Self { computed, cell, row, provenance, quarantined })
    }
}

/// What is wrong with the question, as a part of the cell.
fn below(error: Error) -> Error {
    match error {
        Error::Refused(problems) => Error::Refused(problems.under("cell.question")),
        other => other,
    }
}
