//! Definitions: apply, get, list.

use northstar_client::Clients;
use northstar_domain::automation::{Action, Definition, Spec};
use northstar_domain::{ResourceName, Violations};
use northstar_proto::automations::v1 as pb;
use northstar_proto::metrics::v1 as metrics;
use northstar_server::Caller;
use northstar_server::idempotent::Mutation;
use northstar_server::page::page_size;
use northstar_store::automations::{self as store, Stored};
use northstar_store::{PgConnection, audit};
use serde_json::json;
use tonic::{Code, Status};

use crate::convert::{spec_from_proto, stored_automation};
use crate::error::{Error, Result};
use crate::service::Automations;

const APPLY: &str = "/northstar.automations.v1.AutomationsService/ApplyAutomation";

/// Creates an automation, or replaces one that does not act. Applying what is
/// there changes nothing, the etag included, whatever its state.
pub(crate) async fn apply(
    service: &Automations,
    caller: &Caller,
    request: pb::ApplyAutomationRequest,
) -> Result<pb::ApplyAutomationResponse> {
    let mutation = Mutation::new(caller, APPLY, &request.request_id, &request)?;
    let wanted = request.automation.unwrap_or_default();
    let etag = wanted.etag.clone();
    let now = service.clock.now();
    let name = wanted.name.clone();
    let (spec, unreadable) = spec_from_proto(wanted);
    let definition = check(service, &name, spec, unreadable)?;
    check_references(&service.clients, definition.spec()).await?;

    let mut tx = service.pool.begin().await.map_err(northstar_store::Error::from)?;
    if let Some(answer) = mutation.find_answer(&mut tx).await? {
        return Ok(answer);
    }
    let before = store::load_for_update(&mut tx, caller.project, definition.name()).await?;
    let found = before.as_ref().map_or_else(String::new, |before| before.version.to_string());
    let mismatch = || Error::EtagMismatch { name: name.clone(), etag: found.clone() };
    if !etag.is_empty() && etag != found {
        return Err(mismatch());
    }

    if before.as_ref().is_none_or(|before| before.definition != definition) {
        let written = match &before {
            Some(before) => {
                before.state.edit()?;
                store::update_definition(&mut tx, caller.project, &definition, now).await?
            }
            None => store::insert(&mut tx, caller.project, &definition, now).await?,
        };
        if !written {
            return Err(mismatch());
        }
        let detail = json!({
            "before": before.as_ref().map(|before| before.definition.spec()),
            "after": definition.spec(),
        });
        let entry = audit::NewEntry {
            project: caller.project,
            actor: &caller.principal,
            action: "automation.apply",
            resource: &format!("automations/{name}"),
            detail: &detail,
            at: now,
        };
        audit::append(&mut tx, &entry).await?;
    }
    let after = load(&mut tx, caller, definition.name()).await?;
    let response = pb::ApplyAutomationResponse { automation: Some(stored_automation(&after)) };
    if request.validate_only {
        return Ok(response);
    }
    mutation.save_answer(&mut tx, &response, now).await?;
    tx.commit().await.map_err(northstar_store::Error::from)?;
    Ok(response)
}

/// Everything that is wrong with the document itself.
pub(crate) fn check(
    service: &Automations,
    name: &str,
    spec: Spec,
    unreadable: Violations,
) -> Result<Definition> {
    let mut violations = unreadable;
    for (index, action) in spec.actions.iter().enumerate() {
        if let Action::Webhook(webhook) = action {
            let field = |field: &str| format!("actions[{index}].webhook.{field}");
            if let Err(refused) = service.reach.parse(&webhook.url)
                && !webhook.url.is_empty()
            {
                violations.push(field("url"), refused.to_string());
            }
            violations.require(
                webhook.secret_name.is_empty() || service.secrets.knows(&webhook.secret_name),
                &field("secret_name"),
                "must be the name of a signing secret in the service's configuration",
            );
        }
    }
    let condition = spec.trigger.condition.clone();
    let definition = match Definition::check(name, spec, service.clock.now()) {
        Ok(definition) if violations.is_empty() => return Ok(definition),
        Ok(_) => Violations::new(),
        Err(broken) => broken,
    };
    let mut all = definition;
    all.extend(violations);
    let all = all.below("automation");
    match all.as_slice() {
        [only] if only.field == "automation.trigger.condition" => Err(Error::InvalidExpression {
            field: only.field.clone(),
            expression: condition,
            problem: only.problem.clone(),
        }),
        _ => Err(all.into()),
    }
}

/// Everything the document names that metrics does not know.
pub(crate) async fn check_references(clients: &Clients, spec: &Spec) -> Result<()> {
    let mut missing = Vec::new();
    let mut note = |kind, name: &str, found: Result<(), Status>| match found {
        Ok(()) => Ok(()),
        Err(status) if status.code() == Code::NotFound => {
            missing.push((kind, name.to_owned()));
            Ok(())
        }
        Err(status) => Err(status),
    };
    let mut metrics = clients.metrics();
    let kpi = metrics::GetKpiRequest { name: spec.kpi.clone() };
    note("Kpi", &spec.kpi, metrics.get_kpi(kpi).await.map(drop))?;
    let pillar = metrics::GetPillarRequest { name: spec.pillar.clone() };
    note("Pillar", &spec.pillar, metrics.get_pillar(pillar).await.map(drop))?;
    for guardrail in &spec.guardrails {
        let metric = metrics::GetMetricRequest { name: guardrail.metric.clone() };
        note("Metric", &guardrail.metric, metrics.get_metric(metric).await.map(drop))?;
    }
    if missing.is_empty() { Ok(()) } else { Err(Error::MissingReferences(missing)) }
}

pub(crate) async fn get(
    service: &Automations,
    caller: &Caller,
    request: pb::GetAutomationRequest,
) -> Result<pb::GetAutomationResponse> {
    let name = parse_name(&request.name)?;
    let mut connection = service.pool.acquire().await.map_err(northstar_store::Error::from)?;
    let stored = load(&mut connection, caller, &name).await?;
    Ok(pb::GetAutomationResponse { automation: Some(stored_automation(&stored)) })
}

pub(crate) async fn list(
    service: &Automations,
    caller: &Caller,
    request: pb::ListAutomationsRequest,
) -> Result<pb::ListAutomationsResponse> {
    let size = page_size(request.page_size)?;
    let mut connection = service.pool.acquire().await.map_err(northstar_store::Error::from)?;
    let rows = store::list(&mut connection, caller.project, &request.page_token, size).await?;
    let (rows, more) = size.cut(rows);
    let last = rows.last().filter(|_| more);
    Ok(pb::ListAutomationsResponse {
        next_page_token: last.map_or_else(String::new, |row| row.definition.name().to_string()),
        automations: rows.iter().map(stored_automation).collect(),
    })
}

/// The automation by a name, which must exist.
pub(crate) async fn load(
    connection: &mut PgConnection,
    caller: &Caller,
    name: &ResourceName,
) -> Result<Stored> {
    store::load(connection, caller.project, name).await?.ok_or_else(|| not_found(name.as_str()))
}

/// A name that is not one is the name of nothing.
pub(crate) fn parse_name(name: &str) -> Result<ResourceName> {
    name.parse().map_err(|_| not_found(name))
}

pub(crate) fn not_found(name: &str) -> Error {
    Error::NotFound { kind: "Automation", name: name.to_owned() }
}
