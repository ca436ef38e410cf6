//! Takes back the questions of episodes that are over, so that nobody decides about
//! a number that has recovered.

use chrono::TimeDelta;
use northstar_client::Clients;
use northstar_domain::Clock;
use northstar_proto::approvals::v1 as approvals;
use northstar_store::metrics::threshold::{self as store, Recovered, Withdrawal};
use northstar_store::{Error as StoreError, PgPool};
use tonic::{Code, Request, Status};

use super::ask::{BATCH, LEASE, TIMEOUT};
use crate::Result;

/// Before another try.
const PAUSE: TimeDelta = TimeDelta::seconds(5);

pub(super) async fn withdraw_batch(
    pool: &PgPool,
    clock: &dyn Clock,
    clients: &Clients,
) -> Result<()> {
    let now = clock.now();
    let mut connection = pool.acquire().await.map_err(StoreError::from)?;
    let withdrawals = store::lease_withdrawals(&mut connection, BATCH, now, now + LEASE).await?;
    drop(connection);
    for withdrawal in withdrawals {
        let recovered = match withdraw_one(clients, &withdrawal).await {
            Ok(state) => {
                tracing::info!(
                    threshold.name = withdrawal.name,
                    threshold.episode = withdrawal.episode,
                    decision_request = %withdrawal.decision_request,
                    decision.state = state,
                    "the value recovered",
                );
                Recovered::Settled(state)
            }
            Err(status) => {
                tracing::warn!(
                    threshold.name = withdrawal.name,
                    threshold.episode = withdrawal.episode,
                    error = status.message(),
                    "a question could not be taken back, trying again",
                );
                Recovered::Again(clock.now() + PAUSE)
            }
        };
        let mut connection = pool.acquire().await.map_err(StoreError::from)?;
        store::settle_withdrawal(&mut connection, &withdrawal, &recovered).await?;
    }
    Ok(())
}

/// The state in which the question ends: withdrawn, or decided before.
async fn withdraw_one(clients: &Clients, withdrawal: &Withdrawal) -> Result<String, Status> {
    let id = withdrawal.decision_request.to_string();
    let mut approvals = clients.for_project(withdrawal.project.0).approvals();
    let mut request = Request::new(approvals::WithdrawDecisionRequestRequest {
        decision_request_id: id.clone(),
        reason: withdrawal.reason.clone(),
        ..approvals::WithdrawDecisionRequestRequest::default()
    });
    request.set_timeout(TIMEOUT);
    let found = match approvals.withdraw_decision_request(request).await {
        Ok(response) => response.into_inner().decision_request,
        // A decision was faster, or an earlier try was not heard of.
        Err(status) if status.code() == Code::FailedPrecondition => {
            let mut request =
                Request::new(approvals::GetDecisionRequestRequest { decision_request_id: id });
            request.set_timeout(TIMEOUT);
            approvals.get_decision_request(request).await?.into_inner().decision_request
        }
        Err(status) => return Err(status),
    };
    let state = found.unwrap_or_default().state();
    Ok(state.as_str_name().trim_start_matches("DECISION_STATE_").to_ascii_lowercase())
}
