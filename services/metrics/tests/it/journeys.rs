//! Questions about journeys: numbers, the subjects behind them, and the log they come from.

use northstar_proto::metrics::v1 as pb;
use serde_json::json;
use tonic::{Code, Status};

use crate::suite::{Suite, blamed_fields, event, reason, selector, timestamp};

const FROM: &str = "2026-03-01";
const TO: &str = "2026-03-15";

fn scope() -> pb::JourneyScope {
    pb::JourneyScope {
        start_time: Some(timestamp(FROM)),
        end_time: Some(timestamp(TO)),
        ..Default::default()
    }
}

fn funnel(steps: &[&str]) -> pb::FunnelQuestion {
    let step = |name: &&str| pb::JourneyStep { event: Some(selector(name)), ..Default::default() };
    pb::FunnelQuestion {
        scope: Some(scope()),
        steps: steps.iter().map(step).collect(),
        ..Default::default()
    }
}

/// Sign-ups and what became of them.
async fn shop() -> Suite {
    let suite = Suite::start().await;
    suite
        .ingest(vec![
            event("Signed Up", "ada", "2026-03-01T09:00:00Z").with(json!({"plan": "pro"})),
            event("Signed Up", "bob", "2026-03-01T10:00:00Z").with(json!({"plan": "free"})),
            event("Signed Up", "cleo", "2026-03-02T10:00:00Z").with(json!({"plan": "free"})),
            event("Signed Up", "dan", "2026-03-03T10:00:00Z"),
            event("Project Created", "ada", "2026-03-01T09:10:00Z"),
            event("Project Created", "bob", "2026-03-01T11:00:00Z"),
            event("Paid", "ada", "2026-03-02T09:00:00Z").with(json!({"amount": 20})),
            event("Paid", "ada", "2026-03-09T09:00:00Z").with(json!({"amount": 5})),
        ])
        .await;
    suite
}

async fn ask(
    suite: &Suite,
    request: pb::QueryFunnelRequest,
) -> Result<Vec<pb::QueryFunnelResponse>, Status> {
    let mut messages = suite.analyst.journeys().query_funnel(request).await?.into_inner();
    let mut all = Vec::new();
    while let Some(message) = messages.message().await? {
        all.push(message);
    }
    Ok(all)
}

async fn answer(suite: &Suite, question: pb::FunnelQuestion) -> pb::QueryFunnelResponse {
    let request = pb::QueryFunnelRequest { question: Some(question), ..Default::default() };
    let mut messages = ask(suite, request).await.unwrap();
    assert_eq!(messages.len(), 1);
    messages.remove(0)
}

fn counts(row: &pb::FunnelRow) -> Vec<i64> {
    row.steps.iter().map(|step| step.count).collect()
}

fn names(subjects: &[pb::Subject]) -> Vec<&str> {
    subjects.iter().map(|subject| subject.value.as_str()).collect()
}

#[tokio::test]
async fn a_funnel_has_its_counts_groups_trend_and_times() {
    let suite = shop().await;
    let mut question = funnel(&["Signed Up", "Project Created", "Paid"]);
    question.trend = pb::Grain::Day.into();
    question.scope.as_mut().unwrap().breakdowns = vec!["plan".to_owned()];
    let found = answer(&suite, question).await;
    let of = |kind: pb::FunnelRowKind| {
        found.rows.iter().filter(move |row| row.kind() == kind).collect::<Vec<_>>()
    };
    let total = of(pb::FunnelRowKind::Total)[0];
    assert_eq!(counts(total), [4, 2, 1]);
    assert_eq!(total.conversion, Some(0.25));
    assert_eq!(total.steps[1].times.as_ref().unwrap().p50_seconds, 35.0 * 60.0);
    assert_eq!(total.times.as_ref().unwrap().mean_seconds, 86_400.0);
    // The newest event is of the 9th, and windows are 14 days.
    assert_eq!((total.open, total.complete), (3, false));
    let groups: Vec<_> = of(pb::FunnelRowKind::Group)
        .iter()
        .map(|row| (row.dimensions.get("plan").cloned(), counts(row)))
        .collect();
    assert_eq!(
        groups,
        [
            (Some("free".to_owned()), vec![2, 1, 0]),
            (Some("pro".to_owned()), vec![1, 1, 1]),
            (None, vec![1, 0, 0]),
        ]
    );
    let entered: i64 = of(pb::FunnelRowKind::Trend).iter().map(|row| row.steps[0].count).sum();
    assert_eq!(entered, 4);
    let provenance = found.provenance.unwrap();
    assert_eq!((provenance.log_position, provenance.digest.len()), (8, 64));
}

