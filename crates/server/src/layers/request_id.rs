//! Names every request, so that its lines and its answer can be matched.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderName, HeaderValue};
use northstar_client::metadata;
use uuid::Uuid;

const REQUEST_ID: HeaderName = HeaderName::from_static(metadata::REQUEST_ID);
const MAX_LENGTH: usize = 64;

/// Keeps the caller's request id when it is 1 to 64 letters, digits, dots,
/// dashes and underscores, makes one otherwise, and sends it back.
pub(crate) async fn assign(mut request: Request, next: Next) -> Response {
    let id = match request.headers().get(REQUEST_ID) {
        Some(id) if is_valid(id.as_bytes()) => id.clone(),
        _ => {
            let id = HeaderValue::from_str(&Uuid::now_v7().to_string())
                .expect("a UUID is visible ASCII");
            request.headers_mut().insert(REQUEST_ID, id.clone());
            id
        }
    };
    if let Ok(id) = id.to_str() {
        tracing::Span::current().record("request.id", id);
    }
    let mut response = next.run(request).await;
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

fn is_valid(id: &[u8]) -> bool {
    (1..=MAX_LENGTH).contains(&id.len())
        && id.iter().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_cannot_forge_log_lines() {
        assert!(is_valid(b"0198-abc_DEF.1"));
        for bad in [&b""[..], b"a b", b"a\nb", b"{}", &[b'a'; 65]] {
            assert!(!is_valid(bad), "{bad:?}");
        }
    }
}
