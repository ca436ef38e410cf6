//! A receiver of webhooks: real HTTP, signatures checked by the standard's own
//! library.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use standardwebhooks::Webhook;
use tokio::sync::Semaphore;

/// `whsec_` and the base64 of 32 bytes.
pub const SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// A message that arrived.
#[derive(Clone, Debug)]
pub struct Received {
    pub id: String,
    pub headers: HeaderMap,
    pub body: String,
    pub signed: bool,
}

impl Received {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub fn subject(&self) -> String {
        self.json()["data"]["subject"].as_str().unwrap().to_owned()
    }
}

/// What to answer.
#[derive(Clone)]
pub enum Answer {
    Status(u16),
    StatusAfter(u16, &'static str),
    Redirect(String),
    /// Waits for a permit, then answers.
    Held(Arc<Semaphore>, u16),
}

#[derive(Clone, Default)]
pub struct Receiver {
    received: Arc<Mutex<Vec<Received>>>,
    answers: Arc<Mutex<VecDeque<Answer>>>,
    address: Option<SocketAddr>,
}

impl Receiver {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let receiver = Self { address: Some(listener.local_addr().unwrap()), ..Self::default() };
        let router = Router::new().fallback(receive).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        receiver
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address.unwrap())
    }

    /// The next answers, one for each message; afterwards 200.
    pub fn will_answer(&self, answers: impl IntoIterator<Item = Answer>) {
        self.answers.lock().unwrap().extend(answers);
    }

    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// Waits until so many messages have arrived.
    pub async fn wait_for(&self, messages: usize) -> Vec<Received> {
        for _ in 0..3_000 {
            if self.received().len() >= messages {
                return self.received();
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("waited for {messages} messages, {} arrived", self.received().len());
    }
}

async fn receive(State(receiver): State<Receiver>, headers: HeaderMap, body: String) -> Response {
    let text = |name: &str| headers[name].to_str().unwrap().to_owned();
    let webhook = Webhook::new(SECRET).unwrap();
    let (id, time) = (text("webhook-id"), text("webhook-timestamp").parse().unwrap());
    let expected = webhook.sign(&id, time, body.as_bytes()).unwrap();
    let signed = expected == text("webhook-signature");
    receiver.received.lock().unwrap().push(Received { id, headers, body, signed });
    let answer = receiver.answers.lock().unwrap().pop_front().unwrap_or(Answer::Status(200));
    let status = |code| StatusCode::from_u16(code).unwrap();
    match answer {
        Answer::Status(code) => status(code).into_response(),
        Answer::StatusAfter(code, retry_after) => {
            (status(code), [("retry-after", retry_after)]).into_response()
        }
        Answer::Redirect(location) => {
            (StatusCode::TEMPORARY_REDIRECT, [("location", location)]).into_response()
        }
        Answer::Held(gate, code) => {
            gate.acquire().await.unwrap().forget();
            status(code).into_response()
        }
    }
}
