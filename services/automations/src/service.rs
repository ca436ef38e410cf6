//! The RPCs: each reads as the order of its effects.

use std::sync::Arc;

use northstar_client::Clients;
use northstar_domain::Clock;
use northstar_proto::automations::v1 as pb;
use northstar_proto::automations::v1::automations_service_server::AutomationsService;
use northstar_server::caller;
use northstar_store::PgPool;
use tokio::sync::Notify;
use tonic::{Request, Response, Status};

use crate::secrets::Secrets;
use crate::target::Reach;
use crate::{activate, define, lift, preview, runs};

/// The service: what its calls need.
#[derive(Clone)]
pub(crate) struct Automations {
    pub(crate) pool: PgPool,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) clients: Clients,
    pub(crate) reach: Reach,
    pub(crate) secrets: Secrets,
    pub(crate) wake: Wake,
}

/// Tells the workers of this process that there is something to do, so that
/// they need not wait until they look by themselves.
#[derive(Clone, Default)]
pub(crate) struct Wake {
    /// An automation was activated or stopped.
    pub(crate) triggers: Arc<Notify>,
    /// Runs were made or redriven.
    pub(crate) runs: Arc<Notify>,
}

#[tonic::async_trait]
impl AutomationsService for Automations {
    async fn apply_automation(
        &self,
        request: Request<pb::ApplyAutomationRequest>,
    ) -> Result<Response<pb::ApplyAutomationResponse>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(define::apply(self, &caller, request.into_inner()).await?))
    }

    async fn get_automation(
        &self,
        request: Request<pb::GetAutomationRequest>,
    ) -> Result<Response<pb::GetAutomationResponse>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(define::get(self, &caller, request.into_inner()).await?))
    }

    async fn list_automations(
        &self,
        request: Request<pb::ListAutomationsRequest>,
    ) -> Result<Response<pb::ListAutomationsResponse>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(define::list(self, &caller, request.into_inner()).await?))
    }

    async fn request_activation(
        &self,
        request: Request<pb::RequestActivationRequest>,
    ) -> Result<Response<pb::RequestActivationResponse>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(activate::ask(self, &caller, request.into_inner()).await?))
    }

    async fn activate_automation(
        &self,
        request: Request<pb::ActivateAutomationRequest>,
    ) -> Result<Response<pb::ActivateAutomationResponse>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(activate::activate(self, &caller, request.into_inner()).await?))
    }

    async fn pause_automation(
        &self,
        request: Request<pb::PauseAutomationRequest>,
    ) -> Result<Response<pb::PauseAutomationResponse>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(activate::pause(self, &caller, request.into_inner()).await?))
    }

    async fn retire_automation(
        &self,
        request: Request<pb::RetireAutomationRequest>,
    ) -> Result<Response<pb::RetireAutomationResponse>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(activate::retire(self, &caller, request.into_inner()).await?))
    }

    async fn preview_change(
        &self,
        request: Request<pb::PreviewChangeRequest>,
    ) -> Result<Response<pb::PreviewChangeResponse>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(preview::preview(self, &caller, request.into_inner()).await?))
    }

    async fn list_runs(
        &self,
        request: Request<pb::ListRunsRequest>,
    ) -> Result<Response<pb::ListRunsResponse>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(runs::list(self, &caller, request.into_inner()).await?))
    }

    async fn redrive_runs(
        &self,
        request: Request<pb::RedriveRunsRequest>,
    ) -> Result<Response<pb::RedriveRunsResponse>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(runs::redrive(self, &caller, request.into_inner()).await?))
    }

    async fn measure_lift(
        &self,
        request: Request<pb::MeasureLiftRequest>,
    ) -> Result<Response<pb::MeasureLiftResponse>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(lift::measure(self, &caller, request.into_inner()).await?))
    }
}
