//! The lists of cohorts: uploaded, kept from another cohort, deleted.

use chrono::SubsecRound as _;
use northstar_domain::cohort::{Cohort, MAX_MEMBERS, MemberList, Origin};
use northstar_domain::{Problems, ResourceName};
use northstar_proto::metrics::v1 as pb;
use northstar_server::Caller;
use northstar_store::metrics::cohort::{self, Member};
use northstar_store::metrics::definition::{self, Document as _, Stored};
use northstar_store::{Error as StoreError, PgConnection, audit, idempotency};
use prost::Message as _;
use serde_json::json;
use tonic::{Status, Streaming};

use super::{load, rule, service};
use crate::apply::{check_etag, decode, read_request_id};
use crate::ask::ask;
use crate::plan;
use crate::service::Metrics as Service;
use crate::{Error, Result};

/// Longest kind and longest identifier, in bytes.
const MAX_KIND: usize = 63;
const MAX_IDENTIFIER: usize = 200;

/// Members that one statement writes.
const MEMBERS_A_STATEMENT: usize = 10_000;

/// An upload that came to its end.
pub(super) struct Upload {
    cohort: String,
    mode: pb::UploadMode,
    members: Vec<Member>,
}

impl Upload {
    /// Reads a stream to its end.
    pub(super) async fn receive(
        mut stream: Streaming<pb::UploadCohortMembersRequest>,
    ) -> Result<Self, Status> {
        let mut upload =
            Self { cohort: String::new(), mode: pb::UploadMode::Unspecified, members: Vec::new() };
        let mut is_first = true;
        while let Some(part) = stream.message().await? {
            if std::mem::take(&mut is_first) {
                upload.mode = part.mode();
                upload.cohort = part.cohort;
            }
            for member in part.members {
                let field = format!("members[{}]", upload.members.len());
                upload.members.push(read(&field, member)?);
            }
            if upload.members.len() as u64 > MAX_MEMBERS {
                return Err(too_many().into());
            }
        }
        Ok(upload)
    }
}

fn too_many() -> Error {
    Error::field("members", format!("a list has at most {MAX_MEMBERS} members"))
}

fn read(field: &str, subject: pb::Subject) -> Result<Member> {
    let pb::Subject { kind, value } = subject;
    let kind = if kind.is_empty() { "user_id".to_owned() } else { kind };
    let mut problems = Problems::default();
    if kind.len() > MAX_KIND || kind.chars().any(char::is_control) {
        let problem = format!("must be one line of at most {MAX_KIND} bytes");
        problems.fields.push(format!("{field}.kind"), problem);
    }
    if value.is_empty() || value.len() > MAX_IDENTIFIER || value.chars().any(char::is_control) {
        let problem = format!("must be one line of 1 to {MAX_IDENTIFIER} bytes");
        problems.fields.push(format!("{field}.value"), problem);
    }
    Error::check(problems)?;
    Ok(Member { kind, value })
}

/// Changes a list, and returns how many members it has then.
pub(super) async fn upload(service: &Service, caller: &Caller, upload: Upload) -> Result<i64> {
    let Upload { cohort: name, mode, members } = upload;
    let project = caller.project;
    let mut transaction = service.pool.begin().await.map_err(StoreError::from)?;
    let connection = &mut *transaction;
    definition::lock(connection, project).await?;
    let stored = find(connection, caller, &name).await?;
    if stored.document.list.is_none() {
        let problem = format!("{name} is a cohort by rule; only a list has members to upload");
        return Err(Error::field("cohort", problem));
    }
    let action = match mode {
        pb::UploadMode::Unspecified | pb::UploadMode::Replace => "cohort.replace-members",
        pb::UploadMode::Add => "cohort.add-members",
        pb::UploadMode::Remove => "cohort.remove-members",
    };
    if matches!(mode, pb::UploadMode::Unspecified | pb::UploadMode::Replace) {
        cohort::clear(connection, project, &name).await?;
    }
    for members in members.chunks(MEMBERS_A_STATEMENT) {
        if mode == pb::UploadMode::Remove {
            cohort::remove(connection, project, &name, members).await?;
        } else {
            cohort::add(connection, project, &name, members).await?;
        }
    }
    let count = cohort::count(connection, project, &name).await?;
    if count.cast_unsigned() > MAX_MEMBERS {
        return Err(too_many());
    }
    // Whoever told a number knows by the version that the list has changed.
    let next = Stored { version: stored.version + 1, ..stored };
    let now = service.clock.now();
    definition::save(connection, project, &next, &caller.principal, now).await?;
    let detail = json!({ "uploaded": members.len(), "members": count });
    record(service, connection, caller, action, &name, &detail).await?;
    transaction.commit().await.map_err(StoreError::from)?;
    Ok(count)
}

