//! Who holds the key a call came with.

use std::time::{Duration, Instant};

use http::HeaderMap;
use moka::Expiry;
use moka::future::Cache;
use northstar_client::metadata;
use northstar_domain::{ApiKeyId, ProjectId, Role};
use northstar_proto::errors::v1::ErrorReason;
use northstar_store::access::{self, ApiKey};
use sha2::{Digest as _, Sha256};
use sqlx::PgPool;
use uuid::Uuid;

use crate::Caller;
use crate::secret::Secret;
use crate::status::{Failure, failure, invalid_field};

/// How long a key that was found is believed, and so how long a revoked key may
/// still work.
pub const KEY_LIFETIME: Duration = Duration::from_secs(10);
/// How long a key that was not found is disbelieved: short, so that a new key
/// works at once, but long enough to spare the database a storm of wrong keys.
const UNKNOWN_LIFETIME: Duration = Duration::from_secs(2);
/// Keys remembered, found or not.
const REMEMBERED_KEYS: u64 = 10_000;
/// Who makes the calls that carry the configured suite key.
const SUITE_PRINCIPAL: &str = "northstar";

type Digest = [u8; 32];

/// Finds out who is calling.
#[derive(Clone)]
pub(crate) struct Authenticator {
    pool: PgPool,
    suite_key: Option<Digest>,
    keys: Cache<Digest, Option<ApiKey>>,
    projects: Cache<ProjectId, ()>,
}

impl Authenticator {
    pub(crate) fn new(pool: PgPool, suite_key: Option<&Secret>) -> Self {
        Self {
            pool,
            suite_key: suite_key.map(|key| digest(key.expose())),
            keys: Cache::builder().max_capacity(REMEMBERED_KEYS).expire_after(ByOutcome).build(),
            projects: Cache::builder().max_capacity(1_000).time_to_live(KEY_LIFETIME).build(),
        }
    }

