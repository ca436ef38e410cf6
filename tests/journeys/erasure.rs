//! A person who is forgotten is forgotten by every service.

use northstar_client::Clients;
use northstar_domain::Role;
use northstar_proto::approvals::v1 as approvals;
use northstar_proto::automations::v1 as automations;
use northstar_proto::ingestion::v1 as ingestion;
use northstar_proto::metrics::v1 as metrics;
use northstar_tests::Suite;

use crate::decisions::{activate, automation, decide, define, until};

/// Who wants to be forgotten.
const LENA: &str = "lena-otto-4711";

async fn visit(clients: &Clients, users: &[&str]) {
    let events = users.iter().map(|user| ingestion::Event {
        message_id: format!("visit {user}"),
        name: "Visited".to_owned(),
        user_id: (*user).to_owned(),
        anonymous_id: format!("device of {user}"),
        occurred_time: Some(std::time::SystemTime::now().into()),
        properties: [("page", format!("/home/{user}")), ("plan", "pro".to_owned())]
            .into_iter()
            .map(|(name, text)| {
                let kind = Some(ingestion::value::Kind::StringValue(text));
                (name.to_owned(), ingestion::Value { kind })
            })
            .collect(),
        ..ingestion::Event::default()
    });
    let request =
        ingestion::IngestEventsRequest { source: "web".to_owned(), events: events.collect() };
    clients.ingestion().ingest_events(request).await.expect("ingestion answers");
}

/// A list of two people.
async fn list(ada: &Clients) {
    let definition = Some(metrics::cohort::Definition::List(metrics::CohortMemberList::default()));
    let cohort =
        metrics::Cohort { name: "callers".to_owned(), definition, ..metrics::Cohort::default() };
    let request = metrics::ApplyCohortRequest { cohort: Some(cohort), ..Default::default() };
    ada.cohorts().apply_cohort(request).await.expect("the cohort is valid");
    let member =
        |value: &str| metrics::Subject { kind: "user_id".to_owned(), value: value.to_owned() };
    let upload = metrics::UploadCohortMembersRequest {
        cohort: "callers".to_owned(),
        mode: metrics::UploadMode::Replace.into(),
        members: vec![member(LENA), member("grace")],
    };
    let uploaded = ada.cohorts().upload_cohort_members(tokio_stream::iter([upload])).await;
    assert_eq!(uploaded.expect("a list").into_inner().members, 2);
}

