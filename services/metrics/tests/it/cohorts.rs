//! Cohorts over gRPC: who is in them, and questions about them only or by them.

use std::collections::BTreeSet;

use northstar_client::Clients;
use northstar_proto::ingestion::v1 as log;
use northstar_proto::metrics::v1 as pb;
use northstar_proto::metrics::v1::cohort::Definition;
use northstar_proto::metrics::v1::cohort_rule::Rule;
use serde_json::json;

use crate::suite::{
    Suite, blamed_fields, count, event, ingest, question, reason, selector, timestamp, unique,
};

const FROM: &str = "2026-03-01T00:00:00Z";
const TO: &str = "2026-04-01T00:00:00Z";

fn did(event: &str, at_least: i64) -> Rule {
    Rule::Did(pb::CohortDidRule {
        event: Some(selector(event)),
        at_least: Some(at_least),
        ..Default::default()
    })
}

pub fn by_rule(name: &str, rule: Rule) -> pb::Cohort {
    let definition = Some(Definition::Rule(pb::CohortRule { rule: Some(rule) }));
    pb::Cohort { name: name.to_owned(), definition, ..Default::default() }
}

pub fn by_list(name: &str) -> pb::Cohort {
    let definition = Some(Definition::List(pb::CohortMemberList::default()));
    pb::Cohort { name: name.to_owned(), definition, ..Default::default() }
}

pub async fn apply(clients: &Clients, cohort: pb::Cohort) -> Result<pb::Cohort, tonic::Status> {
    let request = pb::ApplyCohortRequest { cohort: Some(cohort), ..Default::default() };
    Ok(clients.cohorts().apply_cohort(request).await?.into_inner().cohort.unwrap())
}

pub fn user(value: &str) -> pb::Subject {
    pb::Subject { kind: "user_id".to_owned(), value: value.to_owned() }
}

pub async fn upload(clients: &Clients, cohort: &str, mode: pb::UploadMode, users: &[&str]) -> i64 {
    let mut parts = vec![pb::UploadCohortMembersRequest {
        cohort: cohort.to_owned(),
        mode: mode.into(),
        members: Vec::new(),
    }];
    parts.extend(users.iter().map(|value| pb::UploadCohortMembersRequest {
        members: vec![user(value)],
        ..Default::default()
    }));
    let request = futures::stream::iter(parts);
    clients.cohorts().upload_cohort_members(request).await.unwrap().into_inner().members
}

/// Size and members, from one answer.
pub async fn members(
    clients: &Clients,
    request: pb::QueryCohortRequest,
) -> (pb::CohortSize, Vec<String>) {
    let request = pb::QueryCohortRequest { members: true, ..request };
    let mut parts = clients.cohorts().query_cohort(request).await.unwrap().into_inner();
    let size = parts.message().await.unwrap().unwrap().size.unwrap();
    let mut members = Vec::new();
    while let Some(part) = parts.message().await.unwrap() {
        assert_eq!(part.size, None);
        members.extend(part.members.into_iter().map(|member| member.value));
    }
    (size, members)
}

pub fn of(cohort: &str) -> pb::QueryCohortRequest {
    let time = Some(timestamp(TO));
    pb::QueryCohortRequest { cohort: cohort.to_owned(), time, ..Default::default() }
}

/// Three users who visit; ada does it three times and pays.
async fn start() -> Suite {
    let suite = Suite::start().await;
    suite
        .ingest(vec![
            event("visit", "ada", "2026-03-01T10:00:00Z").with(json!({"plan": "free"})),
            event("visit", "ada", "2026-03-02T10:00:00Z"),
            event("visit", "ada", "2026-03-03T10:00:00Z"),
            event("paid", "ada", "2026-03-04T10:00:00Z").with(json!({"plan": "pro"})),
            event("visit", "grace", "2026-03-02T10:00:00Z").with(json!({"plan": "pro"})),
            event("visit", "linus", "2026-03-03T10:00:00Z").with(json!({"plan": "free"})),
        ])
        .await;
    suite.metric("visits", count("visit")).await;
    suite.metric("visitors", unique("visit")).await;
    suite
}