#[tokio::test]
async fn the_window_starts_with_the_first_step_and_its_end_may_belong_to_it() {
    let suite = Suite::start().await;
    suite
        .ingest(vec![
            event("A", "ada", "2026-03-01T01:00:00Z"),
            event("A", "ada", "2026-03-01T01:30:00Z"),
            event("B", "ada", "2026-03-01T01:45:00Z"),
            event("C", "ada", "2026-03-01T02:15:00Z"),
            event("C", "ada", "2026-03-01T02:30:00Z"),
        ])
        .await;
    let mut question = funnel(&["A", "B", "C"]);
    question.window = Some(prost_types::Duration { seconds: 3_600, nanos: 0 });
    question.anchor = pb::FunnelAnchor::FirstTouch.into();
    assert_eq!(counts(&answer(&suite, question.clone()).await.rows[0]), [1, 1, 0]);
    question.anchor = pb::FunnelAnchor::BestAttempt.into();
    assert_eq!(counts(&answer(&suite, question.clone()).await.rows[0]), [1, 1, 1]);
    // 45 minutes after the second A, to the second.
    question.window = Some(prost_types::Duration { seconds: 45 * 60, nanos: 0 });
    assert_eq!(counts(&answer(&suite, question.clone()).await.rows[0]), [1, 1, 1]);
    question.window_boundary = pb::WindowBoundary::Exclusive.into();
    assert_eq!(counts(&answer(&suite, question).await.rows[0]), [1, 1, 0]);
}

#[tokio::test]
async fn a_list_is_of_the_log_as_it_was_for_its_first_page() {
    let suite = shop().await;
    let question = funnel(&["Signed Up", "Project Created"]);
    let request = pb::ListFunnelSubjectsRequest {
        question: Some(question.clone()),
        step: 2,
        outcome: pb::FunnelOutcome::Dropped.into(),
        page_size: 1,
        ..Default::default()
    };
    let list = async |request: &pb::ListFunnelSubjectsRequest| {
        suite.analyst.journeys().list_funnel_subjects(request.clone()).await
    };
    let first = list(&request).await.unwrap().into_inner();
    assert_eq!((names(&first.subjects), first.total_size), (vec!["cleo"], 2));
    let before = answer(&suite, question.clone()).await.provenance.unwrap();

    // Dan gets further, and somebody else drops out.
    suite
        .ingest(vec![
            event("Project Created", "dan", "2026-03-04T10:00:00Z"),
            event("Signed Up", "eve", "2026-03-04T10:00:00Z"),
        ])
        .await;
    let next = pb::ListFunnelSubjectsRequest {
        page_token: first.next_page_token.clone(),
        ..request.clone()
    };
    let second = list(&next).await.unwrap().into_inner();
    assert_eq!((names(&second.subjects), second.total_size), (vec!["dan"], 2));
    assert_eq!((second.next_page_token.as_str(), second.log_position), ("", first.log_position));
    let now = list(&pb::ListFunnelSubjectsRequest { page_size: 10, ..request.clone() }).await;
    assert_eq!(names(&now.unwrap().into_inner().subjects), ["cleo", "eve"]);

    // The position gives the same answer, and the same digest.
    let mut again = question.clone();
    again.scope.as_mut().unwrap().log_position = before.log_position;
    let again = answer(&suite, again).await;
    assert_eq!(counts(&again.rows[0]), [4, 2]);
    assert_eq!(again.provenance.unwrap().digest, before.digest);

    // A token is good for its own list only.
    let other = pb::ListFunnelSubjectsRequest { step: 1, outcome: 0, ..next };
    let refused = list(&other).await.unwrap_err();
    assert_eq!(blamed_fields(&refused), ["page_token"]);
}

#[tokio::test]
async fn a_period_is_compared_with_another_from_the_same_view() {
    let suite = shop().await;
    let mut question = funnel(&["Signed Up", "Project Created"]);
    let scope = question.scope.as_mut().unwrap();
    scope.start_time = Some(timestamp("2026-03-02"));
    scope.end_time = Some(timestamp("2026-03-03"));
    let request = pb::QueryFunnelRequest {
        question: Some(question),
        compare_start_time: Some(timestamp("2026-03-01")),
        ..Default::default()
    };
    let messages = ask(&suite, request).await.unwrap();
    let found: Vec<_> =
        messages.iter().map(|message| (message.period(), counts(&message.rows[0]))).collect();
    assert_eq!(
        found,
        [(pb::JourneyPeriod::Current, vec![1, 0]), (pb::JourneyPeriod::Compared, vec![2, 2]),]
    );
}

