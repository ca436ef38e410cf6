//! Apply: check a document against what is stored, and store it, its version,
//! an audit entry and the answer in one transaction.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use northstar_domain::activity::Activity;
use northstar_domain::catalog::Catalog;
use northstar_domain::cohort::Cohort;
use northstar_domain::kpi::Kpi;
use northstar_domain::metric::Metric;
use northstar_domain::pillar::Pillar;
use northstar_domain::threshold::Threshold;
use northstar_domain::{Problems, ResourceName, Violations};
use northstar_server::Caller;
use northstar_store::metrics::cohort;
use northstar_store::metrics::definition::{self, Document, Stored};
use northstar_store::metrics::threshold;
use northstar_store::{PgConnection, PgPool, audit, idempotency};
use prost::Message;
use serde_json::json;
use uuid::Uuid;

use crate::convert::Received;
use crate::plan::{COMPILERS, compile_filter};
use crate::{Error, Result};

/// A kind of document that can be applied.
pub(crate) trait Applied: Document + Clone + PartialEq {
    /// The request's field that holds the document.
    const FIELD: &'static str;

    /// The collection that holds the resource.
    const COLLECTION: &'static str;

    /// Everything wrong with the document in this catalog.
    fn check(&self, name: &str, catalog: &Catalog) -> Problems;

    /// Whether replacing `before` makes a new version.
    fn is_new_version(&self, before: &Self) -> bool {
        self != before
    }

    /// Keeps a new version for good, where the kind does so.
    async fn keep_version(
        _connection: &mut PgConnection,
        _caller: &Caller,
        _before: Option<&Stored<Self>>,
        _stored: &Stored<Self>,
        _now: DateTime<Utc>,
    ) -> Result<()> {
        Ok(())
    }
}

impl Applied for Pillar {
    const FIELD: &'static str = "pillar";
    const COLLECTION: &'static str = "pillars";

    fn check(&self, _name: &str, _catalog: &Catalog) -> Problems {
        Problems { fields: self.violations(), ..Problems::default() }
    }
}

impl Applied for Metric {
    const FIELD: &'static str = "metric";
    const COLLECTION: &'static str = "metrics";

    fn check(&self, name: &str, catalog: &Catalog) -> Problems {
        catalog.check_metric(name, self, COMPILERS)
    }

    /// Title, description and owner may change without changing a number.
    fn is_new_version(&self, before: &Self) -> bool {
        self.definition != before.definition
    }

    async fn keep_version(
        connection: &mut PgConnection,
        caller: &Caller,
        _before: Option<&Stored<Self>>,
        stored: &Stored<Self>,
        now: DateTime<Utc>,
    ) -> Result<()> {
        let author = &caller.principal;
        definition::save_metric_version(connection, caller.project, stored, author, now).await?;
        Ok(())
    }
}

impl Applied for Activity {
    const FIELD: &'static str = "activity";
    const COLLECTION: &'static str = "activities";

    fn check(&self, name: &str, catalog: &Catalog) -> Problems {
        catalog.check_activity(name, self, &compile_filter)
    }

    /// Title, description and owner may change without changing who is active.
    fn is_new_version(&self, before: &Self) -> bool {
        (&self.events, self.default) != (&before.events, before.default)
    }
}

impl Applied for Kpi {
    const FIELD: &'static str = "kpi";
    const COLLECTION: &'static str = "kpis";

    fn check(&self, name: &str, catalog: &Catalog) -> Problems {
        catalog.check_kpi(name, self)
    }
}

impl Applied for Threshold {
    const FIELD: &'static str = "threshold";
    const COLLECTION: &'static str = "thresholds";

    fn check(&self, _name: &str, catalog: &Catalog) -> Problems {
        catalog.check_threshold(self)
    }

    /// Other rules begin anew; what was remembered follows from the old ones.
    async fn keep_version(
        connection: &mut PgConnection,
        caller: &Caller,
        before: Option<&Stored<Self>>,
        stored: &Stored<Self>,
        now: DateTime<Utc>,
    ) -> Result<()> {
        let Stored { name, version, document, .. } = stored;
        let same_rules = before.is_some_and(|before| before.document.rules() == document.rules());
        if same_rules {
            threshold::keep(connection, caller.project, name, *version).await?;
        } else {
            threshold::begin(connection, caller.project, name, *version, now).await?;
        }
        Ok(())
    }
}

impl Applied for Cohort {
    const FIELD: &'static str = "cohort";
    const COLLECTION: &'static str = "cohorts";

    fn check(&self, _name: &str, catalog: &Catalog) -> Problems {
        catalog.check_cohort(self, &compile_filter)
    }

    /// Title, description and owner may change without changing a member.
    fn is_new_version(&self, before: &Self) -> bool {
        (&self.rule, &self.list) != (&before.rule, &before.list)
    }

    /// A rule has no list.
    async fn keep_version(
        connection: &mut PgConnection,
        caller: &Caller,
        _before: Option<&Stored<Self>>,
        stored: &Stored<Self>,
        _now: DateTime<Utc>,
    ) -> Result<()> {
        if stored.document.rule.is_some() {
            cohort::clear(connection, caller.project, stored.name.as_str()).await?;
        }
        Ok(())
    }
}

/// A request to apply a document.
pub(crate) struct Application<D> {
    /// The full gRPC method.
    pub(crate) method: &'static str,
    /// The document.
    pub(crate) received: Received<D>,
    /// Check only.
    pub(crate) validate_only: bool,
    /// Empty or a UUID.
    pub(crate) request_id: String,
    /// The encoded request.
    pub(crate) body: Vec<u8>,
}

