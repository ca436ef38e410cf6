//! Reports: what they count, and how they read.

use std::path::Path;

use northstar_proto::ingestion::v1 as log;
use northstar_proto::metrics::v1 as pb;
use serde_json::json;

use crate::suite::{
    Event, Suite, blamed_fields, count, event, ingest_from, ratio, reason, timestamp,
};

/// Signups of a platform on a day, and how many of them were activated.
fn signups(day: &'static str, platform: &str, how_many: usize, activated: usize) -> Vec<Event> {
    let on = json!({ "platform": platform });
    let named = |name: &'static str, how_many: usize| {
        let on = on.clone();
        (0..how_many)
            .map(move |user| event(name, &format!("{day} {user}"), day).with(on.clone()))
            .collect::<Vec<_>>()
    };
    let mut events = named("Signed Up", how_many);
    events.extend(named("Activated", activated));
    events
}

/// What the suite tells of itself.
fn told(name: &'static str, at: &'static str, properties: serde_json::Value) -> log::Event {
    event(name, "principal:ada", at).with(properties).into_proto()
}

async fn kpi(suite: &Suite, name: &str, title: &str, metric: &str, layer: pb::Layer) {
    let (unit, baseline, target) = match layer {
        pb::Layer::Outcome => ("of signups", 0.25, 0.4),
        _ => ("signups", 50.0, 200.0),
    };
    let kpi = pb::Kpi {
        name: name.to_owned(),
        title: title.to_owned(),
        metric: metric.to_owned(),
        pillar: "growth".to_owned(),
        layer: layer.into(),
        owner: "the growth team".to_owned(),
        unit: unit.to_owned(),
        direction: pb::Direction::Increase.into(),
        baseline: Some(pb::Baseline {
            value: baseline,
            start_time: Some(timestamp("2026-02-01")),
            end_time: Some(timestamp("2026-03-01")),
        }),
        target: Some(pb::Target { value: target, due_time: Some(timestamp("2026-06-30")) }),
        guardrails: vec![pb::Guardrail {
            metric: "tickets".to_owned(),
            direction: pb::Direction::Decrease.into(),
            margin: 0.1,
        }],
        review_time: Some(timestamp("2026-05-01")),
        window_days: 7,
        ..pb::Kpi::default()
    };
    let request = pb::ApplyKpiRequest { kpi: Some(kpi), ..Default::default() };
    suite.analyst.metrics().apply_kpi(request).await.unwrap();
}

/// Activation fell from 0.3 to 0.2 in a week, and all of it on iOS.
async fn company() -> Suite {
    let suite = Suite::start().await;
    let pillar = pb::Pillar {
        name: "growth".to_owned(),
        title: "Growth".to_owned(),
        owner: "head of growth".to_owned(),
        ..pb::Pillar::default()
    };
    let request = pb::ApplyPillarRequest { pillar: Some(pillar), ..Default::default() };
    suite.analyst.metrics().apply_pillar(request).await.unwrap();
    for (name, of) in
        [("signups", "Signed Up"), ("activated", "Activated"), ("tickets", "Ticket Opened")]
    {
        suite.metric(name, count(of)).await;
    }
    suite.metric("activation-rate", ratio("activated", "signups")).await;
    kpi(&suite, "activation", "Activation", "activation-rate", pb::Layer::Outcome).await;
    kpi(&suite, "signups", "", "signups", pb::Layer::Driver).await;
    suite.ingest(signups("2026-03-20T10:00:00Z", "ios", 50, 20)).await;
    suite.ingest(signups("2026-03-20T10:00:00Z", "web", 50, 10)).await;
    suite.ingest(signups("2026-03-27T10:00:00Z", "ios", 50, 10)).await;
    suite.ingest(signups("2026-03-27T10:00:00Z", "web", 50, 10)).await;
    suite
}