#[tokio::test]
async fn retention_is_told_of_the_bracket_before_too() {
    let suite = Suite::start().await;
    let mut events = vec![event("Looked", "eve", "2026-03-05T09:00:00Z")];
    events.extend(
        ["ada", "bob", "cleo", "dan"].map(|who| event("Joined", who, "2026-03-01T08:00:00Z")),
    );
    for (day, came_back) in [
        ("2026-03-01T09:00:00Z", &["ada", "bob", "cleo"][..]),
        ("2026-03-02T09:00:00Z", &["ada", "bob"][..]),
        ("2026-03-03T09:00:00Z", &["bob"][..]),
        ("2026-03-05T09:00:00Z", &["bob"][..]),
    ] {
        events.extend(came_back.iter().map(|who| event("Back", who, day)));
    }
    suite.ingest(events).await;
    let question = pb::RetentionQuestion {
        scope: Some(scope()),
        start: Some(selector("Joined")),
        r#return: Some(selector("Back")),
        brackets: [0, 1, 2, 3, 4]
            .map(|unit| pb::RetentionBracket { first: unit, last: unit })
            .to_vec(),
        ..Default::default()
    };
    let request = pb::QueryRetentionRequest { question: Some(question), ..Default::default() };
    let mut messages =
        suite.analyst.journeys().query_retention(request).await.unwrap().into_inner();
    let cells = messages.message().await.unwrap().unwrap().cohorts.remove(0).cells;
    let shares: Vec<_> = cells.iter().map(|cell| (cell.rate, cell.of_previous)).collect();
    assert_eq!(
        shares,
        [
            (Some(0.75), None),
            (Some(0.5), Some(2.0 / 3.0)),
            (Some(0.25), Some(0.5)),
            (Some(0.0), Some(0.0)),
            // Not over yet.
            (None, None),
        ]
    );
}

#[tokio::test]
async fn retention_flags_what_is_not_over_and_lists_who_came_back() {
    let suite = shop().await;
    let question = pb::RetentionQuestion {
        scope: Some(scope()),
        start: Some(selector("Signed Up")),
        r#return: Some(selector("Paid")),
        cohorts: pb::Grain::Day.into(),
        brackets: [(0, 0), (1, 3), (4, 8)]
            .map(|(first, last)| pb::RetentionBracket { first, last })
            .to_vec(),
        value_property: "amount".to_owned(),
        mode: pb::ReturnMode::OnOrBefore.into(),
        ..Default::default()
    };
    let request =
        pb::QueryRetentionRequest { question: Some(question.clone()), ..Default::default() };
    let mut messages =
        suite.analyst.journeys().query_retention(request).await.unwrap().into_inner();
    let found = messages.message().await.unwrap().unwrap();
    let first = &found.cohorts[0];
    let cells: Vec<_> =
        first.cells.iter().map(|cell| (cell.eligible, cell.retained, cell.value)).collect();
    // The 9th is not over when the last event is of its morning.
    assert_eq!(cells, [(2, 0, 0.0), (2, 1, 20.0), (0, 0, 0.0)]);
    assert!(!first.cells[2].mature);
    assert_eq!((first.cells[2].begun, first.cells[2].begun_retained), (2, 1));
    assert_eq!(found.columns[1].value_per_subject, Some(5.0));
    assert_eq!(found.columns[2].rate, None);

    let request = pb::ListRetentionSubjectsRequest {
        question: Some(question),
        bucket_time: Some(timestamp("2026-03-01")),
        bracket_index: 1,
        outcome: pb::RetentionOutcome::Lost.into(),
        ..Default::default()
    };
    let page = suite.analyst.journeys().list_retention_subjects(request).await.unwrap();
    assert_eq!(names(&page.into_inner().subjects), ["bob"]);
}

