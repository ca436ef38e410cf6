//! Pages of the subjects behind a number. The token holds the position of the log and what else the first page rested
//! on, so that all pages are of one list, whichever process gives them.

use northstar_domain::ProjectId;
use northstar_engine::SubjectName;
use northstar_engine::journeys::MemberPage;
use northstar_proto::metrics::v1 as pb;
use northstar_store::metrics::log::Head;
use northstar_store::page::PageSize;
use serde::{Deserialize, Serialize};

use super::ask::{Asked, Question, refused};
use crate::ask::attempt;
use crate::cohorts;
use crate::provenance::digest;
use crate::service::Metrics as Service;
use crate::{Error, Result};

/// Where a list goes on.
#[derive(Serialize, Deserialize)]
struct Token {
    position: i64,
    /// Versions of the identity map, of consent, of its policy, and erasures.
    versions: [i64; 4],
    /// Of each cohort in use.
    cohorts: Vec<i64>,
    /// Of the question and the number that the list is behind.
    question: String,
    after: (String, String),
}

fn versions(head: Head) -> [i64; 4] {
    [head.identity_version, head.consent_version, head.consent_policy_version, head.erasure_version]
}

/// A page.
pub(super) struct Page {
    pub subjects: Vec<pb::Subject>,
    pub next_page_token: String,
    pub total_size: i64,
    pub log_position: i64,
}

/// The page that a request asks for.
pub(super) async fn page<Q: Question>(
    service: &Service,
    project: ProjectId,
    mut asked: Asked<Q>,
    cell: Q::Cell,
    (page_size, page_token): (i32, &str),
) -> Result<Page> {
    let size = PageSize::from_request(page_size)
        .map_err(|error| Error::field("page_size", error.to_string()))?;
    let asks = (&asked.question, &cell, &asked.scope.cohorts.filter);
    let question = digest(&asked.reads, 0, &asks, Head::default(), &asked.scope.position)?;
    let token =
        match page_token {
            "" => None,
            text => Some(read_token(text).filter(|token| token.question == question).ok_or_else(
                || Error::field("page_token", "is not a token that a page of this list gave"),
            )?),
        };
    if let Some(token) = &token {
        asked.scope.position = token.position;
    }
    let (cohorts, window) = (asked.scope.cohorts(), asked.scope.window);
    let (mut view, used) = cohorts::view(service, project, &cohorts, window.end).await?;
    let of_cohorts: Vec<i64> = used.iter().map(|cohort| cohort.version).collect();
    if let Some(token) = &token
        && (token.versions != versions(view.head) || token.cohorts != of_cohorts)
    {
        let problem = "belongs to an earlier state of identity, consent, erasure or cohorts; ask \
                       for the first page again";
        return Err(Error::field("page_token", problem));
    }
    asked.hold(&mut view)?;
    let wanted = MemberPage {
        after: token.map(|token| SubjectName { kind: token.after.0, value: token.after.1 }),
        limit: usize::try_from(size.limit() - 1).unwrap_or_default(),
    };
    let asking = asked.question;
    let members = attempt(&view.snapshot, move |snapshot| asking.members(snapshot, &cell, &wanted));
    let members = members.await?.map_err(refused)?;
    let next = members.subjects.last().filter(|_| members.more).map(|last| Token {
        position: view.head.position,
        versions: versions(view.head),
        cohorts: of_cohorts,
        question,
        after: (last.kind.clone(), last.value.clone()),
    });
    Ok(Page {
        next_page_token: next.map(|token| write_token(&token)).unwrap_or_default(),
        total_size: members.total.cast_signed(),
        log_position: view.head.position,
        subjects: members.subjects.iter().map(cohorts::subject).collect(),
    })
}

fn read_token(text: &str) -> Option<Token> {
    serde_json::from_slice(&hex::decode(text).ok()?).ok()
}

fn write_token(token: &Token) -> String {
    hex::encode(serde_json::to_vec(token).unwrap_or_default())
}