    /// The caller, from the `authorization` and `northstar-project` metadata.
    pub(crate) async fn authenticate(
        &self,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<Caller, Failure> {
        self.identify(path, bearer(headers), headers).await
    }

    /// The holder of a key, wherever the protocol had it, and the project of the
    /// call.
    pub(crate) async fn identify(
        &self,
        path: &str,
        secret: Option<&str>,
        headers: &HeaderMap,
    ) -> Result<Caller, Failure> {
        let unauthenticated =
            |message: &str| failure(ErrorReason::Unauthenticated, message).metadata("method", path);
        let secret = secret
            .ok_or_else(|| unauthenticated("send an API key as \"authorization: Bearer <key>\""))?;
        let key = self.find(digest(secret)).await?.ok_or_else(|| {
            unauthenticated("the API key is unknown or revoked; ask an admin for another")
        })?;
        let project = self.project(&key, headers).await?;
        let is_suite = key.project.is_none();
        Ok(Caller { project, principal: key.principal, role: key.role, api_key: key.id, is_suite })
    }

    async fn find(&self, digest: Digest) -> Result<Option<ApiKey>, Failure> {
        if self.suite_key.is_some_and(|own| equal(&own, &digest)) {
            return Ok(Some(suite_key()));
        }
        self.keys
            .try_get_with(digest, async {
                let mut connection = self.pool.acquire().await?;
                access::find_api_key(&mut connection, &digest).await
            })
            .await
            .map_err(|error| not_looked_up(&error))
    }

    /// The project of the call: the key's, or for a suite key the one named.
    async fn project(&self, key: &ApiKey, headers: &HeaderMap) -> Result<ProjectId, Failure> {
        let named = named_project(headers)?;
        match (key.project, named) {
            (Some(own), Some(named)) if own != named => Err(failure(
                ErrorReason::WrongProject,
                format!("the API key belongs to another project than {named}"),
            )
            .metadata("project", named.to_string())),
            (Some(own), _) => Ok(own),
            (None, Some(named)) if self.exists(named).await? => Ok(named),
            (None, Some(named)) => {
                Err(failure(ErrorReason::WrongProject, format!("there is no project {named}"))
                    .metadata("project", named.to_string()))
            }
            (None, None) => Err(invalid_field(
                metadata::PROJECT,
                "a suite key belongs to no project; name one in this metadata",
            )),
        }
    }

    /// Only what exists is remembered, so that a new project works at once.
    async fn exists(&self, project: ProjectId) -> Result<bool, Failure> {
        if self.projects.contains_key(&project) {
            return Ok(true);
        }
        let found = async {
            let mut connection = self.pool.acquire().await?;
            Ok(access::list_projects(&mut connection).await?.contains(&project))
        };
        let found: bool =
            found.await.map_err(|error: northstar_store::Error| not_looked_up(&error))?;
        if found {
            self.projects.insert(project, ()).await;
        }
        Ok(found)
    }
}

/// Nothing was done, whatever went wrong, so the call may be tried again.
fn not_looked_up(error: &northstar_store::Error) -> Failure {
    tracing::error!(error = error as &dyn std::error::Error, "api key look-up failed");
    failure(
        ErrorReason::DependencyUnavailable,
        "the API key could not be looked up; nothing was done, try again",
    )
    .metadata("dependency", "postgres")
}

fn suite_key() -> ApiKey {
    ApiKey {
        id: ApiKeyId(Uuid::nil()),
        project: None,
        principal: SUITE_PRINCIPAL.to_owned(),
        role: Role::Admin,
        created_at: chrono::DateTime::UNIX_EPOCH,
        revoked_at: None,
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(http::header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, secret) = value.split_once(' ')?;
    let secret = secret.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !secret.is_empty()).then_some(secret)
}

fn named_project(headers: &HeaderMap) -> Result<Option<ProjectId>, Failure> {
    let Some(value) = headers.get(metadata::PROJECT) else { return Ok(None) };
    value
        .to_str()
        .ok()
        .and_then(|text| text.parse().ok())
        .filter(|project: &ProjectId| project.0 > 0)
        .map(Some)
        .ok_or_else(|| invalid_field(metadata::PROJECT, "must be a positive integer"))
}

fn digest(secret: &str) -> Digest {
    Sha256::digest(secret.as_bytes()).into()
}

/// Compares without telling by its duration where two digests differ.
fn equal(a: &Digest, b: &Digest) -> bool {
    a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

struct ByOutcome;

impl Expiry<Digest, Option<ApiKey>> for ByOutcome {
    fn expire_after_create(
        &self,
        _: &Digest,
        found: &Option<ApiKey>,
        _: Instant,
    ) -> Option<Duration> {
        Some(if found.is_some() { KEY_LIFETIME } else { UNKNOWN_LIFETIME })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(authorization: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", authorization.parse().unwrap());
        headers
    }

    #[test]
    fn only_a_bearer_key_is_read() {
        assert_eq!(bearer(&headers("Bearer ns_abc")), Some("ns_abc"));
        assert_eq!(bearer(&headers("bearer ns_abc")), Some("ns_abc"));
        for bad in ["", "Bearer", "Bearer ", "Basic dXNlcg==", "ns_abc"] {
            assert_eq!(bearer(&headers(bad)), None, "{bad}");
        }
    }

    #[test]
    fn digests_are_equal_only_when_every_byte_is() {
        let a = digest("a");
        assert!(equal(&a, &digest("a")));
        let mut b = a;
        b[31] ^= 1;
        assert!(!equal(&a, &b));
    }

    #[test]
    fn a_project_is_a_positive_integer() {
        let mut headers = HeaderMap::new();
        assert_eq!(named_project(&headers).unwrap(), None);
        headers.insert(metadata::PROJECT, "3".parse().unwrap());
        assert_eq!(named_project(&headers).unwrap(), Some(ProjectId(3)));
        for bad in ["0", "-1", "one", "99999999999"] {
            headers.insert(metadata::PROJECT, bad.parse().unwrap());
            assert!(named_project(&headers).is_err(), "{bad}");
        }
    }
}