/// Asks people something that tells of Lena in its evidence.
async fn ask(ada: &Clients, summary: &str) -> String {
    let question = approvals::DecisionRequest {
        action: "experiment.ship".to_owned(),
        subject: "experiments/checkout".to_owned(),
        summary: summary.to_owned(),
        diff_json: format!(r#"{{"variant": "treatment", "because": "{LENA} complained"}}"#),
        evidence: vec![approvals::Evidence {
            title: "complaint".to_owned(),
            json: format!(r#"{{"who": "{LENA}", "minutes": 12}}"#),
            source: "support".to_owned(),
        }],
        ..approvals::DecisionRequest::default()
    };
    let request = approvals::CreateDecisionRequestRequest {
        decision_request: Some(question),
        request_id: uuid::Uuid::new_v4().to_string(),
    };
    let asked = ada.approvals().create_decision_request(request).await.expect("it can be asked");
    asked.into_inner().decision_request.expect("a decision request").decision_request_id
}

async fn reject(bob: &Clients, id: &str) {
    let request = approvals::GetDecisionRequestRequest { decision_request_id: id.to_owned() };
    let seen = bob.approvals().get_decision_request(request).await.expect("it waits");
    let seen = seen.into_inner().decision_request.expect("a decision request");
    let verdict = approvals::RecordVerdictRequest {
        decision_request_id: id.to_owned(),
        kind: approvals::VerdictKind::Reject.into(),
        reason: format!("I spoke with {LENA}, it was something else"),
        review_cycle: seen.review_cycle,
        diff_digest: seen.diff_digest,
        ..Default::default()
    };
    bob.approvals().record_verdict(verdict).await.expect("bob may decide");
}

async fn runs(ada: &Clients) -> Vec<automations::Run> {
    let request =
        automations::ListRunsRequest { automation: "nudge".to_owned(), ..Default::default() };
    ada.automations().list_runs(request).await.expect("a read").into_inner().runs
}

/// Every row of every table of every service that names Lena, with its table.
async fn naming(suite: &Suite) -> Vec<String> {
    let pool = suite.database.pool();
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables
         WHERE schemaname IN ('ingestion', 'metrics', 'experiments', 'approvals', 'automations',
             'access', 'audit') ORDER BY 1",
    )
    .fetch_all(pool)
    .await
    .expect("the tables");
    let mut found = Vec::new();
    for table in tables {
        // Bytes are searched too: answers and requests are kept encoded.
        let rows: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(format!(
            "SELECT row_to_json(t)::text FROM {table} t
             WHERE position($1 IN row_to_json(t)::text) > 0 OR position($2 IN row_to_json(t)::text) > 0"
        )))
        .bind(LENA)
        .bind(hex::encode(LENA))
        .fetch_all(pool)
        .await
        .expect("the rows");
        found.extend(rows.into_iter().map(|row| format!("{table}: {row}")));
    }
    // The log does not read as text.
    let mut connection = pool.acquire().await.expect("a connection");
    let events =
        northstar_store::ingestion::log::read_after(&mut connection, suite.project, 0, 1_000);
    for event in events.await.expect("the log") {
        let told = format!("{event:?}");
        if told.contains(LENA) {
            found.push(format!("the log: {told}"));
        }
    }
    found
}