/// Applies a document and gives the answer, which is the earlier one when the
/// request id was used before.
pub(crate) async fn apply<D: Applied, R: Message + Default>(
    pool: &PgPool,
    caller: &Caller,
    now: DateTime<Utc>,
    application: Application<D>,
    respond: impl Fn(&Stored<D>) -> R,
) -> Result<R> {
    let Application { method, received, validate_only, request_id, body } = application;
    let request_id = read_request_id(&request_id)?;
    let project = caller.project;

    let mut transaction = pool.begin().await.map_err(northstar_store::Error::from)?;
    let connection = &mut *transaction;
    let keyed =
        request_id.map(|id| idempotency::Request { project, method, id, body: body.as_slice() });
    if let Some(keyed) = &keyed
        && let Some(response) = idempotency::find_response(connection, keyed).await?
    {
        return decode(&response);
    }
    definition::lock(connection, project).await?;
    let catalog = load_catalog(connection, caller).await?;
    let name = check(&received, &catalog)?;
    let current = definition::find::<D>(connection, project, name.as_str()).await?;
    check_etag(&received.etag, &name, current.as_ref())?;

    let next = next(name, received.document, current.as_ref());
    let response = respond(&next);
    if validate_only {
        return Ok(response);
    }
    if current.as_ref().is_none_or(|current| current.etag != next.etag) {
        definition::save(connection, project, &next, &caller.principal, now).await?;
        if current.as_ref().is_none_or(|current| current.version != next.version) {
            D::keep_version(connection, caller, current.as_ref(), &next, now).await?;
        }
        record(connection, caller, current.as_ref(), &next, now).await?;
    }
    if let Some(keyed) = &keyed {
        idempotency::save_response(connection, keyed, &response.encode_to_vec(), now).await?;
    }
    transaction.commit().await.map_err(northstar_store::Error::from)?;
    Ok(response)
}

/// Reads a request id; empty is none.
pub(crate) fn read_request_id(text: &str) -> Result<Option<Uuid>> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse()
        .map(Some)
        .map_err(|_| Error::field("request_id", format!("{text:?} is not a UUID")))
}

/// Reads an answer that was given before.
pub(crate) fn decode<R: Message + Default>(response: &[u8]) -> Result<R> {
    R::decode(response).map_err(|error| {
        Error::Store(northstar_store::Error::Corrupt {
            table: "access.idempotency_keys",
            column: "response",
            row: std::any::type_name::<R>().to_owned(),
            value: error.to_string(),
        })
    })
}

/// What a new document is checked against.
pub(crate) async fn load_catalog(
    connection: &mut PgConnection,
    caller: &Caller,
) -> Result<Catalog> {
    let pillars = definition::all::<Pillar>(connection, caller.project).await?;
    let metrics = definition::all::<Metric>(connection, caller.project).await?;
    let kpis = definition::all::<Kpi>(connection, caller.project).await?;
    let activities = definition::all::<Activity>(connection, caller.project).await?;
    Ok(Catalog {
        activities: activities.into_iter().map(|stored| (stored.name, stored.document)).collect(),
        kpis: kpis.into_iter().map(|stored| (stored.name, stored.document)).collect(),
        pillars: pillars.into_iter().map(|stored| (stored.name, stored.document)).collect(),
        metrics: metrics.into_iter().map(|stored| (stored.name, stored.document)).collect(),
    })
}

/// Refuses the document with everything that is wrong with it.
pub(crate) fn check<D: Applied>(received: &Received<D>, catalog: &Catalog) -> Result<ResourceName> {
    let name = received.name.parse::<ResourceName>();
    let mut found = Violations::new();
    if let Err(error) = &name {
        found.push("name", error.to_string());
    }
    found.extend(received.violations.clone());
    let mut problems = received.document.check(&received.name, catalog);
    found.extend(problems.fields);
    problems.fields = first_by_field(found);
    Error::check(problems.under(D::FIELD))?;
    name.map_err(|error| Error::field(format!("{}.name", D::FIELD), error.to_string()))
}

/// What could not be read is missing too; the first says more.
fn first_by_field(violations: Violations) -> Violations {
    let mut seen = HashSet::new();
    violations.into_iter().filter(|violation| seen.insert(violation.field.clone())).collect()
}

/// An empty etag replaces whatever is there.
pub(crate) fn check_etag<D: Document>(
    etag: &str,
    name: &ResourceName,
    current: Option<&Stored<D>>,
) -> Result<()> {
    let current = current.map(|stored| stored.etag.clone());
    if etag.is_empty() || current.as_deref() == Some(etag) {
        return Ok(());
    }
    Err(Error::EtagMismatch { kind: D::KIND, name: name.to_string(), current })
}

/// The document as it will be stored. The same document keeps etag and version.
fn next<D: Applied>(name: ResourceName, document: D, current: Option<&Stored<D>>) -> Stored<D> {
    let version = current.map_or(1, |current| {
        current.version + i64::from(document.is_new_version(&current.document))
    });
    Stored { name, version, etag: definition::etag(&document), document }
}

async fn record<D: Applied>(
    connection: &mut PgConnection,
    caller: &Caller,
    before: Option<&Stored<D>>,
    after: &Stored<D>,
    now: DateTime<Utc>,
) -> Result<()> {
    let mut detail = json!({ "after": after.document, "version": after.version });
    if let Some(before) = before {
        detail["before"] = json!(before.document);
    }
    let entry = audit::NewEntry {
        project: caller.project,
        actor: &caller.principal,
        action: &format!("{}.apply", D::FIELD),
        resource: &format!("{}/{}", D::COLLECTION, after.name),
        detail: &detail,
        at: now,
    };
    audit::append(connection, &entry).await?;
    Ok(())
}
