//! Subjects: who is who, what they agreed to, and what is left of them.

mod consent;
mod erasure;
mod policy;
mod statements;

use std::collections::BTreeSet;

use northstar_client::Clients;
use northstar_domain::identity::{
    Fact, Identifier, IdentityPolicy, SaidBy, Verb, resolve as resolve_facts,
};
use northstar_proto::ingestion::v1 as pb;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tonic::{Code, Status};
use uuid::Uuid;

use crate::suite::{Suite, blamed_fields, event, minutes, reason};

fn id(text: &str) -> pb::Identifier {
    let (kind, value) = text.split_once(':').unwrap_or(("user_id", text));
    pb::Identifier { kind: kind.to_owned(), value: value.to_owned() }
}

fn shown(identifier: Option<&pb::Identifier>) -> String {
    identifier.map(|found| format!("{}:{}", found.kind, found.value)).unwrap()
}

fn seen(device: &str, user: &str, minute: i64) -> pb::Event {
    pb::Event {
        anonymous_id: device.to_owned(),
        user_id: user.to_owned(),
        occurred_time: Some(minutes(minute)),
        ..event(Uuid::now_v7().to_string())
    }
}

async fn resolve_at(suite: &Suite, text: &str, version: i64) -> pb::ResolveSubjectResponse {
    let identifier = id(text);
    let request = pb::ResolveSubjectRequest {
        identifier: identifier.value,
        identifier_kind: identifier.kind,
        identity_map_version: version,
        as_known_time: None,
    };
    suite.clients().ingestion().resolve_subject(request).await.unwrap().into_inner()
}

async fn subject(suite: &Suite, text: &str) -> String {
    let found = resolve_at(suite, text, 0).await;
    format!("{}:{}", found.subject_kind, found.subject)
}

async fn merge(
    clients: &Clients,
    from: &str,
    to: &str,
) -> Result<pb::MergeSubjectsResponse, Status> {
    let request = pb::MergeSubjectsRequest {
        from: Some(id(from)),
        to: Some(id(to)),
        reason: "the same person".to_owned(),
        request_id: Uuid::new_v4().to_string(),
        ..pb::MergeSubjectsRequest::default()
    };
    clients.subjects().merge_subjects(request).await.map(tonic::Response::into_inner)
}

async fn unmerge(clients: &Clients, fact_id: i64) -> Result<pb::UnmergeSubjectsResponse, Status> {
    let request = pb::UnmergeSubjectsRequest {
        fact_id,
        reason: "two people".to_owned(),
        request_id: String::new(),
    };
    clients.subjects().unmerge_subjects(request).await.map(tonic::Response::into_inner)
}

async fn link(clients: &Clients, from: &str, to: &str) -> Result<String, Status> {
    let request = pb::LinkIdentifiersRequest {
        from: Some(id(from)),
        to: Some(id(to)),
        reason: "said so".to_owned(),
        ..Default::default()
    };
    let response = clients.subjects().link_identifiers(request).await?.into_inner();
    Ok(shown(response.subject.as_ref()))
}

async fn unlink(clients: &Clients, from: &str, to: &str) -> Result<String, Status> {
    let request = pb::UnlinkIdentifiersRequest {
        from: Some(id(from)),
        to: Some(id(to)),
        reason: "a shared device".to_owned(),
        ..Default::default()
    };
    let response = clients.subjects().unlink_identifiers(request).await?.into_inner();
    Ok(shown(response.subject.as_ref()))
}

async fn history(suite: &Suite, text: &str) -> Vec<pb::IdentityFact> {
    let mut facts = Vec::new();
    let mut page_token = String::new();
    loop {
        let request =
            pb::ListIdentityFactsRequest { identifier: Some(id(text)), page_size: 2, page_token };
        let page =
            suite.clients().subjects().list_identity_facts(request).await.unwrap().into_inner();
        assert!(page.facts.len() <= 2);
        facts.extend(page.facts);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return facts;
        }
    }
}

async fn audited(suite: &Suite) -> Vec<(String, String, String)> {
    sqlx::query_as("SELECT action, actor, detail FROM audit.entries ORDER BY sequence")
        .fetch_all(suite.superuser())
        .await
        .unwrap()
}

/// Every row of every table that a service may hold data in, as text.
async fn everything_held(suite: &Suite) -> String {
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables
         WHERE schemaname IN ('ingestion', 'metrics', 'access', 'audit') ORDER BY 1",
    )
    .fetch_all(suite.superuser())
    .await
    .unwrap();
    let mut held = String::new();
    for table in tables {
        let rows: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(format!(
            "SELECT row_to_json(t)::text FROM {table} t"
        )))
        .fetch_all(suite.superuser())
        .await
        .unwrap();
        for row in rows {
            held.push_str(&row);
            held.push('\n');
        }
    }
    // The log as it reads, beside its bytes.
    for event in logged(suite).await {
        held.push_str(&format!("{event:?}\n"));
    }
    held
}

/// The events of the log.
async fn logged(suite: &Suite) -> Vec<northstar_store::ingestion::log::LoggedEvent> {
    let mut connection = suite.superuser().acquire().await.unwrap();
    let project = northstar_domain::ProjectId(1);
    let read = northstar_store::ingestion::log::read_after(&mut connection, project, 0, 1_000);
    read.await.unwrap()
}