/// Keeps the members of a cohort under a new name.
pub(super) async fn snapshot(
    service: &Service,
    caller: &Caller,
    request: pb::SnapshotCohortRequest,
) -> Result<pb::SnapshotCohortResponse> {
    let project = caller.project;
    let now = service.clock.now().trunc_subsecs(6);
    let body = request.encode_to_vec();
    let id = read_request_id(&request.request_id)?;
    let name: ResourceName = request
        .name
        .parse()
        .map_err(|error: northstar_domain::InvalidName| Error::field("name", error.to_string()))?;
    let keyed = id.map(|id| idempotency::Request {
        project,
        method: "/northstar.metrics.v1.CohortsService/SnapshotCohort",
        id,
        body: &body,
    });
    // Judged before the transaction begins, so that no lock is held meanwhile.
    let mut connection = service.pool.acquire().await.map_err(StoreError::from)?;
    let loaded = load(&mut connection, project, &request.cohort).await?;
    drop(connection);
    let view = service.datasets.view(project).await?;
    let members = match (&loaded.stored.document.rule, loaded.list) {
        (Some(rule), _) => {
            let rule = rule::rule(rule)?;
            let judged = ask(&view.snapshot, move |snapshot| -> Result<Vec<Member>> {
                let judged = snapshot.cohort(&rule, &[plan::instant(now)])?;
                let names = snapshot.names(&judged.members).into_iter();
                Ok(names.map(|name| Member { kind: name.kind, value: name.value }).collect())
            });
            judged.await?
        }
        (None, list) => list.unwrap_or_default().to_vec(),
    };
    if members.len() as u64 > MAX_MEMBERS {
        return Err(Error::field("cohort", format!("has more than {MAX_MEMBERS} members")));
    }

    let mut transaction = service.pool.begin().await.map_err(StoreError::from)?;
    let connection = &mut *transaction;
    if let Some(keyed) = &keyed
        && let Some(response) = idempotency::find_response(connection, keyed).await?
    {
        return decode(&response);
    }
    definition::lock(connection, project).await?;
    if definition::find::<Cohort>(connection, project, name.as_str()).await?.is_some() {
        let problem = "is taken; a static snapshot needs a name of its own";
        return Err(Error::field("name", problem));
    }
    let source = &loaded.stored;
    let document = Cohort {
        title: source.document.title.clone(),
        description: source.document.description.clone(),
        owner: source.document.owner.clone(),
        rule: None,
        list: Some(MemberList {
            snapshot_of: Some(Origin {
                cohort: source.name.to_string(),
                version: source.version,
                log_position: view.head.position,
                time: now,
            }),
        }),
    };
    let stored = Stored { etag: definition::etag(&document), name, version: 1, document };
    definition::save(connection, project, &stored, &caller.principal, now).await?;
    for members in members.chunks(MEMBERS_A_STATEMENT) {
        cohort::add(connection, project, stored.name.as_str(), members).await?;
    }
    let detail = json!({ "after": stored.document, "members": members.len() });
    let name = stored.name.as_str();
    record(service, connection, caller, "cohort.snapshot", name, &detail).await?;
    let response = pb::SnapshotCohortResponse {
        cohort: Some(service::cohort(&stored)),
        members: members.len() as i64,
    };
    if let Some(keyed) = &keyed {
        idempotency::save_response(connection, keyed, &response.encode_to_vec(), now).await?;
    }
    transaction.commit().await.map_err(StoreError::from)?;
    Ok(response)
}

/// Deletes a cohort and its list.
pub(super) async fn delete(
    service: &Service,
    caller: &Caller,
    request: &pb::DeleteCohortRequest,
) -> Result<()> {
    let name = request.name.as_str();
    let mut transaction = service.pool.begin().await.map_err(StoreError::from)?;
    let connection = &mut *transaction;
    definition::lock(connection, caller.project).await?;
    let Some(current) = definition::find::<Cohort>(connection, caller.project, name).await? else {
        return Ok(());
    };
    check_etag(&request.etag, &current.name, Some(&current))?;
    definition::delete::<Cohort>(connection, caller.project, &current.name).await?;
    cohort::clear(connection, caller.project, name).await?;
    let detail = json!({ "before": current.document });
    record(service, connection, caller, "cohort.delete", name, &detail).await?;
    transaction.commit().await.map_err(StoreError::from)?;
    Ok(())
}

async fn find(
    connection: &mut PgConnection,
    caller: &Caller,
    name: &str,
) -> Result<Stored<Cohort>> {
    definition::find(connection, caller.project, name)
        .await?
        .ok_or_else(|| Error::NotFound { kind: Cohort::KIND, name: name.to_owned() })
}

async fn record(
    service: &Service,
    connection: &mut PgConnection,
    caller: &Caller,
    action: &str,
    name: &str,
    detail: &serde_json::Value,
) -> Result<()> {
    let entry = audit::NewEntry {
        project: caller.project,
        actor: &caller.principal,
        action,
        resource: &format!("cohorts/{name}"),
        detail,
        at: service.clock.now(),
    };
    audit::append(connection, &entry).await?;
    Ok(())
}