#[tokio::test]
async fn a_lifecycle_names_the_dormant() {
    let suite = shop().await;
    let question =
        pb::LifecycleQuestion { scope: Some(scope()), event: None, period: pb::Grain::Day.into() };
    let request =
        pb::QueryLifecycleRequest { question: Some(question.clone()), ..Default::default() };
    let mut messages =
        suite.analyst.journeys().query_lifecycle(request).await.unwrap().into_inner();
    let found = messages.message().await.unwrap().unwrap();
    let rows: Vec<_> = found
        .periods
        .iter()
        .map(|row| (row.new, row.returning, row.resurrecting, row.dormant))
        .collect();
    assert_eq!(rows[..3], [(2, 0, 0, 0), (1, 1, 0, 1), (1, 0, 0, 2)]);
    assert_eq!(rows[8], (0, 0, 1, 0), "ada is back on the 9th");
    let request = pb::ListLifecycleSubjectsRequest {
        question: Some(question),
        bucket_time: Some(timestamp("2026-03-03")),
        state: pb::LifecycleState::Dormant.into(),
        ..Default::default()
    };
    let page = suite.analyst.journeys().list_lifecycle_subjects(request).await.unwrap();
    assert_eq!(names(&page.into_inner().subjects), ["ada", "cleo"]);
}

#[tokio::test]
async fn paths_lead_on_and_back_from_an_event() {
    let suite = shop().await;
    let question = pb::PathsQuestion {
        scope: Some(scope()),
        anchor: Some(selector("Signed Up")),
        across_sessions: true,
        ..Default::default()
    };
    let request = pb::QueryPathsRequest { question: Some(question.clone()), ..Default::default() };
    let mut messages = suite.analyst.journeys().query_paths(request).await.unwrap().into_inner();
    let (mut paths, mut nodes, mut edges) = (0, Vec::new(), Vec::new());
    while let Some(message) = messages.message().await.unwrap() {
        paths += message.paths;
        nodes.extend(message.nodes);
        edges.extend(message.edges);
    }
    assert_eq!(paths, 4);
    let of: Vec<_> = nodes
        .iter()
        .map(|node| (node.distance, node.step.clone().unwrap().event, node.count, node.dropped))
        .collect();
    let row = |distance, event: &str, count, dropped| (distance, event.to_owned(), count, dropped);
    assert_eq!(
        of,
        [row(0, "Signed Up", 4, 2), row(1, "Project Created", 2, 1), row(2, "Paid", 1, 1)]
    );
    assert_eq!(edges.len(), 2);
    let request = pb::ListPathSubjectsRequest {
        question: Some(question),
        distance: 1,
        step: Some(pb::PathStep { event: "Project Created".to_owned(), value: None }),
        dropped: true,
        ..Default::default()
    };
    let page = suite.analyst.journeys().list_path_subjects(request).await.unwrap();
    assert_eq!(names(&page.into_inner().subjects), ["bob"]);
}

#[tokio::test]
async fn everything_wrong_with_a_question_is_told_at_once() {
    let suite = Suite::start().await;
    let mut question = funnel(&["A", "B"]);
    question.steps[1].event.as_mut().unwrap().filter = "properties.x >".to_owned();
    question.order = 99;
    question.window = Some(prost_types::Duration { seconds: -1, nanos: 0 });
    question.scope.as_mut().unwrap().time_zone = "Mars/Olympus".to_owned();
    let request = pb::QueryFunnelRequest { question: Some(question), ..Default::default() };
    let refused = ask(&suite, request).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused)), (Code::InvalidArgument, "INVALID_FIELD".into()));
    let mut fields = blamed_fields(&refused);
    fields.sort();
    assert_eq!(
        fields,
        [
            "question.order",
            "question.scope.time_zone",
            "question.steps[1].event.filter",
            "question.window",
        ]
    );
    let mut beyond = funnel(&["A"]);
    beyond.scope.as_mut().unwrap().log_position = 1_000;
    let request = pb::QueryFunnelRequest { question: Some(beyond), ..Default::default() };
    let refused = ask(&suite, request).await.unwrap_err();
    assert_eq!(blamed_fields(&refused), ["question.scope.log_position"]);
    let request = pb::QueryFunnelRequest { question: Some(funnel(&[])), ..Default::default() };
    assert_eq!(blamed_fields(&ask(&suite, request).await.unwrap_err()), ["question.steps"]);
}