async fn work(suite: &Suite) {
    let run = |arm: &str| {
        let properties = json!({ "automation": "nudge", "arm": arm });
        told("northstar.automation.run", "2026-03-24T09:00:00Z", properties)
    };
    let verdict = |subject: &str, seconds: Option<i64>| {
        let state = if seconds.is_some() { "approved" } else { "pending" };
        let mut properties = json!({ "subject": subject, "state": state });
        if let Some(seconds) = seconds {
            properties["handling_seconds"] = json!(seconds);
        }
        told("northstar.decision.verdict", "2026-03-25T09:00:00Z", properties)
    };
    let experiment = |step: &'static str| {
        told(step, "2026-03-26T09:00:00Z", json!({ "experiment": "short-checkout" }))
    };
    let events = vec![
        run("treated"),
        run("treated"),
        run("treated"),
        run("holdout"),
        verdict("kpis/activation", Some(3_600)),
        verdict("kpis/activation", Some(10_800)),
        // The first of two that a policy asks for decides nothing.
        verdict("kpis/activation", None),
        told(
            "northstar.decision.expired",
            "2026-03-26T09:00:00Z",
            json!({ "subject": "kpis/activation" }),
        ),
        told(
            "northstar.threshold.raised",
            "2026-03-26T09:00:00Z",
            json!({ "pillar": "growth", "automation": "" }),
        ),
        experiment("northstar.experiment.started"),
        experiment("northstar.experiment.stopped"),
        experiment("northstar.experiment.concluded"),
    ];
    ingest_from(&suite.operator(), "northstar", events).await;
    // Anybody may say so from a source of their own, but only the suite is believed.
    let forged = told(
        "northstar.automation.run",
        "2026-03-24T09:00:00Z",
        json!({ "automation": "nudge", "arm": "treated" }),
    );
    ingest_from(&suite.producer, "web", vec![forged]).await;
}

async fn weekly(
    suite: &Suite,
    week: &str,
    format: pb::ReportFormat,
) -> pb::GetWeeklyScorecardResponse {
    let request = pb::GetWeeklyScorecardRequest {
        week: week.to_owned(),
        time_zone: String::new(),
        format: format.into(),
    };
    suite.analyst.reports().get_weekly_scorecard(request).await.unwrap().into_inner()
}

async fn executive(
    suite: &Suite,
    request: pb::GetExecutiveReportRequest,
) -> pb::GetExecutiveReportResponse {
    suite.analyst.reports().get_executive_report(request).await.unwrap().into_inner()
}

fn value(figure: &Option<pb::Figure>) -> Option<f64> {
    figure.as_ref().unwrap().value
}

/// Digests change with whatever an answer is made of; the text beside them does not.
fn redacted(document: &str) -> String {
    document
        .split_inclusive([' ', '.', '"'])
        .map(|word| {
            let hex = word.trim_end_matches([' ', '.', '"']);
            let is_digest = (hex.len() == 12 || hex.len() == 64)
                && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
            if is_digest { word.replace(hex, "DIGEST") } else { word.to_owned() }
        })
        .collect()
}

/// A document is as it was; with NORTHSTAR_WRITE_GOLDEN it is written.
fn is_golden(name: &str, document: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden").join(name);
    let document = redacted(document);
    if std::env::var_os("NORTHSTAR_WRITE_GOLDEN").is_some() {
        std::fs::write(&file, &document).unwrap();
    }
    let golden = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        document == golden,
        "{name} differs; run this test with NORTHSTAR_WRITE_GOLDEN=1 and look at the \
         difference:\n{document}"
    );
}

#[tokio::test]
async fn a_weekly_scorecard_counts_the_work_of_a_week_by_pillar() {
    let suite = company().await;
    work(&suite).await;
    let request = pb::AddScorecardNoteRequest {
        pillar: "growth".to_owned(),
        week: "2026-03-25".to_owned(),
        text: "iOS 4.2 was <rolled out> | slowly".to_owned(),
        request_id: "0198c7e0-0000-7000-8000-000000000001".to_owned(),
    };
    let mut reports = suite.analyst.reports();
    let noted = reports.add_scorecard_note(request.clone()).await.unwrap().into_inner();
    assert_eq!(noted.note.as_ref().unwrap().week, "2026-03-23");
    assert_eq!(reports.add_scorecard_note(request).await.unwrap().into_inner(), noted);

    // The last week that is over began on 2026-03-23.
    let answer = weekly(&suite, "", pb::ReportFormat::Markdown).await;
    let card = answer.scorecard.clone().unwrap();
    assert_eq!(card.week, "2026-03-23");
    let [growth, unowned] = card.pillars.as_slice() else { panic!("{:#?}", card.pillars) };
    // Two questions that people decided; what automations did has no pillar, because
    // automations is not there to say.
    assert_eq!(value(&growth.throughput), Some(2.0));
    assert_eq!(value(&growth.median_handling_time), Some(2.0));
    assert_eq!(value(&growth.automatic_share), Some(0.0));
    assert_eq!(value(&growth.escalations), Some(2.0));
    assert_eq!(growth.kpis.len(), 1, "the outcome alone is primary");
    assert_eq!(growth.kpis[0].before, Some(0.3));
    assert_eq!(growth.kpis[0].kpi.as_ref().unwrap().value, Some(0.2));
    assert_eq!(growth.notes[0].author, "analyst");
    assert_eq!((unowned.pillar.as_str(), value(&unowned.throughput)), ("", Some(4.0)));
    assert_eq!(value(&unowned.automatic_share), Some(1.0));
    assert_eq!(value(&unowned.tests_documented), Some(1.0));
    assert_eq!(card.gaps.len(), 2);
    let provenance = growth.throughput.as_ref().unwrap().provenance.clone().unwrap();
    assert_eq!((provenance.log_position, provenance.digest.len()), (card.log_position, 64));
    assert_eq!(answer.media_type, "text/markdown; charset=utf-8");
    is_golden("weekly.md", &answer.document);
    let html = weekly(&suite, "2026-03-24", pb::ReportFormat::Html).await.document;
    assert!(html.contains("iOS 4.2 was &lt;rolled out&gt; | slowly"), "{html}");

    let json = weekly(&suite, "2026-03-24", pb::ReportFormat::Json).await.document;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["pillars"][0]["median_handling_time"]["value"], 2.0);
    assert_eq!(json["pillars"][0]["kpis"][0]["provenance"]["metric_version"], 1);

    // The same log gives the same report; a week before knows nothing of this one.
    assert_eq!(weekly(&suite, "", pb::ReportFormat::Markdown).await, answer);
    let earlier = weekly(&suite, "2026-03-16", pb::ReportFormat::Unspecified).await;
    assert_eq!(earlier.document, "");
    assert_eq!(value(&earlier.scorecard.unwrap().pillars[0].throughput), Some(0.0));
}

