//! The RPCs: each reads as the order of its effects.

use std::sync::Arc;

use northstar_client::Clients;
use northstar_domain::Clock;
use northstar_proto::experiments::v1 as pb;
use northstar_proto::experiments::v1::experiments_service_server::ExperimentsService;
use northstar_server::caller;
use northstar_store::PgPool;
use tonic::{Request, Response, Status};

use crate::{analyze, assign, conclude, lifecycle, registry, ship};

/// The service: a pool, a clock, and the other services.
#[derive(Clone)]
pub struct Experiments {
    pub(crate) pool: PgPool,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) clients: Clients,
}

impl Experiments {
    /// A service over a pool that works under the role of experiments.
    pub fn new(pool: PgPool, clock: Arc<dyn Clock>, clients: Clients) -> Self {
        Self { pool, clock, clients }
    }
}

#[tonic::async_trait]
impl ExperimentsService for Experiments {
    async fn apply_experiment(
        &self,
        request: Request<pb::ApplyExperimentRequest>,
    ) -> Result<Response<pb::ApplyExperimentResponse>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(registry::apply(self, &caller, request.into_inner()).await?))
    }

    async fn get_experiment(
        &self,
        request: Request<pb::GetExperimentRequest>,
    ) -> Result<Response<pb::GetExperimentResponse>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(registry::get(self, &caller, request.into_inner()).await?))
    }

    async fn list_experiments(
        &self,
        request: Request<pb::ListExperimentsRequest>,
    ) -> Result<Response<pb::ListExperimentsResponse>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(registry::list(self, &caller, request.into_inner()).await?))
    }

    async fn start_experiment(
        &self,
        request: Request<pb::StartExperimentRequest>,
    ) -> Result<Response<pb::StartExperimentResponse>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(lifecycle::start(self, &caller, request.into_inner()).await?))
    }

    async fn stop_experiment(
        &self,
        request: Request<pb::StopExperimentRequest>,
    ) -> Result<Response<pb::StopExperimentResponse>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(lifecycle::stop(self, &caller, request.into_inner()).await?))
    }

    async fn assign_variants(
        &self,
        request: Request<pb::AssignVariantsRequest>,
    ) -> Result<Response<pb::AssignVariantsResponse>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(assign::assign(self, &caller, request.into_inner()).await?))
    }

    async fn analyze_experiment(
        &self,
        request: Request<pb::AnalyzeExperimentRequest>,
    ) -> Result<Response<pb::AnalyzeExperimentResponse>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(analyze::analyze(self, &caller, request.into_inner()).await?))
    }

    async fn request_ship_decision(
        &self,
        request: Request<pb::RequestShipDecisionRequest>,
    ) -> Result<Response<pb::RequestShipDecisionResponse>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(ship::request(self, &caller, request.into_inner()).await?))
    }

    async fn conclude_experiment(
        &self,
        request: Request<pb::ConcludeExperimentRequest>,
    ) -> Result<Response<pb::ConcludeExperimentResponse>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(conclude::conclude(self, &caller, request.into_inner()).await?))
    }
}