#[tokio::test]
async fn no_project_sees_the_journeys_of_another() {
    let suite = shop().await;
    let [analyst, producer] = suite.stranger().await;
    let eve = event("Signed Up", "eve", "2026-03-01T09:00:00Z").into_proto();
    crate::suite::ingest(&producer, vec![eve]).await;
    let mut journeys = analyst.journeys();

    let question = Some(funnel(&["Signed Up"]));
    let request = pb::QueryFunnelRequest { question: question.clone(), ..Default::default() };
    let mut messages = journeys.query_funnel(request).await.unwrap().into_inner();
    let found = messages.message().await.unwrap().unwrap();
    assert_eq!(counts(&found.rows[0]), [1]);
    let request = pb::ListFunnelSubjectsRequest { question, ..Default::default() };
    let page = journeys.list_funnel_subjects(request).await.unwrap().into_inner();
    assert_eq!((names(&page.subjects), page.total_size), (vec!["eve"], 1));

    let question = Some(pb::RetentionQuestion { scope: Some(scope()), ..Default::default() });
    let request = pb::QueryRetentionRequest { question: question.clone(), ..Default::default() };
    let mut messages = journeys.query_retention(request).await.unwrap().into_inner();
    let found = messages.message().await.unwrap().unwrap();
    assert_eq!(found.cohorts[0].entered, 1);
    let request = pb::ListRetentionSubjectsRequest { question, ..Default::default() };
    let page = journeys.list_retention_subjects(request).await.unwrap().into_inner();
    assert_eq!(names(&page.subjects), ["eve"]);

    let question = Some(pb::LifecycleQuestion { scope: Some(scope()), ..Default::default() });
    let request = pb::QueryLifecycleRequest { question: question.clone(), ..Default::default() };
    let mut messages = journeys.query_lifecycle(request).await.unwrap().into_inner();
    let found = messages.message().await.unwrap().unwrap();
    assert_eq!(found.periods.iter().map(|row| row.active).sum::<i64>(), 1);
    let request = pb::ListLifecycleSubjectsRequest {
        question,
        bucket_time: Some(timestamp(FROM)),
        state: pb::LifecycleState::New.into(),
        ..Default::default()
    };
    let page = journeys.list_lifecycle_subjects(request).await.unwrap().into_inner();
    assert_eq!(names(&page.subjects), ["eve"]);

    let question = Some(pb::PathsQuestion {
        scope: Some(scope()),
        anchor: Some(selector("Signed Up")),
        ..Default::default()
    });
    let request = pb::QueryPathsRequest { question: question.clone(), ..Default::default() };
    let mut messages = journeys.query_paths(request).await.unwrap().into_inner();
    assert_eq!(messages.message().await.unwrap().unwrap().paths, 1);
    let step = Some(pb::PathStep { event: "Signed Up".to_owned(), value: None });
    let request = pb::ListPathSubjectsRequest { question, step, ..Default::default() };
    let page = journeys.list_path_subjects(request).await.unwrap().into_inner();
    assert_eq!(names(&page.subjects), ["eve"]);
}

#[tokio::test]
async fn a_sum_goes_through_steps_that_follow_the_first_in_any_order() {
    let suite = Suite::start().await;
    suite
        .ingest(vec![
            event("Cart", "ada", "2026-03-01T09:00:00Z").with(json!({"value": 30})),
            event("Paid", "ada", "2026-03-01T10:00:00Z").with(json!({"value": 25})),
            event("Address", "ada", "2026-03-01T11:00:00Z"),
            event("Address", "bob", "2026-03-01T08:00:00Z"),
            event("Cart", "bob", "2026-03-01T09:00:00Z").with(json!({"value": 50})),
        ])
        .await;
    let question = pb::FunnelQuestion {
        order: pb::StepOrder::FirstThenAny.into(),
        value_property: "properties.value".to_owned(),
        value_step: 1,
        ..funnel(&["Cart", "Address", "Paid"])
    };
    let total = answer(&suite, question.clone()).await.rows.remove(0);
    assert_eq!(counts(&total), [2, 1, 1]);
    let steps: Vec<_> = total
        .steps
        .iter()
        .map(|step| (step.event.as_str(), step.value_sum, step.value_count, step.value_mean))
        .collect();
    assert_eq!(
        steps,
        [
            ("Cart", Some(80.0), 2, Some(40.0)),
            ("", Some(30.0), 1, Some(30.0)),
            ("", Some(30.0), 1, Some(30.0)),
        ]
    );
    let plain = pb::FunnelQuestion { value_property: String::new(), value_step: 0, ..question };
    assert_eq!(answer(&suite, plain.clone()).await.rows[0].steps[0].value_sum, None);
    let refused = pb::FunnelQuestion { value_step: 1, ..plain };
    let request = pb::QueryFunnelRequest { question: Some(refused), ..Default::default() };
    let refused = ask(&suite, request).await.unwrap_err();
    assert_eq!(blamed_fields(&refused), ["question.value_step"]);
}

