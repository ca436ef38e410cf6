//! Which KPIs a replay moved.

use std::collections::BTreeMap;

use northstar_client::Clients;
use northstar_proto::ingestion::v1 as pb;
use northstar_proto::metrics::v1 as metrics;
use prost_types::Timestamp;

/// What a comparison found.
#[derive(Debug, Default)]
pub(crate) struct Moves {
    /// The KPIs whose values differ.
    pub(crate) moved: Vec<pb::KpiMove>,
    /// Why they could not be compared; empty when they were.
    pub(crate) unknown: String,
}

/// The values of all KPIs by name, and when they held.
type Values = (BTreeMap<String, Option<f64>>, Option<Timestamp>);

/// The values of all KPIs at one evaluation time, or why there are none.
pub(crate) struct Scorecard(Result<Values, String>);

impl Scorecard {
    /// Asks metrics for the values now.
    pub(crate) async fn read(clients: &Clients) -> Self {
        Self(ask(clients, None).await)
    }

    /// Compares with the values after, at the same evaluation time. A failure to
    /// ask is told, not an error: the events are in the log.
    pub(crate) async fn compare(self, clients: &Clients) -> Moves {
        let (before, evaluation_time) = match self.0 {
            Ok(before) => before,
            Err(unknown) => return Moves { moved: Vec::new(), unknown },
        };
        match ask(clients, evaluation_time).await {
            Err(unknown) => Moves { moved: Vec::new(), unknown },
            Ok((after, _)) => Moves { moved: moves(&before, &after), unknown: String::new() },
        }
    }
}

async fn ask(clients: &Clients, evaluation_time: Option<Timestamp>) -> Result<Values, String> {
    let request = metrics::GetScorecardRequest { evaluation_time };
    match clients.metrics().get_scorecard(request).await {
        Err(status) => Err(format!("the scorecard could not be read: {}", status.message())),
        Ok(scorecard) => {
            let scorecard = scorecard.into_inner();
            let values = scorecard
                .kpis
                .into_iter()
                .map(|row| (row.kpi.unwrap_or_default().name, row.value))
                .collect();
            Ok((values, scorecard.evaluation_time))
        }
    }
}

fn moves(
    before: &BTreeMap<String, Option<f64>>,
    after: &BTreeMap<String, Option<f64>>,
) -> Vec<pb::KpiMove> {
    after
        .iter()
        .filter_map(|(kpi, after)| {
            let before = before.get(kpi).copied().flatten();
            (before != *after).then(|| pb::KpiMove { kpi: kpi.clone(), before, after: *after })
        })
        .collect()
}