#[tokio::test]
async fn rules_say_who_is_in_and_when() {
    let suite = start().await;
    let analyst = &suite.analyst;
    let pro = Rule::Property(pb::CohortPropertyRule {
        name: "plan".to_owned(),
        condition: "properties.plan == \"pro\"".to_owned(),
        ..Default::default()
    });
    let not = |rule| Rule::Not(Box::new(pb::CohortRule { rule: Some(rule) }));
    let all = |rules: Vec<Rule>| {
        let rules = rules.into_iter().map(|rule| pb::CohortRule { rule: Some(rule) }).collect();
        Rule::All(pb::CohortRules { rules })
    };
    let sequence = Rule::Sequence(pb::CohortSequenceRule {
        steps: vec![selector("visit"), selector("paid")],
        ..Default::default()
    });
    let newcomers = Rule::FirstTime(pb::CohortFirstTimeRule {
        event: Some(selector("visit")),
        start_time: Some(timestamp("2026-03-02T00:00:00Z")),
        end_time: Some(timestamp("2026-03-03T00:00:00Z")),
    });
    let cases = [
        ("regulars", did("visit", 3), vec!["ada"]),
        ("pro", pro.clone(), vec!["ada", "grace"]),
        ("pro-not-paying", all(vec![pro, not(did("paid", 1))]), vec!["grace"]),
        ("converted", sequence, vec!["ada"]),
        ("newcomers", newcomers, vec!["grace"]),
        ("silent", not(did("visit", 1)), vec![]),
    ];
    for (name, rule, expected) in cases {
        apply(analyst, by_rule(name, rule)).await.unwrap();
        let (size, found) = members(analyst, of(name)).await;
        assert_eq!(found, expected, "{name}");
        assert_eq!(size.members, expected.len() as i64);
        assert_eq!(size.log_position, 6);
    }
    let over_time = pb::QueryCohortRequest {
        start_time: Some(timestamp("2026-03-01T00:00:00Z")),
        time: Some(timestamp("2026-03-06T00:00:00Z")),
        grain: pb::Grain::Day.into(),
        ..of("pro")
    };
    let (size, _) = members(analyst, over_time).await;
    let sizes: Vec<i64> = size.sizes.iter().map(|at| at.members).collect();
    assert_eq!(sizes, [0, 1, 1, 2, 2]);
    let after = pb::QueryCohortRequest { after: Some(user("ada")), limit: 1, ..of("pro") };
    let (size, rest) = members(analyst, after).await;
    assert_eq!((size.members, rest), (2, vec!["grace".to_owned()]));
}

#[tokio::test]
async fn a_cohort_narrows_a_question_and_divides_it() {
    let suite = start().await;
    apply(&suite.analyst, by_rule("regulars", did("visit", 3))).await.unwrap();
    apply(&suite.analyst, by_list("friends")).await.unwrap();
    let known =
        upload(&suite.analyst, "friends", pb::UploadMode::Replace, &["grace", "linus", "stranger"]);
    assert_eq!(known.await, 3);
    let ask = async |metric: &str, cohorts: &[&str], by: &[&str]| {
        let request = pb::QueryMetricRequest {
            cohorts: cohorts.iter().map(|name| (*name).to_owned()).collect(),
            breakdowns: by.iter().map(|name| (*name).to_owned()).collect(),
            ..question(metric, FROM, TO)
        };
        suite.query(request).await.unwrap()
    };
    let value = async |metric: &str, cohorts: &[&str]| {
        ask(metric, cohorts, &[]).await.rows[0].value.unwrap()
    };
    assert_eq!(value("visits", &["regulars"]).await, 3.0);
    assert_eq!(value("visits", &["friends"]).await, 2.0);
    assert_eq!(value("visitors", &["friends"]).await, 2.0);
    assert_eq!(value("visits", &["friends", "regulars"]).await, 0.0);
    let divided = ask("visits", &[], &["cohort.regulars"]).await;
    let parts: Vec<_> = divided
        .rows
        .iter()
        .map(|row| (row.dimensions["cohort.regulars"].as_str(), row.value.unwrap()))
        .collect();
    assert_eq!(parts, [("in", 3.0), ("out", 2.0)]);
    let digest =
        |answer: &pb::QueryMetricResponse| answer.provenance.as_ref().unwrap().digest.clone();
    let of_list = ask("visits", &["friends"], &[]).await;
    upload(&suite.analyst, "friends", pb::UploadMode::Add, &["nobody"]).await;
    let of_other_list = ask("visits", &["friends"], &[]).await;
    assert_ne!(digest(&of_list), digest(&of_other_list), "another list is another question");

    let missing = pb::QueryMetricRequest {
        cohorts: vec!["nobody-knows".to_owned()],
        ..question("visits", FROM, TO)
    };
    assert_eq!(reason(&suite.query(missing).await.unwrap_err()), "NOT_FOUND");
}