async fn erasure(dpo: &Clients, id: &str) -> ingestion::Erasure {
    let request = ingestion::GetErasureRequest { erasure_id: id.to_owned() };
    let found = dpo.subjects().get_erasure(request).await.expect("it is there");
    found.into_inner().erasure.expect("an erasure")
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_forgotten_is_forgotten_by_every_service() {
    let suite = Suite::start().await;
    let ada = suite.clients("ada", Role::Operator).await;
    let bob = suite.clients("bob", Role::Approver).await;
    let dpo = suite.clients("dpo", Role::Admin).await;
    define(&ada).await;
    let request = automations::ApplyAutomationRequest {
        automation: Some(automation()),
        ..Default::default()
    };
    ada.automations().apply_automation(request).await.expect("the automation is valid");
    activate(&ada, &bob).await;
    visit(&ada, &[LENA, "grace", "linus"]).await;
    let acted = until("three runs, done and told", async || {
        let found = runs(&ada).await;
        let waiting: i64 = sqlx::query_scalar("SELECT count(*) FROM automations.outbox")
            .fetch_one(suite.database.pool())
            .await
            .expect("a count");
        let settled = |run: &automations::Run| {
            matches!(
                run.state(),
                automations::RunState::Succeeded | automations::RunState::WouldHaveActed
            )
        };
        (found.len() == 3 && found.iter().all(settled) && waiting == 0).then_some(found)
    })
    .await;
    assert!(acted.iter().any(|run| run.subject == LENA), "{acted:?}");
    list(&ada).await;
    let decided = ask(&ada, &format!("ship, {LENA} waits for it")).await;
    reject(&bob, &decided).await;
    let pending = ask(&ada, "ship it").await;
    for statement in [
        "INSERT INTO experiments.exposures VALUES
             (1, 'checkout', 'lena-otto-4711', now(), true), (1, 'checkout', 'grace', now(), true)",
        "INSERT INTO metrics.scorecard_notes VALUES
             (gen_random_uuid(), 1, 'growth', '2026-03-02', 'ada', 'lena-otto-4711 left us', now())",
    ] {
        sqlx::query(statement).execute(suite.database.pool()).await.expect("a row");
    }
    let before = naming(&suite).await;
    for table in [
        "automations.runs",
        "approvals.decision_requests",
        "approvals.verdicts",
        "experiments.exposures",
        "metrics.cohort_members",
        "metrics.scorecard_notes",
        "access.idempotency_keys",
        "the log",
    ] {
        assert!(before.iter().any(|row| row.starts_with(table)), "{table}: {before:#?}");
    }

    let request = ingestion::EraseSubjectRequest {
        identifier: Some(ingestion::Identifier {
            kind: "user_id".to_owned(),
            value: LENA.to_owned(),
        }),
        reason: "GDPR article 17".to_owned(),
        proof: "ticket 4714".to_owned(),
        request_id: String::new(),
    };
    let entered = dpo.subjects().erase_subject(request).await.expect("it is entered");
    let id = entered.into_inner().erasure.expect("an erasure").erasure_id;

    // What is still to be decided keeps the words it was asked in, and everybody sees who waits.
    let waiting = until("all but approvals", async || {
        let found = erasure(&dpo, &id).await;
        let done = found.followers.iter().filter(|follower| follower.done).count();
        let told = found.followers.iter().any(|follower| !follower.note.is_empty());
        (done == 3 && told).then_some(found)
    })
    .await;
    assert_eq!(waiting.state(), ingestion::ErasureState::Following);
    let names: Vec<_> = waiting
        .followers
        .iter()
        .map(|follower| (follower.service.as_str(), follower.done))
        .collect();
    assert_eq!(
        names,
        [("approvals", false), ("automations", true), ("experiments", true), ("metrics", true)]
    );
    assert_eq!(
        waiting.followers[0].note,
        "1 decision requests that name the subject are still pending"
    );
    decide(&bob, &pending).await;
    let done = until("the end of the erasure", async || {
        let found = erasure(&dpo, &id).await;
        (found.state() == ingestion::ErasureState::Done).then_some(found)
    })
    .await;
    assert!(
        done.followers.iter().all(|follower| follower.done && follower.records > 0),
        "{done:?}"
    );
    // The audit log is never changed: whoever gives a reason there must not name a subject.
    let left = naming(&suite).await;
    assert!(left.iter().all(|row| row.starts_with("audit.entries")), "{left:#?}");
    assert!(left.iter().all(|row| row.contains("decision.verdict")), "{left:#?}");

    // Everything else is as it was: runs with one subject instead of another, in the log the same.
    let after = runs(&ada).await;
    assert_eq!(after.len(), 3);
    let pseudonym = after.iter().find(|run| run.subject.starts_with("erased-"));
    let pseudonym = &pseudonym.expect("a run under a pseudonym").subject;
    let exposed: Vec<String> =
        sqlx::query_scalar("SELECT user_id FROM experiments.exposures ORDER BY user_id")
            .fetch_all(suite.database.pool())
            .await
            .expect("the exposures");
    assert_eq!(exposed, [pseudonym.as_str(), "grace"]);
    let request = approvals::GetDecisionRequestRequest { decision_request_id: decided };
    let read = bob.approvals().get_decision_request(request).await.expect("it reads back");
    let read = read.into_inner().decision_request.expect("a decision request");
    assert_eq!(read.summary, format!("ship, {pseudonym} waits for it"));
    let evidence: serde_json::Value =
        serde_json::from_str(&read.evidence[0].json).expect("evidence is JSON");
    assert_eq!(evidence, serde_json::json!({"who": pseudonym, "minutes": 12}));
    // Who did what is audited, without a name.
    let audited: Vec<String> = sqlx::query_scalar(
        "SELECT actor FROM audit.entries WHERE action = 'subject.forgotten' ORDER BY actor",
    )
    .fetch_all(suite.database.pool())
    .await
    .expect("the audit log");
    for actor in [
        "northstar-approvals",
        "northstar-automations",
        "northstar-experiments",
        "northstar-metrics",
    ] {
        assert!(audited.iter().any(|found| found == actor), "{actor}: {audited:?}");
    }
    suite.stop().await;
}
