//! InsightsService: what a change did, what is out of the ordinary, why a number
//! moved, and what customers will be worth.

pub(crate) mod anomalies;
mod attribution;
mod customers;
mod impact;
mod words;

use northstar_proto::metrics::v1 as pb;
use northstar_proto::metrics::v1::insights_service_server::InsightsService;
use northstar_server::caller;
use northstar_stats::Effect;
use tonic::{Request, Response, Status};

use crate::service::Metrics;

#[tonic::async_trait]
impl InsightsService for Metrics {
    async fn query_impact(
        &self,
        request: Request<pb::QueryImpactRequest>,
    ) -> Result<Response<pb::QueryImpactResponse>, Status> {
        let project = caller(&request)?.project;
        let answer = impact::query_impact(self, project, request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn detect_anomalies(
        &self,
        request: Request<pb::DetectAnomaliesRequest>,
    ) -> Result<Response<pb::DetectAnomaliesResponse>, Status> {
        let project = caller(&request)?.project;
        let answer = anomalies::detect_anomalies(self, project, request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn attribute_change(
        &self,
        request: Request<pb::AttributeChangeRequest>,
    ) -> Result<Response<pb::AttributeChangeResponse>, Status> {
        let project = caller(&request)?.project;
        let answer = attribution::attribute_change(self, project, request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn query_customer_value(
        &self,
        request: Request<pb::QueryCustomerValueRequest>,
    ) -> Result<Response<pb::QueryCustomerValueResponse>, Status> {
        let project = caller(&request)?.project;
        let answer = customers::query_customer_value(self, project, request.into_inner()).await?;
        Ok(Response::new(answer))
    }
}

/// An estimate for the wire.
fn effect(effect: &Effect) -> pb::EffectEstimate {
    pb::EffectEstimate {
        estimate: effect.estimate,
        standard_error: effect.standard_error,
        ci_low: effect.interval.low,
        ci_high: effect.interval.high,
        p_value: effect.p_value,
    }
}
