//! Posts signed messages and reads what the answers mean.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use northstar_domain::automation::Webhook;
use northstar_domain::run::Outcome;
use northstar_store::automations::LeasedRun;
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Client, StatusCode, redirect};
use serde_json::json;

use crate::secrets::Secrets;
use crate::target::Reach;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Read of an answer's body, so that the connection can be used again.
const MOST_ANSWER_BYTES: usize = 64 * 1024;

/// Sends webhooks.
#[derive(Clone)]
pub(crate) struct Sender {
    client: Client,
    reach: Reach,
    secrets: Secrets,
    timeout: Duration,
}

impl Sender {
    pub(crate) fn new(
        reach: Reach,
        secrets: Secrets,
        timeout: Duration,
    ) -> Result<Self, reqwest::Error> {
        // Fails when the process has a provider already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = || {
            Client::builder()
                .user_agent(concat!("northstar/", env!("CARGO_PKG_VERSION")))
                .redirect(redirect::Policy::none())
                // A proxy would resolve names by itself, past the guard.
                .no_proxy()
                .dns_resolver(Arc::new(reach))
                .connect_timeout(CONNECT_TIMEOUT)
                .timeout(timeout)
        };
        let client = builder().build().or_else(|error| {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the machine has no certificate authorities: webhooks over https will fail",
            );
            builder().tls_certs_only([]).build()
        })?;
        Ok(Self { client, reach, secrets, timeout })
    }

    /// Longest time a delivery takes.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Delivers a message. The id and the body are the same at every attempt.
    pub(crate) async fn deliver(
        &self,
        webhook: &Webhook,
        run: &LeasedRun,
        id: &str,
        now: DateTime<Utc>,
    ) -> Outcome {
        let failed = |error: String| Outcome::Failed { error, retry_after: None };
        let url = match self.reach.parse(&webhook.url) {
            Ok(url) => url,
            Err(error) => return failed(format!("the url {error}")),
        };
        let body = body(webhook, run);
        let Some(signature) = self.secrets.sign(&webhook.secret_name, id, now, &body) else {
            return failed(format!("no signing secret {:?} is configured", webhook.secret_name));
        };
        let request = self
            .client
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", now.timestamp())
            .header("webhook-signature", signature)
            .body(body);
        match request.send().await {
            Ok(mut response) => {
                let outcome = read_answer(response.status(), response.headers(), now);
                let mut read = 0;
                while let Ok(Some(chunk)) = response.chunk().await {
                    read += chunk.len();
                    if read > MOST_ANSWER_BYTES {
                        break;
                    }
                }
                outcome
            }
            Err(error) => failed(describe(&error)),
        }
    }
}

fn body(webhook: &Webhook, run: &LeasedRun) -> String {
    json!({
        "type": webhook.message_type,
        "timestamp": run.trigger_at.to_rfc3339_opts(SecondsFormat::AutoSi, true),
        "data": {
            "subject": run.subject,
            "automation": run.automation,
            "run_id": run.id,
            "trigger": {
                "event": run.trigger_event,
                "position": run.trigger_position,
                "properties": run.trigger_properties,
            },
        },
    })
    .to_string()
}

/// What an answer means, by standard-webhooks: 2xx is done, 410 is never again,
/// everything else is another attempt; 429 and 503 may say when.
fn read_answer(status: StatusCode, headers: &HeaderMap, now: DateTime<Utc>) -> Outcome {
    let error = format!("the webhook answered {status}");
    match status {
        status if status.is_success() => Outcome::Done,
        StatusCode::GONE => Outcome::Gone { error },
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            let retry_after = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            Outcome::Failed { error, retry_after: retry_after.and_then(|text| wait(text, now)) }
        }
        _ => Outcome::Failed { error, retry_after: None },
    }
}

/// Reads `Retry-After`: seconds or a date (RFC 9110, 10.2.3).
fn wait(text: &str, now: DateTime<Utc>) -> Option<TimeDelta> {
    match text.trim().parse::<u32>() {
        Ok(seconds) => Some(TimeDelta::seconds(seconds.into())),
        Err(_) => {
            let date = DateTime::parse_from_rfc2822(text.trim()).ok()?;
            Some((date.to_utc() - now).max(TimeDelta::zero()))
        }
    }
}

/// The innermost cause says most, and never holds the URL's secrets.
fn describe(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "the webhook did not answer in time".to_owned();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    format!("the webhook cannot be reached: {cause}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> DateTime<Utc> {
        "2026-03-02T12:00:00Z".parse().unwrap()
    }

    fn answer(status: u16, retry_after: Option<&str>) -> Outcome {
        let mut headers = HeaderMap::new();
        if let Some(value) = retry_after {
            headers.insert(RETRY_AFTER, value.parse().unwrap());
        }
        read_answer(StatusCode::from_u16(status).unwrap(), &headers, now())
    }

    fn rest(outcome: Outcome) -> Option<TimeDelta> {
        match outcome {
            Outcome::Failed { retry_after, .. } => retry_after,
            other => panic!("not a failure: {other:?}"),
        }
    }

    #[test]
    fn only_an_answer_of_2xx_is_a_success() {
        for status in [200, 201, 202, 204] {
            assert_eq!(answer(status, None), Outcome::Done);
        }
        for status in [301, 302, 307, 400, 404, 500, 502] {
            assert_eq!(rest(answer(status, None)), None, "{status}");
        }
        assert!(matches!(answer(410, None), Outcome::Gone { .. }));
    }

    #[test]
    fn a_busy_receiver_says_when_to_come_back() {
        assert_eq!(rest(answer(429, Some("120"))), Some(TimeDelta::seconds(120)));
        let date = Some("Mon, 02 Mar 2026 12:01:30 GMT");
        assert_eq!(rest(answer(503, date)), Some(TimeDelta::seconds(90)));
        assert_eq!(
            rest(answer(503, Some("Mon, 02 Mar 2026 11:00:00 GMT"))),
            Some(TimeDelta::zero())
        );
        assert_eq!(rest(answer(503, Some("soon"))), None);
        assert_eq!(rest(answer(500, Some("120"))), None);
    }
}
