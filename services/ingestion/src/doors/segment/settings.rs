//! What SDKs in browsers ask for before they send: who they send for, and that
//! nothing else is to be loaded.

use axum::Json;
use axum::extract::Path;
use http::{HeaderMap, header};
use northstar_server::Caller;
use northstar_server::door::{Keys, Refusal};
use serde_json::{Value, json};

use super::Beacon;

/// What `@segment/analytics-next` loads from its `cdnURL`: events go back to
/// where this came from, and it sends no metrics about itself.
pub(super) async fn of_segment(
    Path(write_key): Path<String>,
    keys: Keys,
    headers: HeaderMap,
) -> Result<Json<Value>, Refusal> {
    keys.caller(Some(&write_key)).await?;
    let mut segment = json!({
        "apiKey": write_key,
        "unbundledIntegrations": [],
        "addBundledMetadata": false,
        "versionSettings": { "version": "4.4.7", "componentTypes": ["browser"] },
    });
    if let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) {
        segment["apiHost"] = format!("{host}/v1").into();
        // TLS ends before this process, and whoever ends it says so.
        let protocol = headers.get("x-forwarded-proto").and_then(|proto| proto.to_str().ok());
        segment["protocol"] = if protocol == Some("https") { "https" } else { "http" }.into();
    }
    Ok(Json(json!({
        "integrations": { "Segment.io": segment },
        "plan": {
            "track": { "__default": { "enabled": true, "integrations": {} } },
            "identify": { "__default": { "enabled": true } },
            "group": { "__default": { "enabled": true } },
        },
        "edgeFunction": {},
        "analyticsNextEnabled": true,
        "middlewareSettings": {},
        "enabledMiddleware": {},
        "metrics": { "sampleRate": 0 },
        "legacyVideoPluginsEnabled": false,
        "remotePlugins": [],
    })))
}

/// What RudderStack's JavaScript SDK loads from its `configUrl`: a source
/// without destinations, which sends no metrics about itself.
pub(super) async fn of_rudderstack(
    caller: Option<Caller>,
    keys: Keys,
    query: Beacon,
) -> Result<Json<Value>, Refusal> {
    let caller = match caller {
        Some(caller) => caller,
        None => keys.caller(query.write_key.as_deref()).await?,
    };
    Ok(Json(json!({
        "source": {
            "id": caller.api_key.to_string(),
            "name": caller.principal,
            "writeKey": query.write_key,
            "enabled": true,
            "workspaceId": caller.project.to_string(),
            "config": {
                "statsCollection": {
                    "errors": { "enabled": false },
                    "metrics": { "enabled": false },
                },
            },
            "connections": [],
            "destinations": [],
            "dataplanes": {},
        },
    })))
}
