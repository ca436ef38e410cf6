//! Health v1 and its HTTP twin.

use northstar_server::{Config, Host, Latch};
use northstar_testkit::TestDatabase;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::support::{Fixture, Gate, SUITE_KEY, echo, get};

pub fn client(host: &Host) -> HealthClient<Channel> {
    HealthClient::new(Endpoint::new(host.url().to_string()).unwrap().connect_lazy())
}

pub fn of(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.to_owned() }
}

const ECHO: &str = "northstar.approvals.v1.AccessService";

#[tokio::test]
async fn a_ready_host_is_serving_and_asks_probes_for_no_key() {
    let fixture = Fixture::start().await;
    let mut health = client(&fixture.host);
    for service in ["", ECHO] {
        let status = health.check(of(service)).await.unwrap().into_inner().status();
        assert_eq!(status, ServingStatus::Serving, "{service:?}");
    }
    let unknown = health.check(of("unknown")).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);

    assert_eq!(get(fixture.host.http, "/health/livez").await.0, 200);
    let (status, body) = get(fixture.host.http, "/health/readyz").await;
    assert_eq!(status, 200);
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    let expected = serde_json::json!({
        "status": "ready",
        "services": [{"name": "approvals", "ready": true}],
    });
    assert_eq!(body, expected);
}

#[tokio::test]
async fn a_host_is_ready_when_its_last_latch_is_released() {
    let database = TestDatabase::create(&northstar_store::MIGRATOR).await;
    let latch = Latch::new("segments are being built");
    let closed = latch.clone();
    let config = Config::for_tests(database.url(), SUITE_KEY, "unused".into());
    let mut host = Host::start(config, async |context| {
        Ok(vec![echo(context, Gate::new()).await?.latch(closed)])
    })
    .await
    .unwrap();

    let mut watched = client(&host).watch(of(ECHO)).await.unwrap().into_inner();
    let first = watched.message().await.unwrap().unwrap();
    assert_eq!(first.status(), ServingStatus::NotServing);
    let unready = loop {
        let (status, body) = get(host.http, "/health/readyz").await;
        assert_eq!(status, 503);
        if body.contains("reason") {
            break body;
        }
    };
    assert!(unready.contains("segments are being built"), "{unready}");

    latch.release();
    host.ready().await.unwrap();
    while watched.message().await.unwrap().unwrap().status() != ServingStatus::Serving {}
}

#[tokio::test]
async fn a_program_ahead_of_its_schema_is_not_ready() {
    let fixture = Fixture::start().await;
    sqlx::query("DELETE FROM public._sqlx_migrations")
        .execute(fixture.database.pool())
        .await
        .unwrap();
    let mut watched = client(&fixture.host).watch(of("")).await.unwrap().into_inner();
    while watched.message().await.unwrap().unwrap().status() != ServingStatus::NotServing {}
    let (status, body) = get(fixture.host.http, "/health/readyz").await;
    assert_eq!(status, 503);
    assert!(body.contains("the schema is older than this program"), "{body}");
}
