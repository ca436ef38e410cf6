//! Asks what thresholds want to be decided, at least once under one id, so that
//! approvals has each question once; and takes back what nobody decided before the
//! value recovered.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use northstar_client::Clients;
use northstar_domain::Clock;
use northstar_proto::approvals::v1::CreateDecisionRequestRequest;
use northstar_store::metrics::threshold::{self as store, Asked, Unasked};
use northstar_store::{Error as StoreError, PgPool};
use prost::Message as _;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use super::withdraw::withdraw_batch;
use crate::Result;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);
pub(super) const BATCH: i64 = 16;
/// Longest wait for approvals, and after which another replica may ask.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);
pub(super) const LEASE: TimeDelta = TimeDelta::seconds(30);
/// Longest wait before another try.
const MOST_PAUSE: TimeDelta = TimeDelta::minutes(5);

/// Asks until told to stop. What is away is waited for.
pub(crate) async fn ask(
    pool: PgPool,
    clock: Arc<dyn Clock>,
    clients: Clients,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    while !shutdown.is_cancelled() {
        let round = async {
            if let Err(error) = ask_batch(&pool, clock.as_ref(), &clients).await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "questions of thresholds could not be asked, trying again",
                );
            }
            if let Err(error) = withdraw_batch(&pool, clock.as_ref(), &clients).await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "questions of thresholds could not be taken back, trying again",
                );
            }
            tokio::time::sleep(LOOK).await;
        };
        shutdown.run_until_cancelled(round).await;
    }
    Ok(())
}

async fn ask_batch(pool: &PgPool, clock: &dyn Clock, clients: &Clients) -> Result<()> {
    let now = clock.now();
    let mut connection = pool.acquire().await.map_err(StoreError::from)?;
    let questions = store::lease_questions(&mut connection, BATCH, now, now + LEASE).await?;
    drop(connection);
    for question in questions {
        let asked = ask_one(clock, clients, &question).await;
        let mut connection = pool.acquire().await.map_err(StoreError::from)?;
        store::settle_question(&mut connection, &question, &asked).await?;
    }
    Ok(())
}

async fn ask_one(clock: &dyn Clock, clients: &Clients, question: &Unasked) -> Asked {
    // After an earlier try it is asked all the same: approvals may have it, and what it
    // has can be taken back only by its id.
    if question.recovered && question.attempts <= 1 {
        return Asked::Refused("the value recovered before anybody was asked".to_owned());
    }
    let Ok(request) = CreateDecisionRequestRequest::decode(question.request.as_slice()) else {
        return Asked::Refused("the question cannot be read".to_owned());
    };
    let mut request = tonic::Request::new(request);
    request.set_timeout(TIMEOUT);
    let mut approvals = clients.for_project(question.project.0).approvals();
    match approvals.create_decision_request(request).await {
        Ok(response) => {
            let decision = response.into_inner().decision_request.unwrap_or_default();
            match decision.decision_request_id.parse() {
                Ok(id) => {
                    tracing::info!(
                        threshold.name = question.name,
                        threshold.episode = question.episode,
                        decision_request = decision.decision_request_id,
                        "asked for a decision",
                    );
                    Asked::Taken(id)
                }
                Err(_) => again(clock, question),
            }
        }
        // The same question will not become a better one.
        Err(status)
            if matches!(
                status.code(),
                Code::InvalidArgument | Code::FailedPrecondition | Code::AlreadyExists
            ) =>
        {
            tracing::error!(
                threshold.name = question.name,
                threshold.episode = question.episode,
                error = status.message(),
                "approvals refused a question",
            );
            Asked::Refused(status.message().to_owned())
        }
        Err(status) => {
            tracing::warn!(
                threshold.name = question.name,
                threshold.episode = question.episode,
                error = status.message(),
                "a decision could not be asked for, trying again",
            );
            again(clock, question)
        }
    }
}

/// Twice as long after each try, from a second.
fn again(clock: &dyn Clock, question: &Unasked) -> Asked {
    let doubled = question.attempts.clamp(0, 10).cast_unsigned();
    let pause = TimeDelta::seconds(1_i64 << doubled).min(MOST_PAUSE);
    Asked::Again(clock.now() + pause)
}
