//! ResolveSubject: now, at a version of the map, or as known at a time.

use northstar_domain::ProjectId;
use northstar_domain::identity::{Identifier, IdentifierKind};
use northstar_proto::ingestion::v1 as pb;
use northstar_store::PgPool;
use northstar_store::ingestion::{heads, identity as facts};

use crate::convert::time_from_proto;
use crate::error::Error;
use crate::identity::subject_of;

/// Resolves an identifier.
pub(crate) async fn resolve_subject(
    pool: &PgPool,
    project: ProjectId,
    request: &pb::ResolveSubjectRequest,
) -> Result<pb::ResolveSubjectResponse, Error> {
    let read = |kind: IdentifierKind| {
        Identifier::new(kind, &request.identifier)
            .map_err(|error| Error::invalid("identifier", error.to_string()))
    };
    let kind: Option<IdentifierKind> = match request.identifier_kind.as_str() {
        "" => None,
        text => Some(
            text.parse().map_err(|error| Error::invalid("identifier_kind", format!("{error}")))?,
        ),
    };
    let mut connection = pool.acquire().await.map_err(northstar_store::Error::from)?;
    let now = heads::read(&mut connection, project).await?.identity_version;
    let version = match (request.identity_map_version, &request.as_known_time) {
        (0, None) => now,
        (0, Some(time)) => {
            let at = time_from_proto(time)
                .ok_or_else(|| Error::invalid("as_known_time", "is not a time"))?;
            facts::version_at(&mut connection, project, at).await?
        }
        (_, Some(_)) => {
            return Err(Error::invalid("as_known_time", "say a version or a time, not both"));
        }
        (version, None) if (0..=now).contains(&version) => version,
        _ => {
            let problem = format!("must lie between 0 and the version now, {now}");
            return Err(Error::invalid("identity_map_version", problem));
        }
    };
    let identifier = match kind {
        Some(kind) => read(kind)?,
        // An anonymous id when the map has one of that text, else a user.
        None => {
            let anonymous = read(IdentifierKind::anonymous_id())?;
            let one = std::slice::from_ref(&anonymous);
            let known = facts::subjects_of(&mut connection, project, one, version).await?;
            if known.is_empty() { read(IdentifierKind::user_id())? } else { anonymous }
        }
    };
    let subject = subject_of(&mut connection, project, &identifier, version).await?;
    let is_anonymous = |other: &&Identifier| other.kind.as_str() == IdentifierKind::ANONYMOUS_ID;
    let mut anonymous_ids: Vec<String> =
        subject.others.iter().filter(is_anonymous).map(|other| other.value.clone()).collect();
    anonymous_ids.sort_unstable();
    Ok(pb::ResolveSubjectResponse {
        anonymous_ids,
        identity_map_version: version,
        subject_kind: subject.name.kind.to_string(),
        identifiers: subject.others.iter().map(ToString::to_string).collect(),
        subject: subject.name.value,
    })
}
