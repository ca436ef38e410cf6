//! The RPCs: decode, ask, encode.

use std::sync::Arc;

use northstar_domain::activity::Activity;
use northstar_domain::kpi::Kpi;
use northstar_domain::metric::Metric;
use northstar_domain::pillar::Pillar;
use northstar_domain::{Clock, ResourceName};
use northstar_proto::metrics::v1 as pb;
use northstar_proto::metrics::v1::metrics_service_server::MetricsService;
use northstar_server::{Caller, caller};
use northstar_store::metrics::definition::{self, Document, Stored};
use northstar_store::page::PageSize;
use northstar_store::{Error as StoreError, PgPool};
use prost::Message as _;
use tonic::{Request, Response, Status};

use crate::apply::{Application, apply};
use crate::dataset::Datasets;
use crate::{Error, Result, convert, lineage, query, query_metrics, scorecard, variants};

/// The gRPC service.
#[derive(Clone)]
pub(crate) struct Metrics {
    pub(crate) pool: PgPool,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) datasets: Arc<Datasets>,
}

impl Metrics {
    /// A document by its name.
    pub(crate) async fn get<D: Document>(&self, caller: &Caller, name: &str) -> Result<Stored<D>> {
        let mut connection = self.pool.acquire().await.map_err(StoreError::from)?;
        definition::find(&mut connection, caller.project, name)
            .await?
            .ok_or_else(|| Error::NotFound { kind: D::KIND, name: name.to_owned() })
    }

    /// A page by name and the token of the next one, which is the last name of
    /// this one.
    pub(crate) async fn list<D: Document>(
        &self,
        caller: &Caller,
        page_size: i32,
        page_token: &str,
    ) -> Result<(Vec<Stored<D>>, String)> {
        let size = PageSize::from_request(page_size)
            .map_err(|error| Error::field("page_size", error.to_string()))?;
        let after: Option<ResourceName> = match page_token {
            "" => None,
            token => Some(token.parse().map_err(|_| {
                Error::field("page_token", "is not a token that an earlier page gave")
            })?),
        };
        let mut connection = self.pool.acquire().await.map_err(StoreError::from)?;
        let found = definition::list(&mut connection, caller.project, after.as_ref(), size).await?;
        let (page, more) = size.cut(found);
        let token = page.last().filter(|_| more).map(|last| last.name.to_string());
        Ok((page, token.unwrap_or_default()))
    }
}

pub(crate) fn pillar(stored: &Stored<Pillar>) -> pb::Pillar {
    convert::pillar::to_proto(stored.name.as_str(), &stored.etag, &stored.document)
}

fn metric(stored: &Stored<Metric>) -> pb::Metric {
    let Stored { name, version, etag, document } = stored;
    convert::metric::to_proto(name.as_str(), *version, etag, document)
}

fn activity(stored: &Stored<Activity>) -> pb::Activity {
    let Stored { name, version, etag, document } = stored;
    convert::activity::to_proto(name.as_str(), *version, etag, document)
}

pub(crate) fn kpi(stored: &Stored<Kpi>) -> pb::Kpi {
    convert::kpi::to_proto(stored.name.as_str(), &stored.etag, &stored.document)
}

