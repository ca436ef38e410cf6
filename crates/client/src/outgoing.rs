//! What is added to every outgoing call.

use std::time::{Duration, Instant};

use opentelemetry::propagation::Injector;
use opentelemetry::trace::TraceContextExt as _;
use tonic::metadata::{Ascii, MetadataKey, MetadataMap, MetadataValue};
use tonic::service::Interceptor;
use tonic::{Request, Status};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::{Credentials, RequestContext, metadata};

/// Adds credentials, request id, trace parent and deadline to a call. What the
/// caller has set itself stays, except that a deadline is only ever shortened.
#[derive(Clone, Debug)]
pub struct Outgoing {
    credentials: Credentials,
    /// Set by [`crate::Clients::for_project`]: the call is made on behalf of
    /// this project, not of the current request.
    project: Option<i32>,
}

impl Outgoing {
    pub(crate) fn new(credentials: Credentials) -> Self {
        Self { credentials, project: None }
    }

    pub(crate) fn for_project(&self, project: i32) -> Self {
        Self { credentials: self.credentials.clone(), project: Some(project) }
    }

    /// The key and project to send: the current request's, or else our own.
    fn identity(
        &self,
        context: Option<&RequestContext>,
    ) -> (Option<MetadataValue<Ascii>>, Option<i32>) {
        let own = || self.credentials.authorization().cloned();
        match (self.project, context) {
            (Some(project), _) => (own(), Some(project)),
            (None, Some(context)) if context.authorization.is_some() => {
                (context.authorization.clone(), context.project)
            }
            (None, _) => (own(), None),
        }
    }
}

impl Interceptor for Outgoing {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let context = RequestContext::current();
        let context = context.as_ref();

        let (authorization, project) = self.identity(context);
        let sent = request.metadata_mut();
        insert_if_absent(sent, metadata::AUTHORIZATION, authorization);
        insert_if_absent(sent, metadata::PROJECT, project.map(MetadataValue::from));
        insert_if_absent(
            sent,
            metadata::REQUEST_ID,
            context.and_then(|context| context.request_id.clone()),
        );
        inject_trace(sent, context);

        if let Some(remaining) = context.and_then(|context| context.remaining(Instant::now()))
            && timeout(sent).is_none_or(|own| remaining < own)
        {
            request.set_timeout(remaining);
        }
        Ok(request)
    }
}

fn insert_if_absent(
    sent: &mut MetadataMap,
    key: &'static str,
    value: Option<MetadataValue<Ascii>>,
) {
    if let Some(value) = value
        && !sent.contains_key(key)
    {
        sent.insert(key, value);
    }
}

/// W3C trace context of the current span, or else of the current request.
fn inject_trace(sent: &mut MetadataMap, context: Option<&RequestContext>) {
    let mut trace = tracing::Span::current().context();
    if !trace.span().span_context().is_valid()
        && let Some(context) = context
    {
        trace = context.trace.clone();
    }
    opentelemetry::global::get_text_map_propagator(|propagator| {
        propagator.inject_context(&trace, &mut MetadataInjector(sent));
    });
}

struct MetadataInjector<'a>(&'a mut MetadataMap);

impl Injector for MetadataInjector<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let Ok(key) = MetadataKey::from_bytes(key.as_bytes())
            && let Ok(value) = value.parse()
        {
            self.0.insert(key, value);
        }
    }
}

/// The timeout already in the metadata, as the gRPC wire format writes it:
/// digits and a unit.
fn timeout(sent: &MetadataMap) -> Option<Duration> {
    let text = sent.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let amount: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(amount.saturating_mul(3600))),
        "M" => Some(Duration::from_secs(amount.saturating_mul(60))),
        "S" => Some(Duration::from_secs(amount)),
        "m" => Some(Duration::from_millis(amount)),
        "u" => Some(Duration::from_micros(amount)),
        "n" => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(request: &Request<()>, key: &str) -> Option<String> {
        request.metadata().get(key).map(|value| value.to_str().unwrap().to_owned())
    }

    fn context() -> RequestContext {
        RequestContext {
            authorization: Some("Bearer theirs".parse().unwrap()),
            project: Some(7),
            request_id: Some("01".parse().unwrap()),
            deadline: Some(Instant::now() + Duration::from_secs(60)),
            ..RequestContext::default()
        }
    }

    fn outgoing() -> Outgoing {
        Outgoing::new(Credentials::api_key("ours").unwrap())
    }

    #[test]
    fn outside_a_request_a_call_carries_our_key_alone() {
        let request = outgoing().call(Request::new(())).unwrap();
        assert_eq!(text(&request, "authorization").as_deref(), Some("Bearer ours"));
        assert_eq!(text(&request, "northstar-project"), None);
        assert_eq!(text(&request, "grpc-timeout"), None);
    }

    #[test]
    fn within_a_request_a_call_carries_that_requests_identity() {
        let request = context().sync_scope(|| outgoing().call(Request::new(()))).unwrap();
        assert_eq!(text(&request, "authorization").as_deref(), Some("Bearer theirs"));
        assert_eq!(text(&request, "northstar-project").as_deref(), Some("7"));
        assert_eq!(text(&request, "northstar-request-id").as_deref(), Some("01"));
        let remaining = timeout(request.metadata()).unwrap();
        assert!(remaining <= Duration::from_secs(60) && remaining > Duration::from_secs(30));
    }

    #[test]
    fn a_call_for_a_project_carries_our_key_even_within_a_request() {
        let mut outgoing = outgoing().for_project(3);
        let request = context().sync_scope(|| outgoing.call(Request::new(()))).unwrap();
        assert_eq!(text(&request, "authorization").as_deref(), Some("Bearer ours"));
        assert_eq!(text(&request, "northstar-project").as_deref(), Some("3"));
    }

    #[test]
    fn a_deadline_of_the_caller_is_only_shortened() {
        let mut shorter = Request::new(());
        shorter.set_timeout(Duration::from_secs(1));
        let sent = context().sync_scope(|| outgoing().call(shorter)).unwrap();
        assert_eq!(timeout(sent.metadata()), Some(Duration::from_secs(1)));

        let mut longer = Request::new(());
        longer.set_timeout(Duration::from_secs(3600));
        let sent = context().sync_scope(|| outgoing().call(longer)).unwrap();
        assert!(timeout(sent.metadata()).unwrap() <= Duration::from_secs(60));
    }

    #[test]
    fn a_malformed_timeout_is_ignored() {
        let mut sent = MetadataMap::new();
        for bad in ["", "S", "1x", "-1S", "é"] {
            let Ok(value) = MetadataValue::try_from(bad) else { continue };
            sent.insert("grpc-timeout", value);
            assert_eq!(timeout(&sent), None, "{bad}");
        }
    }
}
