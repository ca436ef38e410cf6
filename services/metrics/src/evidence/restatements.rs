//! ListRestatements: the values that changed after they were told.

use std::collections::BTreeMap;

use northstar_domain::ProjectId;
use northstar_proto::metrics::v1 as pb;
use northstar_store::Error as StoreError;
use northstar_store::metrics::restatement::{self, Restatement, Wanted};
use northstar_store::page::PageSize;
use prost::Message as _;

use crate::convert::{from_timestamp, to_timestamp};
use crate::service::Metrics as Service;
use crate::{Error, Result};

/// Answers the question.
pub(super) async fn list(
    service: &Service,
    project: ProjectId,
    request: pb::ListRestatementsRequest,
) -> Result<pb::ListRestatementsResponse> {
    let size = PageSize::from_request(request.page_size)
        .map_err(|error| Error::field("page_size", error.to_string()))?;
    let since = match &request.since_time {
        None => None,
        Some(time) => Some(from_timestamp(time).ok_or_else(|| {
            Error::field("since_time", "is not a time: seconds or nanos are out of range")
        })?),
    };
    let before =
        match request.page_token.as_str() {
            "" => None,
            token => Some(token.parse().map_err(|_| {
                Error::field("page_token", "is not a token that an earlier page gave")
            })?),
        };
    let wanted = Wanted {
        metric: Some(request.metric.as_str()).filter(|metric| !metric.is_empty()),
        kpi: Some(request.kpi.as_str()).filter(|kpi| !kpi.is_empty()),
        since,
        before,
    };
    let mut connection = service.pool.acquire().await.map_err(StoreError::from)?;
    let found = restatement::list(&mut connection, project, wanted, size).await?;
    let (page, more) = size.cut(found);
    let token = page.last().filter(|_| more).map(|last| last.id.to_string());
    Ok(pb::ListRestatementsResponse {
        restatements: page.into_iter().map(to_proto).collect::<Result<_>>()?,
        next_page_token: token.unwrap_or_default(),
    })
}

fn to_proto(stored: Restatement) -> Result<pb::Restatement> {
    let corrupt = |column, value: String| StoreError::Corrupt {
        table: "metrics.restatements",
        column,
        row: stored.id.to_string(),
        value,
    };
    let question = pb::QueryMetricRequest::decode(stored.request.as_slice())
        .map_err(|error| corrupt("request", error.to_string()))?;
    let dimensions: BTreeMap<String, String> = serde_json::from_value(stored.dimensions.clone())
        .map_err(|error| corrupt("dimensions", error.to_string()))?;
    let causes = stored.causes.iter().map(|cause| {
        let name = format!("RESTATEMENT_CAUSE_{}", cause.to_ascii_uppercase());
        pb::RestatementCause::from_str_name(&name)
            .map(Into::into)
            .ok_or_else(|| Error::from(corrupt("causes", cause.clone())))
    });
    let causes = causes.collect::<Result<Vec<i32>>>()?;
    let is_total = matches!(question.grain(), pb::Grain::Total | pb::Grain::Unspecified);
    let difference = stored.new_value.zip(stored.old_value).map(|(new, old)| new - old);
    Ok(pb::Restatement {
        restatement_id: stored.id,
        metric: stored.metric,
        kpi: stored.kpi,
        question: Some(question),
        bucket_time: (!is_total).then(|| to_timestamp(stored.bucket_start)),
        dimensions,
        old_value: stored.old_value,
        new_value: stored.new_value,
        difference,
        causes,
        old_metric_version: stored.old_metric_version,
        new_metric_version: stored.new_metric_version,
        old_log_position: stored.old_log_position,
        new_log_position: stored.new_log_position,
        served_time: Some(to_timestamp(stored.served_at)),
        restated_time: Some(to_timestamp(stored.restated_at)),
    })
}
