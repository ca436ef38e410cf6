//! The company's own endpoint: receives the nudges, checks that Northstar
//! signed them, and remembers who was nudged.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Who was nudged so far.
#[derive(Clone, Default)]
pub struct Nudged(Arc<Mutex<HashSet<String>>>);

impl Nudged {
    /// The subjects, once each however often they were delivered.
    pub fn subjects(&self) -> HashSet<String> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    fn add(&self, subject: String) {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(subject);
    }
}

#[derive(Clone)]
struct Endpoint {
    secret: Arc<[u8]>,
    nudged: Nudged,
}

/// The receiver while it runs.
pub struct Receiver {
    /// Where to send nudges.
    pub url: String,
    /// Who was nudged.
    pub nudged: Nudged,
}

/// Listens on a loopback port of the system's choice until `stop`.
///
/// # Errors
/// When no port is free.
pub async fn listen(secret: &[u8], stop: CancellationToken) -> anyhow::Result<Receiver> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let url = format!("http://{}/nudges", listener.local_addr()?);
    let nudged = Nudged::default();
    let endpoint = Endpoint { secret: secret.into(), nudged: nudged.clone() };
    let app = axum::Router::new().route("/nudges", post(receive)).with_state(endpoint);
    tokio::spawn(async move {
        let served =
            axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned()).await;
        if let Err(error) = served {
            tracing::warn!(%error, "the demo's webhook receiver stopped");
        }
    });
    Ok(Receiver { url, nudged })
}

async fn receive(State(endpoint): State<Endpoint>, headers: HeaderMap, body: Bytes) -> StatusCode {
    if !signed(&endpoint.secret, &headers, &body) {
        return StatusCode::UNAUTHORIZED;
    }
    let message: serde_json::Value = match serde_json::from_slice(&body) {
        Ok(message) => message,
        Err(_) => return StatusCode::BAD_REQUEST,
    };
    match message.pointer("/data/subject").and_then(serde_json::Value::as_str) {
        Some(subject) => {
            endpoint.nudged.add(subject.to_owned());
            StatusCode::NO_CONTENT
        }
        None => StatusCode::BAD_REQUEST,
    }
}

/// Checks a signature as the standard-webhooks specification says: HMAC-SHA256
/// over `{id}.{timestamp}.{body}`, any listed `v1` signature may match.
fn signed(secret: &[u8], headers: &HeaderMap, body: &[u8]) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let (Some(id), Some(timestamp), Some(signatures)) =
        (text("webhook-id"), text("webhook-timestamp"), text("webhook-signature"))
    else {
        return false;
    };
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else { return false };
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    signatures.split(' ').filter_map(|signature| signature.strip_prefix("v1,")).any(|signature| {
        STANDARD
            .decode(signature)
            .is_ok_and(|signature| mac.clone().verify_slice(&signature).is_ok())
    })
}
