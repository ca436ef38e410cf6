//! A host that answers the smallest of the contracts in ways a test asks for.

use std::net::SocketAddr;
use std::sync::Arc;

use northstar_client::proto::approvals::v1::access_service_client::AccessServiceClient;
use northstar_client::proto::approvals::v1::access_service_server::{
    AccessService, AccessServiceServer,
};
use northstar_client::proto::approvals::v1::{
    CreateApiKeyRequest, CreateApiKeyResponse, ListApiKeysRequest, ListApiKeysResponse,
    RevokeApiKeyRequest, RevokeApiKeyResponse,
};
use northstar_client::{Clients, Connection, RequestContext};
use northstar_domain::{ApiKeyId, Clock as _, ProjectId, Role, SystemClock};
use northstar_server::{Config, Context, Host, Service, caller};
use northstar_store::access::{ApiKey, insert_api_key};
use northstar_testkit::TestDatabase;
use sha2::{Digest as _, Sha256};
use sqlx::PgPool;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

pub const SUITE_KEY: &str = "suite-key-of-the-tests";

/// A host over a database of its own.
pub struct Fixture {
    pub database: TestDatabase,
    pub gate: Gate,
    pub host: Host,
}

impl Fixture {
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// A ready host whose configuration a test has changed.
    pub async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut fixture = Self::not_ready(change).await;
        fixture.host.ready().await.unwrap();
        fixture
    }

    pub async fn not_ready(change: impl FnOnce(&mut Config)) -> Self {
        let database = TestDatabase::create(&northstar_store::MIGRATOR).await;
        let mut config = Config::for_tests(database.url(), SUITE_KEY, "unused".into());
        change(&mut config);
        let gate = Gate::new();
        let echo_gate = gate.clone();
        let host = Host::start(config, async |context| Ok(vec![echo(context, echo_gate).await?]));
        Self { database, gate, host: host.await.unwrap() }
    }

    /// Clients with a new key of this role.
    pub async fn clients(&self, role: Role) -> Clients {
        self.host.clients(&key(self.database.pool(), role).await).unwrap()
    }

    /// An admin's client of the service that echoes.
    pub async fn admin(&self) -> AccessServiceClient<Connection> {
        self.clients(Role::Admin).await.access()
    }
}

/// The service under test.
pub async fn echo(context: Context, gate: Gate) -> anyhow::Result<Service> {
    let pool = northstar_store::connect(
        &context.database_url,
        context.connections,
        northstar_store::Service::Approvals,
    )
    .await?;
    let echo = Echo { gate, clients: context.clients };
    Ok(Service::new("approvals").grpc(AccessServiceServer::new(echo)).pool(pool))
}

/// Holds calls until a test lets them go.
#[derive(Clone)]
pub struct Gate {
    entered: Arc<Semaphore>,
    opened: Arc<Semaphore>,
}

impl Gate {
    pub fn new() -> Self {
        Self { entered: Arc::new(Semaphore::new(0)), opened: Arc::new(Semaphore::new(0)) }
    }

    /// Waits until a call has come to the gate.
    pub async fn entered(&self) {
        self.entered.acquire().await.unwrap().forget();
    }

    /// Lets one call go.
    pub fn open(&self) {
        self.opened.add_permits(1);
    }

    pub async fn pass(&self) {
        self.entered.add_permits(1);
        self.opened.acquire().await.unwrap().forget();
    }
}

#[derive(Clone)]
struct Echo {
    gate: Gate,
    clients: Clients,
}

/// What to ask of `ListApiKeys`, in `page_token`.
pub fn ask(what: &str) -> ListApiKeysRequest {
    ListApiKeysRequest { page_token: what.to_owned(), ..ListApiKeysRequest::default() }
}

#[tonic::async_trait]
impl AccessService for Echo {
    async fn list_api_keys(
        &self,
        request: Request<ListApiKeysRequest>,
    ) -> Result<Response<ListApiKeysResponse>, Status> {
        let caller = caller(&request)?;
        let answer = match request.get_ref().page_token.as_str() {
            "gate" => {
                self.gate.pass().await;
                "through".to_owned()
            }
            "panic" => panic!("as asked"),
            "request id" => {
                let context = RequestContext::current().unwrap();
                context.request_id.unwrap().to_str().unwrap().to_owned()
            }
            "another" => {
                let answer = self.clients.access().list_api_keys(ask("request id")).await?;
                answer.into_inner().next_page_token
            }
            _ => format!("{}@{}", caller.principal, caller.project),
        };
        Ok(Response::new(ListApiKeysResponse {
            next_page_token: answer,
            ..ListApiKeysResponse::default()
        }))
    }

    async fn create_api_key(
        &self,
        _: Request<CreateApiKeyRequest>,
    ) -> Result<Response<CreateApiKeyResponse>, Status> {
        Ok(Response::new(CreateApiKeyResponse::default()))
    }

    async fn revoke_api_key(
        &self,
        _: Request<RevokeApiKeyRequest>,
    ) -> Result<Response<RevokeApiKeyResponse>, Status> {
        Ok(Response::new(RevokeApiKeyResponse::default()))
    }
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

/// The details of a refusal; panics when it has no reason.
pub fn details(status: &Status) -> (String, ErrorDetails) {
    let details = status.get_error_details();
    let reason = details.error_info().unwrap_or_else(|| panic!("no reason: {status:?}"));
    (reason.reason.clone(), details)
}

/// Status and body of an HTTP GET.
pub async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}
