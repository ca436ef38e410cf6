//! API keys: create, list, revoke.

use northstar_domain::{ApiKeyId, ApiKeySecret, Role, Violations};
use northstar_proto::approvals::v1 as pb;
use northstar_proto::approvals::v1::access_service_server::AccessService;
use northstar_server::page::page_size;
use northstar_server::{Caller, caller};
use northstar_store::access::{self as store, ApiKey};
use northstar_store::{PgConnection, audit};
use serde_json::{Value, json};
use tonic::{Request, Response, Status};

use crate::Approvals;
use crate::convert::api_key;
use crate::error::{Error, Result, require_person};

const CREATE: &str = "/northstar.approvals.v1.AccessService/CreateApiKey";

/// Longest principal, in bytes.
const PRINCIPAL_LIMIT: usize = 100;

#[tonic::async_trait]
impl AccessService for Approvals {
    async fn create_api_key(
        &self,
        request: Request<pb::CreateApiKeyRequest>,
    ) -> Result<Response<pb::CreateApiKeyResponse>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(create(self, &caller, request.into_inner()).await?))
    }

    async fn list_api_keys(
        &self,
        request: Request<pb::ListApiKeysRequest>,
    ) -> Result<Response<pb::ListApiKeysResponse>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(list(self, &caller, request.into_inner()).await?))
    }

    async fn revoke_api_key(
        &self,
        request: Request<pb::RevokeApiKeyRequest>,
    ) -> Result<Response<pb::RevokeApiKeyResponse>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(revoke(self, &caller, request.into_inner()).await?))
    }
}

async fn create(
    service: &Approvals,
    caller: &Caller,
    request: pb::CreateApiKeyRequest,
) -> Result<pb::CreateApiKeyResponse> {
    let mut violations = Violations::new();
    violations.require_text("principal", &request.principal, PRINCIPAL_LIMIT);
    // Two principals that look alike would be two voters to the program and one
    // to people.
    violations.require(
        request.principal.trim() == request.principal
            && !request.principal.chars().any(char::is_control),
        "principal",
        "must not begin or end with white space, nor hold control characters",
    );
    let role: Option<Role> = violations.parse("role", &request.role);
    let role = match role {
        Some(role) if violations.is_empty() => role,
        _ => return Err(violations.into()),
    };
    let now = service.clock.now();
    let secret = ApiKeySecret::generate(role, &mut rand::rng());
    let key = ApiKey {
        id: ApiKeyId::generate(),
        project: Some(caller.project),
        principal: request.principal,
        role,
        created_at: now,
        revoked_at: None,
    };

    let mut tx = service.pool.begin().await.map_err(northstar_store::Error::from)?;
    // Somebody must be the first: while a project has no admin, the suite key makes one.
    if key.role != Role::Admin || store::has_admin_key(&mut tx, caller.project).await? {
        require_person(caller, CREATE)?;
    }
    store::insert_api_key(&mut tx, &key, &secret.sha256()).await?;
    let detail = json!({"after": {"principal": key.principal, "role": key.role}});
    append_audit(&mut tx, caller, "api_key.create", key.id, &detail, now).await?;
    tx.commit().await.map_err(northstar_store::Error::from)?;
    Ok(pb::CreateApiKeyResponse {
        api_key: Some(api_key(&key)),
        secret: secret.reveal().to_owned(),
    })
}

async fn list(
    service: &Approvals,
    caller: &Caller,
    request: pb::ListApiKeysRequest,
) -> Result<pb::ListApiKeysResponse> {
    let size = page_size(request.page_size)?;
    let mut violations = Violations::new();
    let after = match request.page_token.as_str() {
        "" => None,
        token => violations.parse("page_token", token),
    };
    violations.or(())?;
    let mut connection = service.pool.acquire().await.map_err(northstar_store::Error::from)?;
    let rows = store::list_api_keys(&mut connection, caller.project, after, size).await?;
    let (rows, more) = size.cut(rows);
    let last = rows.last().filter(|_| more);
    Ok(pb::ListApiKeysResponse {
        next_page_token: last.map_or_else(String::new, |row| row.id.to_string()),
        api_keys: rows.iter().map(api_key).collect(),
    })
}

async fn revoke(
    service: &Approvals,
    caller: &Caller,
    request: pb::RevokeApiKeyRequest,
) -> Result<pb::RevokeApiKeyResponse> {
    let not_found = || Error::NotFound { kind: "ApiKey", name: request.api_key_id.clone() };
    let id = request.api_key_id.parse().map_err(|_| not_found())?;
    let now = service.clock.now();

    let mut tx = service.pool.begin().await.map_err(northstar_store::Error::from)?;
    let key = store::revoke_api_key(&mut tx, caller.project, id, now).await?;
    let key = key.ok_or_else(not_found)?;
    // A repeated call finds an earlier time and records nothing.
    if key.revoked_at == Some(now) {
        let detail = json!({"after": {"principal": key.principal, "revoked": true}});
        append_audit(&mut tx, caller, "api_key.revoke", id, &detail, now).await?;
    }
    tx.commit().await.map_err(northstar_store::Error::from)?;
    Ok(pb::RevokeApiKeyResponse { api_key: Some(api_key(&key)) })
}

async fn append_audit(
    connection: &mut PgConnection,
    caller: &Caller,
    action: &str,
    id: ApiKeyId,
    detail: &Value,
    now: chrono::DateTime<chrono::Utc>,
) -> Result<()> {
    let entry = audit::NewEntry {
        project: caller.project,
        actor: &caller.principal,
        action,
        resource: &format!("api_keys/{id}"),
        detail,
        at: now,
    };
    audit::append(connection, &entry).await?;
    Ok(())
}
