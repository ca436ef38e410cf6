//! ListIdentityFacts: everything that was said about a subject's identifiers.

use std::collections::BTreeSet;

use northstar_domain::ProjectId;
use northstar_domain::identity::resolve;
use northstar_proto::ingestion::v1 as pb;
use northstar_server::page::page_size;
use northstar_store::ingestion::identity as facts;

use super::Subjects;
use super::convert::{fact_to_proto, identifier, refusal_word};
use super::statements::current_version;
use crate::error::Error;
use crate::identity::{closure, policy, subject_of};

pub(super) async fn list_identity_facts(
    service: &Subjects,
    project: ProjectId,
    request: &pb::ListIdentityFactsRequest,
) -> Result<pb::ListIdentityFactsResponse, Error> {
    let identifier = identifier("identifier", request.identifier.as_ref())?;
    let size = page_size(request.page_size)?;
    let after: i64 = match request.page_token.as_str() {
        "" => 0,
        token => token
            .parse()
            .map_err(|_| Error::invalid("page_token", "is not one that this call returned"))?,
    };
    let mut connection = service.pool.acquire().await.map_err(northstar_store::Error::from)?;
    let version = current_version(&mut connection, project).await?;
    let subject = subject_of(&mut connection, project, &identifier, version).await?;
    let mut identifiers: BTreeSet<_> = subject.identifiers().into_iter().collect();
    // Of an identifier that was taken away, the facts that took it.
    identifiers.insert(identifier);
    let asked: Vec<_> = identifiers.iter().cloned().collect();
    let found = facts::facts_of(&mut connection, project, &asked).await?;
    let undone: BTreeSet<i64> = found.iter().filter_map(|stored| stored.fact.undoes).collect();
    let policy = policy(&mut connection, project).await?;
    let about = closure(&mut connection, project, identifiers).await?;
    let refused = resolve(&policy, &about).refused;
    let page = found
        .into_iter()
        .filter(|stored| stored.fact.id > after)
        .take(usize::try_from(size.limit()).unwrap_or(usize::MAX))
        .collect();
    let (page, more) = size.cut(page);
    let next_page_token = match page.last() {
        Some(last) if more => last.fact.id.to_string(),
        _ => String::new(),
    };
    let facts = page
        .iter()
        .map(|stored| {
            let id = stored.fact.id;
            let refusal = match refused.get(&id) {
                _ if undone.contains(&id) => "undone",
                Some(refusal) => refusal_word(refusal),
                None => "",
            };
            fact_to_proto(stored, refusal)
        })
        .collect();
    Ok(pb::ListIdentityFactsResponse { facts, next_page_token })
}
