//! Lets scripts of web pages through, whatever their origin: the key says who
//! may, not the page.

use std::time::Duration;

use http::header::{HeaderName, RETRY_AFTER};
use northstar_client::metadata;
use tower_http::cors::{AllowHeaders, AllowMethods, AllowOrigin, CorsLayer};

/// How long a browser need not ask again.
const MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// The page's own origin is mirrored rather than `*`, because a browser that
/// sends credentials accepts no `*`. Nothing here goes by cookies, so this
/// gives nobody more than a key does.
pub(super) fn layer() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(AllowOrigin::mirror_request())
        .allow_methods(AllowMethods::mirror_request())
        .allow_headers(AllowHeaders::mirror_request())
        .allow_credentials(true)
        .expose_headers([RETRY_AFTER, HeaderName::from_static(metadata::REQUEST_ID)])
        .max_age(MAX_AGE)
}
