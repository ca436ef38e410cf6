//! A host that answers the smallest of the contracts in ways a test asks for.

use northstar_domain::{ApiKeyId, Clock as _, ProjectId, Role, SystemClock};
use northstar_proto::approvals::v1::access_service_server::{AccessService, AccessServiceServer};
use northstar_proto::approvals::v1::{
    CreateApiKeyRequest, CreateApiKeyResponse, ListApiKeysRequest, ListApiKeysResponse,
    RevokeApiKeyRequest, RevokeApiKeyResponse,
};
use northstar_server::{Config, Host, Service, caller};
use northstar_store::access::{ApiKey, insert_api_key};
use sha2::{Digest as _, Sha256};
use sqlx::PgPool;
use tonic::{Request, Response, Status};

pub const SUITE_KEY: &str = "suite-key-of-the-tests";

/// Answers `ListApiKeys` with the caller's principal as the page token.
#[derive(Clone)]
pub struct Echo;

#[tonic::async_trait]
impl AccessService for Echo {
    async fn create_api_key(
        &self,
        _: Request<CreateApiKeyRequest>,
    ) -> Result<Response<CreateApiKeyResponse>, Status> {
        Ok(Response::new(Default::default()))
    }

    async fn list_api_keys(
        &self,
        request: Request<ListApiKeysRequest>,
    ) -> Result<Response<ListApiKeysResponse>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(ListApiKeysResponse {
            next_page_token: format!("{}@{}", caller.principal, caller.project),
            ..ListApiKeysResponse::default()
        }))
    }

    async fn revoke_api_key(
        &self,
        _: Request<RevokeApiKeyRequest>,
    ) -> Result<Response<RevokeApiKeyResponse>, Status> {
        Ok(Response::new(Default::default()))
    }
}

pub async fn start(database_url: &str) -> Host {
    let config = Config::for_tests(database_url, SUITE_KEY, "unused".into());
    Host::start(config, async |context| {
        let pool = northstar_store::connect(
            &context.database_url,
            context.connections,
            northstar_store::Service::Approvals,
        )
        .await?;
        Ok(vec![Service::new("approvals").grpc(AccessServiceServer::new(Echo)).pool(pool)])
    })
    .await
    .unwrap()
}

/// A new key of the default project; gives its secret.
pub async fn key(pool: &PgPool, role: Role) -> String {
    let id = ApiKeyId::generate();
    let secret = format!("secret-{id}");
    let key = ApiKey {
        id,
        project: Some(ProjectId(1)),
        principal: format!("a {role}"),
        role,
        created_at: SystemClock.now(),
        revoked_at: None,
    };
    let mut connection = pool.acquire().await.unwrap();
    insert_api_key(&mut connection, &key, &Sha256::digest(secret.as_bytes())).await.unwrap();
    secret
}
