//! What a decision about an activation rests on.

use northstar_client::Clients;
use northstar_domain::automation::Definition;
use northstar_proto::approvals::v1::Evidence;
use northstar_proto::metrics::v1 as metrics;
use serde_json::json;

/// The charter of the automation, and how its KPI stands where that can be had:
/// a number that is missing keeps nobody from asking.
pub(crate) async fn gather(clients: &Clients, definition: &Definition) -> Vec<Evidence> {
    let mut evidence = vec![charter(definition)];
    let request = metrics::GetScorecardRequest::default();
    match clients.metrics().get_scorecard(request).await {
        Ok(scorecard) => {
            let kpis = scorecard.into_inner().kpis;
            let of_this = |value: &&metrics::KpiValue| {
                value.kpi.as_ref().is_some_and(|kpi| kpi.name == definition.spec().kpi)
            };
            evidence.extend(kpis.iter().find(of_this).map(standing));
        }
        Err(status) => tracing::warn!(
            automation.name = %definition.name(),
            error = status.message(),
            "asking for a decision without the scorecard",
        ),
    }
    evidence
}

fn charter(definition: &Definition) -> Evidence {
    let spec = definition.spec();
    Evidence {
        title: "charter".to_owned(),
        json: json!({
            "description": spec.description,
            "kpi": spec.kpi,
            "pillar": spec.pillar,
            "owner": spec.owner,
            "guardrails": spec.guardrails,
            "holdout": spec.holdout,
            "sunset_time": northstar_domain::timestamp::format(definition.sunset()),
        })
        .to_string(),
        source: format!("automations/{}", definition.name()),
    }
}

fn standing(value: &metrics::KpiValue) -> Evidence {
    let kpi = value.kpi.clone().unwrap_or_default();
    let status = value.status().as_str_name().trim_start_matches("KPI_STATUS_").to_lowercase();
    let provenance = value.provenance.clone().unwrap_or_default();
    Evidence {
        title: format!("scorecard of {}", kpi.name),
        json: json!({
            "value": value.value,
            "status": status,
            "baseline": kpi.baseline.map(|baseline| baseline.value),
            "target": kpi.target.map(|target| target.value),
            "unit": kpi.unit,
            "log_position": provenance.log_position,
            "digest": provenance.digest,
        })
        .to_string(),
        source: format!("kpis/{}", kpi.name),
    }
}
