//! Runs: list, redrive.

use northstar_domain::Violations;
use northstar_proto::automations::v1 as pb;
use northstar_server::Caller;
use northstar_server::page::page_size;
use northstar_store::audit;
use northstar_store::automations::{self as store, RunFilter};
use serde_json::json;

use crate::convert::{run_state_filter, run_to_proto};
use crate::define::{load, parse_name};
use crate::error::Result;
use crate::service::Automations;

/// Most runs a call may name.
const MOST_RUNS: usize = 10_000;

pub(crate) async fn list(
    service: &Automations,
    caller: &Caller,
    request: pb::ListRunsRequest,
) -> Result<pb::ListRunsResponse> {
    let size = page_size(request.page_size)?;
    let name = parse_name(&request.automation)?;
    let mut violations = Violations::new();
    let before = match request.page_token.as_str() {
        "" => None,
        token => violations.parse("page_token", token),
    };
    violations.or(())?;
    let filter = RunFilter { state: run_state_filter(request.state)?, before };

    let mut connection = service.pool.acquire().await.map_err(northstar_store::Error::from)?;
    load(&mut connection, caller, &name).await?;
    // The position first: what it covers is in the counts that are read after it.
    let progress = store::load_progress(&mut connection, caller.project, &name).await?;
    let counts = store::count_by_state(&mut connection, caller.project, &name).await?;
    let rows = store::list_runs(&mut connection, caller.project, &name, filter, size).await?;
    let (rows, more) = size.cut(rows);
    let last = rows.last().filter(|_| more);
    Ok(pb::ListRunsResponse {
        next_page_token: last.map_or_else(String::new, |row| row.id.to_string()),
        runs: rows.iter().map(run_to_proto).collect(),
        counts_by_state: counts
            .into_iter()
            .map(|(state, count)| (state.to_owned(), count))
            .collect(),
        handled_position: progress.map_or(0, |progress| progress.handled_position),
    })
}

/// Puts dead letters back in the queue.
pub(crate) async fn redrive(
    service: &Automations,
    caller: &Caller,
    request: pb::RedriveRunsRequest,
) -> Result<pb::RedriveRunsResponse> {
    let name = parse_name(&request.automation)?;
    let mut violations = Violations::new();
    violations.require(
        request.run_ids.len() <= MOST_RUNS,
        "run_ids",
        "must hold at most 10000 ids; leave it empty for all dead letters",
    );
    let runs: Vec<_> = request
        .run_ids
        .iter()
        .enumerate()
        .filter_map(|(index, id)| violations.parse(&format!("run_ids[{index}]"), id))
        .collect();
    violations.or(())?;

    let now = service.clock.now();
    let mut tx = service.pool.begin().await.map_err(northstar_store::Error::from)?;
    load(&mut tx, caller, &name).await?;
    let named = (!runs.is_empty()).then_some(runs.as_slice());
    let redriven = store::redrive(&mut tx, caller.project, &name, named, now).await?;
    if redriven > 0 {
        let entry = audit::NewEntry {
            project: caller.project,
            actor: &caller.principal,
            action: "automation.redrive",
            resource: &format!("automations/{name}"),
            detail: &json!({"redriven": redriven, "run_ids": request.run_ids}),
            at: now,
        };
        audit::append(&mut tx, &entry).await?;
    }
    tx.commit().await.map_err(northstar_store::Error::from)?;
    service.wake.runs.notify_one();
    Ok(pb::RedriveRunsResponse { redriven: i64::try_from(redriven).unwrap_or(i64::MAX) })
}
