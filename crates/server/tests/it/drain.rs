//! How a host stops.

use northstar_server::{Config, Host};
use northstar_testkit::TestDatabase;
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;

use crate::health::{client, of};
use crate::support::{Fixture, Gate, SUITE_KEY, ask, echo};

#[tokio::test]
async fn a_stopping_host_says_so_and_finishes_the_call_in_flight() {
    let fixture = Fixture::start().await;
    let mut watched = client(&fixture.host).watch(of("")).await.unwrap().into_inner();
    assert_eq!(watched.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    let mut admin = fixture.admin().await;
    let in_flight = tokio::spawn(async move { admin.list_api_keys(ask("gate")).await });
    fixture.gate.entered().await;

    let mut late = fixture.host.clients(SUITE_KEY).unwrap().for_project(1).access();
    let gate = fixture.gate.clone();
    let stopping = tokio::spawn(fixture.host.stop());
    assert_eq!(watched.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    let ended = watched.message().await.unwrap_err();
    assert_eq!(ended.code(), Code::Unavailable);
    assert!(!stopping.is_finished(), "the call in flight was not waited for");

    let refused = late.list_api_keys(ask("")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);

    gate.open();
    let reply = in_flight.await.unwrap().unwrap();
    assert_eq!(reply.into_inner().next_page_token, "through");
    stopping.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_call_that_outlasts_the_drain_is_cut_off() {
    let fixture = Fixture::with(|config| config.drain_seconds = 1).await;
    let mut admin = fixture.admin().await;
    let in_flight = tokio::spawn(async move { admin.list_api_keys(ask("gate")).await });
    fixture.gate.entered().await;
    fixture.host.stop().await.unwrap();
    in_flight.await.unwrap().unwrap_err();
}

#[tokio::test]
async fn workers_are_waited_for_and_a_failed_one_stops_the_host() {
    let database = TestDatabase::create(&northstar_store::MIGRATOR).await;
    let config = || Config::for_tests(database.url(), SUITE_KEY, "unused".into());

    let (done, mut is_done) = tokio::sync::oneshot::channel();
    let host = Host::start(config(), async |context| {
        let shutdown = context.shutdown.clone();
        let work = async move {
            shutdown.cancelled().await;
            done.send(()).unwrap();
            Ok(())
        };
        Ok(vec![echo(context, Gate::new()).await?.worker("careful", work)])
    });
    host.await.unwrap().stop().await.unwrap();
    is_done.try_recv().expect("the worker had no time to finish");

    for failure in ["error", "panic"] {
        let host = Host::start(config(), async |context| {
            let work = async move {
                assert_ne!(failure, "panic", "as asked");
                anyhow::bail!("the queue is gone")
            };
            Ok(vec![echo(context, Gate::new()).await?.worker("careless", work)])
        });
        let host = host.await.unwrap();
        host.shutdown().cancelled().await;
        let error = format!("{:#}", host.stop().await.unwrap_err());
        assert!(error.contains("worker approvals/careless failed"), "{error}");
    }
}