/// What the README lets the suite tell of itself: events, how many, and their properties.
fn of_the_readme(readme: &'static str) -> Vec<log::Event> {
    let (_, table) = readme.split_once("| event | properties | counts as |\n").unwrap();
    let mut events = Vec::new();
    for row in table.lines().skip(1).take_while(|line| line.starts_with('|')) {
        let cells: Vec<&'static str> = row.split('|').map(str::trim).collect();
        let (event, properties) = (cells[1], cells[2]);
        let (name, times) = event.split_once(" x ").unwrap();
        let pairs = properties.split(", ").map(|pair| pair.split_once(' ').unwrap());
        let properties: serde_json::Map<_, _> = pairs
            .map(|(name, value)| {
                let value = value.trim_matches('`');
                (
                    name.to_owned(),
                    value.parse().map_or_else(|_| json!(value), |number: i64| json!(number)),
                )
            })
            .collect();
        for _ in 0..times.parse::<usize>().unwrap() {
            let properties = serde_json::Value::Object(properties.clone());
            events.push(told(name.trim_matches('`'), "2026-03-02T09:00:00Z", properties));
        }
    }
    events
}

#[tokio::test]
async fn the_week_of_the_readme_counts_as_shown() {
    let suite = Suite::start().await;
    let readme = include_str!("../../README.md");
    let events = of_the_readme(readme);
    assert_eq!(events.len(), 5);
    ingest_from(&suite.operator(), "northstar", events).await;
    let card = weekly(&suite, "2026-03-02", pb::ReportFormat::Unspecified).await.scorecard.unwrap();
    let of = &card.pillars[0];
    let [throughput, hours, automatic] =
        [&of.throughput, &of.median_handling_time, &of.automatic_share]
            .map(|figure| value(figure).unwrap());
    let told = format!(
        "throughput {throughput}, median handling time {hours} hours, done automatically {automatic}."
    );
    assert!(readme.contains(&told), "the README does not say {told:?}");
}

#[tokio::test]
async fn an_executive_report_says_what_changed_why_and_what_is_next() {
    let suite = company().await;
    let request = |format: pb::ReportFormat| pb::GetExecutiveReportRequest {
        format: format.into(),
        ..pb::GetExecutiveReportRequest::default()
    };
    let answer = executive(&suite, request(pb::ReportFormat::Markdown)).await;
    let report = answer.report.unwrap();
    let [unit] = report.units.as_slice() else { panic!("{:#?}", report.units) };
    assert_eq!(unit.unit, "head of growth");
    assert!(unit.headline.starts_with("Activation fell by 33.3 %"), "{}", unit.headline);
    let driver = &unit.drivers[0];
    assert_eq!(driver.name, "platform ios");
    assert!((driver.contribution.unwrap() + 0.1).abs() < 1e-12);
    assert!((driver.share.unwrap() - 1.0).abs() < 1e-9);
    assert_eq!((driver.before, driver.after), (Some(0.4), Some(0.2)));
    assert!(driver.command.contains("--by platform"), "{}", driver.command);
    let controls: Vec<_> =
        unit.controls.iter().map(|control| (control.name.as_str(), control.holds)).collect();
    assert_eq!(controls, [("guardrails", true), ("data", true), ("people", true)]);
    is_golden("executive.md", &answer.document);
    let html = executive(&suite, request(pb::ReportFormat::Html)).await.document;
    is_golden("executive.html", &html);

    // A unit is a value of a property.
    let by_platform = pb::GetExecutiveReportRequest {
        unit: "properties.platform".to_owned(),
        ..pb::GetExecutiveReportRequest::default()
    };
    let report = executive(&suite, by_platform).await.report.unwrap();
    let units: Vec<_> = report.units.iter().map(|unit| unit.unit.as_str()).collect();
    assert_eq!(units, ["ios", "web"]);
    assert!(report.units[0].headline.contains("from 0.4 to 0.2"), "{:?}", report.units[0]);
    assert!(report.units[0].what_next.contains("got worse in ios"), "{:?}", report.units[0]);
    assert!(report.units[1].headline.contains("did not move"), "{:?}", report.units[1]);
}