#[tokio::test]
async fn retention_is_compared_with_the_previous_period_as_metrics_are() {
    let suite = Suite::start().await;
    let visit = |user: &str, at: &'static str| event("Visited", user, at);
    suite
        .ingest(vec![
            // In the first week of February one of two comes back the day after, in the first of March two of two.
            visit("ada", "2026-02-02T10:00:00Z"),
            visit("ada", "2026-02-03T10:00:00Z"),
            visit("bob", "2026-02-02T10:00:00Z"),
            visit("cleo", "2026-03-02T10:00:00Z"),
            visit("cleo", "2026-03-03T10:00:00Z"),
            visit("dan", "2026-03-03T10:00:00Z"),
            visit("dan", "2026-03-04T10:00:00Z"),
            // Nobody can have come back yet.
            visit("eve", "2026-03-05T10:00:00Z"),
        ])
        .await;
    let question = pb::RetentionQuestion {
        scope: Some(pb::JourneyScope {
            start_time: Some(timestamp("2026-03-01")),
            end_time: Some(timestamp("2026-03-08")),
            ..Default::default()
        }),
        start: Some(selector("Visited")),
        r#return: Some(selector("Visited")),
        cohorts: pb::Grain::Day.into(),
        brackets: vec![pb::RetentionBracket { first: 1, last: 1 }],
        ..Default::default()
    };
    let asked = async |request: pb::QueryRetentionRequest| {
        let mut journeys = suite.analyst.journeys();
        let mut messages = journeys.query_retention(request).await.unwrap().into_inner();
        let mut all = Vec::new();
        while let Some(message) = messages.message().await.unwrap() {
            all.push(message);
        }
        all
    };
    let request = pb::QueryRetentionRequest {
        question: Some(question.clone()),
        compare: pb::Comparison::PreviousMonth.into(),
        ..Default::default()
    };
    let messages = asked(request.clone()).await;
    let periods: Vec<_> = messages.iter().map(pb::QueryRetentionResponse::period).collect();
    assert_eq!(periods, [pb::JourneyPeriod::Current, pb::JourneyPeriod::Compared]);
    let [current, compared] = [&messages[0].columns[0], &messages[1].columns[0]];
    assert_eq!((current.rate, current.retained, current.eligible), (Some(1.0), 2, 2));
    assert_eq!((compared.rate, compared.retained, compared.eligible), (Some(0.5), 1, 2));
    assert_eq!((current.previous_rate, current.change), (Some(0.5), Some(0.5)));
    assert_eq!(current.relative_change, Some(1.0));
    assert_eq!((compared.previous_rate, compared.change), (None, None));
    // The cell of eve's cohort is flagged, and in no mean.
    let of_eve = messages[0]
        .cohorts
        .iter()
        .find(|cohort| cohort.bucket_time == Some(timestamp("2026-03-05")));
    let cell = &of_eve.unwrap().cells[0];
    assert!(!cell.mature);
    assert_eq!((cell.eligible, cell.rate), (0, None));
    let means: i64 = messages[0]
        .cohorts
        .iter()
        .map(|cohort| {
            let cell = &cohort.cells[0];
            if cell.mature { cell.eligible } else { 0 }
        })
        .sum();
    assert_eq!(means, current.eligible);
    let range = |message: &pb::QueryRetentionResponse| {
        let provenance = message.provenance.as_ref().unwrap();
        (provenance.start_time, provenance.end_time)
    };
    let of = |start, end| (Some(timestamp(start)), Some(timestamp(end)));
    assert_eq!(range(&messages[1]), of("2026-02-01", "2026-02-08"));

    let previous = pb::QueryRetentionRequest {
        compare: pb::Comparison::PreviousPeriod.into(),
        ..request.clone()
    };
    assert_eq!(range(&asked(previous).await[1]), of("2026-02-22", "2026-03-01"));
    let both =
        pb::QueryRetentionRequest { compare_start_time: Some(timestamp("2026-02-01")), ..request };
    let refused = suite.analyst.journeys().query_retention(both).await.unwrap_err();
    assert_eq!(blamed_fields(&refused), ["compare"]);
}
