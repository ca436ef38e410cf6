//! What Prometheus scrapes.

use crate::support::{Fixture, ask, get};

#[tokio::test]
async fn calls_are_counted_by_method_and_code() {
    let fixture = Fixture::start().await;
    fixture.admin().await.list_api_keys(ask("")).await.unwrap();
    fixture.admin().await.list_api_keys(ask("panic")).await.unwrap_err();
    let nobody = fixture.host.clients("unknown").unwrap();
    nobody.access().list_api_keys(ask("")).await.unwrap_err();

    let (status, text) = get(fixture.host.http, "/metrics").await;
    assert_eq!(status, 200);
    let counted = |code: &str| {
        text.lines().any(|line| {
            line.starts_with("rpc_server_requests_total{")
                && line.contains(r#"rpc_method="ListApiKeys""#)
                && line.contains(r#"rpc_service="northstar.approvals.v1.AccessService""#)
                && line.contains(&format!(r#"rpc_response_status_code="{code}""#))
        })
    };
    for code in ["OK", "INTERNAL", "UNAUTHENTICATED"] {
        assert!(counted(code), "{code} is not counted in\n{text}");
    }
    for name in ["rpc_server_call_duration_seconds_bucket{", "rpc_server_active_requests{"] {
        assert!(text.lines().any(|line| line.starts_with(name)), "no {name} in\n{text}");
    }
}