#[tokio::test]
async fn a_report_of_nothing_says_so_and_one_that_makes_no_sense_is_refused() {
    let suite = Suite::start().await;
    let report = executive(
        &suite,
        pb::GetExecutiveReportRequest {
            format: pb::ReportFormat::Markdown.into(),
            ..pb::GetExecutiveReportRequest::default()
        },
    )
    .await;
    assert!(report.document.contains("There is no KPI to tell of"), "{}", report.document);
    let card = weekly(&suite, "", pb::ReportFormat::Unspecified).await.scorecard.unwrap();
    assert_eq!(card.pillars, []);

    let mut reports = suite.analyst.reports();
    for (request, field) in [
        (pb::GetWeeklyScorecardRequest { week: "soon".to_owned(), ..Default::default() }, "week"),
        (
            pb::GetWeeklyScorecardRequest { week: "2026-04-06".to_owned(), ..Default::default() },
            "week",
        ),
        (
            pb::GetWeeklyScorecardRequest { time_zone: "Mars".to_owned(), ..Default::default() },
            "time_zone",
        ),
        (pb::GetWeeklyScorecardRequest { format: 9, ..Default::default() }, "format"),
    ] {
        let refused = reports.get_weekly_scorecard(request).await.unwrap_err();
        assert_eq!(blamed_fields(&refused), [field]);
    }
    for (request, field) in [
        (
            pb::GetExecutiveReportRequest {
                end_time: Some(timestamp("2027-01-01")),
                ..Default::default()
            },
            "end_time",
        ),
        (pb::GetExecutiveReportRequest { days: 400, ..Default::default() }, "days"),
        (
            pb::GetExecutiveReportRequest { unit: "event.name".to_owned(), ..Default::default() },
            "unit",
        ),
        (
            pb::GetExecutiveReportRequest {
                dimensions: vec!["x".to_owned(); 9],
                ..Default::default()
            },
            "dimensions",
        ),
    ] {
        let refused = reports.get_executive_report(request).await.unwrap_err();
        assert_eq!(blamed_fields(&refused), [field]);
    }
    let note = |pillar: &str, text: &str| pb::AddScorecardNoteRequest {
        pillar: pillar.to_owned(),
        week: "2026-03-25".to_owned(),
        text: text.to_owned(),
        request_id: String::new(),
    };
    let blank = reports.add_scorecard_note(note("growth", " ")).await.unwrap_err();
    assert_eq!(blamed_fields(&blank), ["text"]);
    let unknown = reports.add_scorecard_note(note("nothing", "text")).await.unwrap_err();
    assert_eq!(reason(&unknown), "NOT_FOUND");
}

#[tokio::test]
async fn another_project_reports_nothing_of_it() {
    let suite = company().await;
    work(&suite).await;
    let note = pb::AddScorecardNoteRequest {
        pillar: "growth".to_owned(),
        week: "2026-03-25".to_owned(),
        text: "ours".to_owned(),
        request_id: String::new(),
    };
    suite.analyst.reports().add_scorecard_note(note.clone()).await.unwrap();
    let mut other = suite.other_project().await.reports();
    let card = other.get_weekly_scorecard(pb::GetWeeklyScorecardRequest::default()).await.unwrap();
    assert_eq!(card.into_inner().scorecard.unwrap().pillars, []);
    let report =
        other.get_executive_report(pb::GetExecutiveReportRequest::default()).await.unwrap();
    assert_eq!(report.into_inner().report.unwrap().units, []);
    let request = pb::ListScorecardNotesRequest {
        week: "2026-03-25".to_owned(),
        ..pb::ListScorecardNotesRequest::default()
    };
    let notes = other.list_scorecard_notes(request.clone()).await.unwrap().into_inner().notes;
    assert_eq!(notes, []);
    let refused = other.add_scorecard_note(note).await.unwrap_err();
    assert_eq!(reason(&refused), "NOT_FOUND");
    let ours = suite.analyst.reports().list_scorecard_notes(request).await.unwrap().into_inner();
    assert_eq!(ours.notes[0].text, "ours");
}