#[tonic::async_trait]
impl MetricsService for Metrics {
    async fn apply_pillar(
        &self,
        request: Request<pb::ApplyPillarRequest>,
    ) -> Result<Response<pb::ApplyPillarResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let application = Application {
            method: "/northstar.metrics.v1.MetricsService/ApplyPillar",
            body: request.encode_to_vec(),
            received: convert::pillar::from_proto(request.pillar.unwrap_or_default()),
            validate_only: request.validate_only,
            request_id: request.request_id,
        };
        let respond =
            |stored: &Stored<Pillar>| pb::ApplyPillarResponse { pillar: Some(pillar(stored)) };
        let now = self.clock.now();
        Ok(Response::new(apply(&self.pool, &caller, now, application, respond).await?))
    }

    async fn get_pillar(
        &self,
        request: Request<pb::GetPillarRequest>,
    ) -> Result<Response<pb::GetPillarResponse>, Status> {
        let stored = self.get(&caller(&request)?, &request.get_ref().name).await?;
        Ok(Response::new(pb::GetPillarResponse { pillar: Some(pillar(&stored)) }))
    }

    async fn list_pillars(
        &self,
        request: Request<pb::ListPillarsRequest>,
    ) -> Result<Response<pb::ListPillarsResponse>, Status> {
        let caller = caller(&request)?;
        let pb::ListPillarsRequest { page_size, page_token } = request.into_inner();
        let (page, next_page_token) = self.list(&caller, page_size, &page_token).await?;
        let pillars = page.iter().map(pillar).collect();
        Ok(Response::new(pb::ListPillarsResponse { pillars, next_page_token }))
    }

    async fn apply_metric(
        &self,
        request: Request<pb::ApplyMetricRequest>,
    ) -> Result<Response<pb::ApplyMetricResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let application = Application {
            method: "/northstar.metrics.v1.MetricsService/ApplyMetric",
            body: request.encode_to_vec(),
            received: convert::metric::from_proto(request.metric.unwrap_or_default()),
            validate_only: request.validate_only,
            request_id: request.request_id,
        };
        let respond =
            |stored: &Stored<Metric>| pb::ApplyMetricResponse { metric: Some(metric(stored)) };
        let now = self.clock.now();
        Ok(Response::new(apply(&self.pool, &caller, now, application, respond).await?))
    }

    async fn get_metric(
        &self,
        request: Request<pb::GetMetricRequest>,
    ) -> Result<Response<pb::GetMetricResponse>, Status> {
        let stored = self.get(&caller(&request)?, &request.get_ref().name).await?;
        Ok(Response::new(pb::GetMetricResponse { metric: Some(metric(&stored)) }))
    }

    async fn list_metrics(
        &self,
        request: Request<pb::ListMetricsRequest>,
    ) -> Result<Response<pb::ListMetricsResponse>, Status> {
        let caller = caller(&request)?;
        let pb::ListMetricsRequest { page_size, page_token } = request.into_inner();
        let (page, next_page_token) = self.list(&caller, page_size, &page_token).await?;
        let metrics = page.iter().map(metric).collect();
        Ok(Response::new(pb::ListMetricsResponse { metrics, next_page_token }))
    }

    async fn apply_activity(
        &self,
        request: Request<pb::ApplyActivityRequest>,
    ) -> Result<Response<pb::ApplyActivityResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let application = Application {
            method: "/northstar.metrics.v1.MetricsService/ApplyActivity",
            body: request.encode_to_vec(),
            received: convert::activity::from_proto(request.activity.unwrap_or_default()),
            validate_only: request.validate_only,
            request_id: request.request_id,
        };
        let respond = |stored: &Stored<Activity>| pb::ApplyActivityResponse {
            activity: Some(activity(stored)),
        };
        let now = self.clock.now();
        Ok(Response::new(apply(&self.pool, &caller, now, application, respond).await?))
    }

    async fn get_activity(
        &self,
        request: Request<pb::GetActivityRequest>,
    ) -> Result<Response<pb::GetActivityResponse>, Status> {
        let stored = self.get(&caller(&request)?, &request.get_ref().name).await?;
        Ok(Response::new(pb::GetActivityResponse { activity: Some(activity(&stored)) }))
    }

    async fn list_activities(
        &self,
        request: Request<pb::ListActivitiesRequest>,
    ) -> Result<Response<pb::ListActivitiesResponse>, Status> {
        let caller = caller(&request)?;
        let pb::ListActivitiesRequest { page_size, page_token } = request.into_inner();
        let (page, next_page_token) = self.list(&caller, page_size, &page_token).await?;
        let activities = page.iter().map(activity).collect();
        Ok(Response::new(pb::ListActivitiesResponse { activities, next_page_token }))
    }

    async fn apply_kpi(
        &self,
        request: Request<pb::ApplyKpiRequest>,
    ) -> Result<Response<pb::ApplyKpiResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let application = Application {
            method: "/northstar.metrics.v1.MetricsService/ApplyKpi",
            body: request.encode_to_vec(),
            received: convert::kpi::from_proto(request.kpi.unwrap_or_default()),
            validate_only: request.validate_only,
            request_id: request.request_id,
        };
        let respond = |stored: &Stored<Kpi>| pb::ApplyKpiResponse { kpi: Some(kpi(stored)) };
        let now = self.clock.now();
        Ok(Response::new(apply(&self.pool, &caller, now, application, respond).await?))
    }

    async fn get_kpi(
        &self,
        request: Request<pb::GetKpiRequest>,
    ) -> Result<Response<pb::GetKpiResponse>, Status> {
        let stored = self.get(&caller(&request)?, &request.get_ref().name).await?;
        Ok(Response::new(pb::GetKpiResponse { kpi: Some(kpi(&stored)) }))
    }

    async fn list_kpis(
        &self,
        request: Request<pb::ListKpisRequest>,
    ) -> Result<Response<pb::ListKpisResponse>, Status> {
        let caller = caller(&request)?;
        let pb::ListKpisRequest { page_size, page_token } = request.into_inner();
        let (page, next_page_token) = self.list(&caller, page_size, &page_token).await?;
        let kpis = page.iter().map(kpi).collect();
        Ok(Response::new(pb::ListKpisResponse { kpis, next_page_token }))
    }

    async fn query_metric(
        &self,
        request: Request<pb::QueryMetricRequest>,
    ) -> Result<Response<pb::QueryMetricResponse>, Status> {
        let project = caller(&request)?.project;
        let answer = query::query_metric(self, project, request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    type QueryMetricsStream = query_metrics::Answers;

    async fn query_metrics(
        &self,
        request: Request<pb::QueryMetricsRequest>,
    ) -> Result<Response<Self::QueryMetricsStream>, Status> {
        let project = caller(&request)?.project;
        let answer = query_metrics::query_metrics(self, project, request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn get_kpi_tree(
        &self,
        request: Request<pb::GetKpiTreeRequest>,
    ) -> Result<Response<pb::GetKpiTreeResponse>, Status> {
        let project = caller(&request)?.project;
        let tree = lineage::kpi_tree(self, project, request.into_inner()).await?;
        Ok(Response::new(tree))
    }

    async fn get_lineage(
        &self,
        request: Request<pb::GetLineageRequest>,
    ) -> Result<Response<pb::GetLineageResponse>, Status> {
        let project = caller(&request)?.project;
        let lineage = lineage::lineage(self, project, request.into_inner()).await?;
        Ok(Response::new(lineage))
    }

    async fn query_variant_statistics(
        &self,
        request: Request<pb::QueryVariantStatisticsRequest>,
    ) -> Result<Response<pb::QueryVariantStatisticsResponse>, Status> {
        let project = caller(&request)?.project;
        let answer =
            variants::query_variant_statistics(self, project, request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn get_scorecard(
        &self,
        request: Request<pb::GetScorecardRequest>,
    ) -> Result<Response<pb::GetScorecardResponse>, Status> {
        let project = caller(&request)?.project;
        let scorecard = scorecard::get_scorecard(self, project, request.into_inner()).await?;
        Ok(Response::new(scorecard))
    }
}