async fn merge(suite: &Suite, from: &str, to: &str) {
    let identifier =
        |value: &str| Some(log::Identifier { kind: "user_id".to_owned(), value: value.to_owned() });
    let request = log::MergeSubjectsRequest {
        from: identifier(from),
        to: identifier(to),
        reason: "the same person".to_owned(),
        ..Default::default()
    };
    suite.operator().subjects().merge_subjects(request).await.unwrap();
}

#[tokio::test]
async fn merges_and_consent_change_rules_and_leave_lists_and_erasure_changes_both() {
    let suite = start().await;
    apply(&suite.analyst, by_rule("visitors", did("visit", 1))).await.unwrap();
    let request = pb::SnapshotCohortRequest {
        cohort: "visitors".to_owned(),
        name: "visitors-then".to_owned(),
        request_id: uuid::Uuid::now_v7().to_string(),
    };
    let mut cohorts = suite.analyst.cohorts();
    let kept = cohorts.snapshot_cohort(request.clone()).await.unwrap().into_inner();
    assert_eq!(cohorts.snapshot_cohort(request).await.unwrap().into_inner(), kept);
    assert_eq!(kept.members, 3);
    let Some(Definition::List(list)) = kept.cohort.unwrap().definition else { panic!("a list") };
    let origin = list.snapshot_of.unwrap();
    assert_eq!((origin.cohort.as_str(), origin.version, origin.log_position), ("visitors", 1, 6));
    let taken = pb::SnapshotCohortRequest {
        cohort: "visitors".to_owned(),
        name: "visitors-then".to_owned(),
        request_id: String::new(),
    };
    let refused = cohorts.snapshot_cohort(taken).await.unwrap_err();
    assert_eq!(blamed_fields(&refused), ["name"]);

    let both = async || {
        let (_, by_rule) = members(&suite.analyst, of("visitors")).await;
        let (size, by_list) = members(&suite.analyst, of("visitors-then")).await;
        assert_eq!(size.members, by_list.len() as i64);
        (by_rule, by_list)
    };
    let everybody = ["ada", "grace", "linus"].map(str::to_owned).to_vec();
    merge(&suite, "grace", "ada").await;
    assert_eq!(both().await, (vec!["ada".to_owned(), "linus".to_owned()], everybody.clone()));
    let consent = log::RecordConsentRequest {
        identifier: Some(log::Identifier { kind: "user_id".to_owned(), value: "linus".to_owned() }),
        denied_purposes: vec!["analytics".to_owned()],
        reason: "settings page".to_owned(),
        ..Default::default()
    };
    suite.operator().subjects().record_consent(consent).await.unwrap();
    assert_eq!(both().await, (vec!["ada".to_owned()], everybody));
    suite.erase("linus").await;
    let (_, list) = both().await;
    assert_eq!(list, ["ada", "grace"]);
}

