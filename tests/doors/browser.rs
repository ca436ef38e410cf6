//! The published browser SDKs of Segment and RudderStack, unmodified, in a
//! headless Chromium, from a page of another origin.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use axum::Router;
use axum::response::Html;
use axum::routing::get;
use northstar_domain::Role;
use northstar_proto::ingestion::v1 as pb;
use northstar_tests::{Suite, log};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::sdk;

/// Longest that a browser may take to send what its page tells it to.
const PATIENCE: Duration = Duration::from_secs(60);

/// As the Debian package needs them where there is no display, no sandbox and no
/// other network than loopback.
const FLAGS: [&str; 10] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];

/// Serves a page and its script on an origin of their own.
async fn serve(page: String, script: PathBuf) -> SocketAddr {
    let script = std::fs::read_to_string(&script)
        .unwrap_or_else(|error| panic!("{}: {error}", script.display()));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let router = Router::new().route("/", get(async || Html(page))).route(
        "/sdk.js",
        get(async || ([("content-type", "text/javascript; charset=utf-8")], script)),
    );
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// Opens a page until the log holds so many events.
async fn browse(chromium: &Path, page: SocketAddr, suite: &Suite, expected: usize) -> Vec<Value> {
    let profile = tempfile::tempdir().expect("a temporary folder");
    let mut browser = tokio::process::Command::new(chromium)
        .args(FLAGS)
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(["--enable-logging=stderr", "--remote-debugging-port=0"])
        .arg(format!("http://{page}/"))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("chromium starts");
    let clients = suite.clients("reader", Role::Admin).await;
    let arrive = async {
        loop {
            let events = log::events(&clients).await;
            if events.len() >= expected {
                return events;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let arrived = tokio::time::timeout(PATIENCE, arrive).await;
    browser.start_kill().expect("chromium can be stopped");
    let said = browser.wait_with_output().await.expect("chromium stops");
    let events = arrived.unwrap_or_else(|_| {
        let said = String::from_utf8_lossy(&said.stderr);
        panic!("not every event has come; chromium says:\n{said}")
    });
    let mut found: Vec<Value> = events
        .iter()
        .map(|logged| log::to_json(logged.event.as_ref().expect("an event")))
        .collect();
    found.sort_by_key(|event| event["name"].to_string());
    found
}

/// What the page of either SDK did: a page view, then somebody is known, then
/// something is bought, for an account.
async fn check(events: &[Value], suite: &Suite, page: SocketAddr) {
    let names: Vec<&Value> = events.iter().map(|event| &event["name"]).collect();
    assert_eq!(names, ["Order Completed", "group", "identify", "page"]);
    let [order, group, identify, view] = events else { panic!("{events:?}") };
    let anonymous_id = view["anonymous_id"].as_str().expect("a browser is somebody");
    assert!(view.get("user_id").is_none(), "{view}");
    assert_eq!(view["properties"]["url"], format!("http://{page}/"));
    assert_eq!(identify["user_id"], "u1");
    assert_eq!(identify["properties"]["plan"], "pro");
    assert_eq!(order["user_id"], "u1");
    assert_eq!(order["anonymous_id"], anonymous_id);
    let bought = ["total", "items", "deep"].map(|name| order["properties"][name].clone());
    assert_eq!(Value::from(bought.to_vec()), json!([99.5, 3, {"a": ["ü", null]}]));
    assert_eq!(group["account_id"], "acme");
    for event in events {
        assert!(event["sent_time"].is_string(), "{event}");
        let agent = event["properties"]["context"]["userAgent"].as_str().expect("a browser");
        assert!(agent.contains("Chrome"), "{agent}");
    }
    let clients = suite.clients("reader", Role::Admin).await;
    let request =
        pb::ResolveSubjectRequest { identifier: anonymous_id.to_owned(), ..Default::default() };
    let answer = clients.ingestion().resolve_subject(request).await.expect("an answer");
    assert_eq!(answer.into_inner().subject, "u1", "who viewed the page is who bought");
}

#[tokio::test(flavor = "multi_thread")]
async fn segment_s_browser_sdk_sends_from_a_page_of_another_origin() {
    let (Some(chromium), Some(node)) = (sdk::chromium(), sdk::node()) else { return };
    let suite = Suite::start().await;
    let key = suite.key("web", Role::Ingest).await;
    let page = format!(
        r#"<!doctype html><title>Shop</title><script src="/sdk.js"></script><script>
        const analytics = AnalyticsNext.AnalyticsBrowser.load(
            {{ writeKey: '{key}', cdnURL: 'http://{}' }});
        (async () => {{
            await analytics.page();
            await analytics.identify('u1', {{ plan: 'pro' }});
            await analytics.track(
                'Order Completed', {{ total: 99.5, items: 3, deep: {{ a: ['ü', null] }} }});
            await analytics.group('acme', {{ industry: 'rockets' }});
        }})();
        </script>"#,
        suite.host.http
    );
    let page =
        serve(page, node.join("node_modules/@segment/analytics-next/dist/umd/index.js")).await;
    let events = browse(&chromium, page, &suite, 4).await;
    check(&events, &suite, page).await;
    suite.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rudderstack_s_browser_sdk_sends_from_a_page_of_another_origin() {
    let (Some(chromium), Some(node)) = (sdk::chromium(), sdk::node()) else { return };
    let suite = Suite::start().await;
    let key = suite.key("web", Role::Ingest).await;
    let door = format!("http://{}", suite.host.http);
    let page = format!(
        r#"<!doctype html><title>Shop</title><script src="/sdk.js"></script><script>
        const analytics = new rudderanalytics.RudderAnalytics();
        analytics.load('{key}', '{door}', {{ configUrl: '{door}' }});
        analytics.page();
        analytics.identify('u1', {{ plan: 'pro' }});
        analytics.track(
            'Order Completed', {{ total: 99.5, items: 3, deep: {{ a: ['ü', null] }} }});
        analytics.group('acme', {{ industry: 'rockets' }});
        </script>"#
    );
    let script = "node_modules/@rudderstack/analytics-js/dist/npm/modern/bundled/umd/index.js";
    let page = serve(page, node.join(script)).await;
    let events = browse(&chromium, page, &suite, 4).await;
    check(&events, &suite, page).await;
    suite.stop().await;
}
