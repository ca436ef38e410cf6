//! A bucket of S3's protocol, as far as an archive or an export needs one.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

type Objects = Arc<Mutex<BTreeMap<String, Bytes>>>;

type Field = (header::HeaderName, &'static str);

fn tag() -> Field {
    (header::ETAG, "\"1\"")
}

fn modified() -> Field {
    (header::LAST_MODIFIED, "Sun, 01 Mar 2026 12:00:00 GMT")
}

/// A bucket in this process, on a port of the system's choice. Whoever does not sign
/// with its key is refused. It is found by the variables of [`Bucket::environment`],
/// which a test may not set for others: give them to a process of its own.
pub struct Bucket {
    address: SocketAddr,
    objects: Objects,
}

impl Bucket {
    /// Starts one that is empty, on a thread of its own.
    ///
    /// # Panics
    /// When there is no port or no thread to be had.
    pub fn start() -> Self {
        let objects = Objects::default();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a listener");
        let address = listener.local_addr().expect("an address");
        let router = Router::new()
            .fallback(serve)
            .layer(DefaultBodyLimit::disable())
            .with_state(Arc::clone(&objects));
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                axum::serve(listener, router).await
            })
        });
        Self { address, objects }
    }

    /// The variables by which a process finds it.
    pub fn environment(&self) -> [(&'static str, String); 5] {
        [
            ("AWS_ACCESS_KEY_ID", "key".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "secret".to_owned()),
            ("AWS_REGION", "eu-central-1".to_owned()),
            ("AWS_ENDPOINT_URL", format!("http://{}", self.address)),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
        ]
    }

    /// The names of its objects with that of the bucket before them, in order:
    /// `logs/2026/1-20.parquet`.
    pub fn names(&self) -> Vec<String> {
        let objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        objects.keys().cloned().collect()
    }

    /// The content of an object.
    pub fn content(&self, name: &str) -> Option<Vec<u8>> {
        let objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        objects.get(name).map(|content| content.to_vec())
    }

    /// Puts an object there.
    pub fn put(&self, name: &str, content: &[u8]) {
        let mut objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        objects.insert(name.to_owned(), Bytes::copy_from_slice(content));
    }
}

async fn serve(
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
    let mut objects = objects.lock().unwrap_or_else(PoisonError::into_inner);
    let name = uri.path().trim_start_matches('/').to_owned();
    let query = uri.query().unwrap_or_default();
    match method {
        Method::PUT => {
            objects.insert(name, body);
            [tag()].into_response()
        }
        Method::GET if query.contains("list-type=2") => list(&objects, &name, query),
        Method::GET => match objects.get(&name) {
            Some(content) => ([tag(), modified()], content.clone()).into_response(),
            None => StatusCode::NOT_FOUND.into_response(),
        },
        Method::DELETE => {
            objects.remove(&name);
            StatusCode::NO_CONTENT.into_response()
        }
        _ => StatusCode::METHOD_NOT_ALLOWED.into_response(),
    }
}

/// The objects of a bucket whose names begin as asked; all of them, in one page.
fn list(objects: &BTreeMap<String, Bytes>, bucket: &str, query: &str) -> Response {
    let asked = query.split('&').find_map(|pair| pair.strip_prefix("prefix="));
    let prefix = asked.unwrap_or_default().replace("%2F", "/");
    let bucket = format!("{}/", bucket.trim_end_matches('/'));
    let mut page = String::from("<ListBucketResult>");
    for (name, content) in objects {
        let Some(key) = name.strip_prefix(&bucket).filter(|key| key.starts_with(&prefix)) else {
            continue;
        };
        let size = content.len();
        write!(
            page,
            "<Contents><Key>{key}</Key><LastModified>2026-03-01T12:00:00.000Z</LastModified>\
             <ETag>1</ETag><Size>{size}</Size></Contents>"
        )
        .expect("a string takes all");
    }
    page.push_str("</ListBucketResult>");
    ([(header::CONTENT_TYPE, "application/xml")], page).into_response()
}