#[tokio::test]
async fn a_size_is_that_of_its_members_while_events_come_in() {
    let suite = Suite::start().await;
    apply(&suite.analyst, by_rule("visitors", did("visit", 1))).await.unwrap();
    let writers = (0..4).map(|writer| {
        let producer = suite.producer.clone();
        tokio::spawn(async move {
            for batch in 0..10 {
                let visits = (0..20).map(|visit| {
                    let user = format!("user-{writer}-{batch}-{visit}");
                    event("visit", &user, "2026-03-02T10:00:00Z").into_proto()
                });
                ingest(&producer, visits.collect()).await;
            }
        })
    });
    // Before anybody writes, however fast they are.
    let (size, nobody) = members(&suite.analyst, of("visitors")).await;
    assert_eq!((size.members, nobody.len()), (0, 0));
    let writers: Vec<_> = writers.collect();
    let mut sizes = BTreeSet::from([0]);
    while !writers.iter().all(|writer| writer.is_finished()) {
        let (size, members) = members(&suite.analyst, of("visitors")).await;
        assert_eq!(size.members, members.len() as i64);
        assert_eq!(members.iter().collect::<BTreeSet<_>>().len(), members.len());
        sizes.insert(size.members);
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let (size, members) = members(&suite.analyst, of("visitors")).await;
    assert_eq!((size.members, members.len()), (800, 800));
    sizes.insert(800);
    assert!(sizes.len() > 1, "the test saw no growth: {sizes:?}");
}

#[tokio::test]
async fn cohorts_are_listed_checked_and_deleted() {
    let suite = start().await;
    let mut cohorts = suite.analyst.cohorts();
    let bad = by_rule(
        "bad",
        Rule::Property(pb::CohortPropertyRule {
            condition: "properties.plan ==".to_owned(),
            ..Default::default()
        }),
    );
    let refused = apply(&suite.analyst, bad).await.unwrap_err();
    assert_eq!(
        blamed_fields(&refused),
        ["cohort.rule.property.name", "cohort.rule.property.where"]
    );
    let none = pb::Cohort { name: "none".to_owned(), ..Default::default() };
    let refused = apply(&suite.analyst, none).await.unwrap_err();
    assert_eq!(blamed_fields(&refused), ["cohort.rule"]);

    apply(&suite.analyst, by_list("list")).await.unwrap();
    let applied = apply(&suite.analyst, by_rule("rule", did("visit", 1))).await.unwrap();
    let again = apply(&suite.analyst, by_rule("rule", did("visit", 1))).await.unwrap();
    assert_eq!(again, applied);
    assert_eq!(upload(&suite.analyst, "list", pb::UploadMode::Add, &["ada", "ada", "b"]).await, 2);
    assert_eq!(upload(&suite.analyst, "list", pb::UploadMode::Remove, &["b", "c"]).await, 1);
    let parts = vec![pb::UploadCohortMembersRequest {
        cohort: "rule".to_owned(),
        members: vec![user("ada")],
        ..Default::default()
    }];
    let refused = cohorts.upload_cohort_members(futures::stream::iter(parts)).await.unwrap_err();
    assert_eq!(blamed_fields(&refused), ["cohort"]);

    let page = |token: &str| pb::ListCohortsRequest { page_size: 1, page_token: token.to_owned() };
    let first = cohorts.list_cohorts(page("")).await.unwrap().into_inner();
    assert_eq!(first.cohorts[0].name, "list");
    let second = cohorts.list_cohorts(page(&first.next_page_token)).await.unwrap().into_inner();
    assert_eq!(second.cohorts, [applied]);
    assert_eq!(second.next_page_token, "");

    let name = || "list".to_owned();
    let stale = pb::DeleteCohortRequest { name: name(), etag: "other".to_owned() };
    let refused = cohorts.delete_cohort(stale).await.unwrap_err();
    assert_eq!(reason(&refused), "ETAG_MISMATCH");
    for _ in 0..2 {
        let request = pb::DeleteCohortRequest { name: name(), etag: String::new() };
        cohorts.delete_cohort(request).await.unwrap();
    }
    let gone = cohorts.get_cohort(pb::GetCohortRequest { name: name() }).await.unwrap_err();
    assert_eq!(reason(&gone), "NOT_FOUND");
    // A new list under the name begins empty.
    apply(&suite.analyst, by_list("list")).await.unwrap();
    assert_eq!(members(&suite.analyst, of("list")).await.1, Vec::<String>::new());
}

#[tokio::test]
async fn a_list_behind_a_journey_of_a_cohort_holds_while_the_cohort_grows() {
    let suite = start().await;
    apply(&suite.analyst, by_rule("visitors", did("visit", 1))).await.unwrap();
    let scope = pb::JourneyScope {
        start_time: Some(timestamp(FROM)),
        end_time: Some(timestamp(TO)),
        cohorts: vec!["visitors".to_owned()],
        ..Default::default()
    };
    let visit = pb::JourneyStep { event: Some(selector("visit")), ..Default::default() };
    let question =
        pb::FunnelQuestion { scope: Some(scope), steps: vec![visit], ..Default::default() };
    let page = async |page_token: &str| {
        let request = pb::ListFunnelSubjectsRequest {
            question: Some(question.clone()),
            step: 1,
            page_size: 2,
            page_token: page_token.to_owned(),
            ..Default::default()
        };
        suite.analyst.journeys().list_funnel_subjects(request).await.unwrap().into_inner()
    };
    let values = |page: &pb::ListFunnelSubjectsResponse| {
        page.subjects.iter().map(|subject| subject.value.clone()).collect::<Vec<_>>()
    };
    let first = page("").await;
    assert_eq!((values(&first), first.total_size), (vec!["ada".into(), "grace".into()], 3));
    suite.ingest(vec![event("visit", "barbara", "2026-03-02T10:00:00Z")]).await;
    let second = page(&first.next_page_token).await;
    assert_eq!((values(&second), second.total_size), (vec!["linus".into()], 3));
    assert_eq!(page("").await.total_size, 4);
}
