//! A bucket, as far as an archive needs one.
//!
//! The bucket's address comes from the environment, which a test may not change for others; so the archive runs in a
//! process of its own, which is this program once more.

use std::collections::HashMap;
use std::process::Command;
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Router, http};
use http::{HeaderMap, Method, StatusCode, Uri, header};
use northstar_archive::Archive;

type Objects = Arc<Mutex<HashMap<String, Bytes>>>;

/// Keeps what is put, and gives it back; refuses whoever does not sign.
async fn bucket(
    State(objects): State<Objects>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let signed = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if !signed.is_some_and(|value| value.starts_with("AWS4-HMAC-SHA256 Credential=key/")) {
        return StatusCode::FORBIDDEN.into_response();
    }
    let mut objects = objects.lock().expect("nobody panicked");
    let tag = (header::ETAG, "\"1\"");
    match method {
        Method::PUT => {
            objects.insert(uri.path().to_owned(), body);
            [tag].into_response()
        }
        Method::GET => match objects.get(uri.path()) {
            Some(content) => {
                let modified = (header::LAST_MODIFIED, "Sun, 01 Mar 2026 12:00:00 GMT");
                ([tag, modified], content.clone()).into_response()
            }
            None => StatusCode::NOT_FOUND.into_response(),
        },
        _ => StatusCode::METHOD_NOT_ALLOWED.into_response(),
    }
}

#[tokio::test]
async fn a_file_is_put_into_a_bucket_and_read_back() {
    let objects = Objects::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().fallback(bucket).with_state(Arc::clone(&objects));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let archive = tokio::task::spawn_blocking(move || {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "puts_and_gets", "--ignored", "--nocapture"])
            .env("AWS_ACCESS_KEY_ID", "key")
            .env("AWS_SECRET_ACCESS_KEY", "secret")
            .env("AWS_REGION", "eu-central-1")
            .env("AWS_ENDPOINT_URL", format!("http://{address}"))
            .env("AWS_ALLOW_HTTP", "true")
            .output()
            .unwrap()
    });
    let output = archive.await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let objects = objects.lock().unwrap();
    assert_eq!(objects.keys().collect::<Vec<_>>(), ["/logs/2026/1-20.parquet"]);
}

#[tokio::test]
#[ignore = "run by the test above, with a bucket in its environment"]
async fn puts_and_gets() {
    let archive = Archive::open("s3://logs/2026").unwrap();
    let location = archive.put("1-20.parquet", Bytes::from_static(b"PAR1")).await.unwrap();
    assert_eq!(location, "s3://logs/2026/1-20.parquet");
    assert_eq!(Archive::get(&location).await.unwrap(), b"PAR1".as_slice());
    assert!(Archive::get("s3://logs/2026/21-40.parquet").await.is_err());
    assert!(Archive::open("s3:///folder").is_err() && Archive::open("ftp://host/a").is_err());
}
