//! Published event logs: every number that was computed independently must come out of the engine.
//!
//! The files are read from the folder that `NORTHSTAR_TEST_DATA` names, by default `../shared/data` beside the
//! workspace. Without it the tests say so and pass.

use std::{fs::File, io::BufReader, path::PathBuf};

use chrono::{DateTime, NaiveDate, NaiveDateTime};
use flate2::read::GzDecoder;
use northstar_engine::{
    Actor, Anchor, Answer, Dataset, Detail, Dimension, DistinctOf, Entry, EventRecord,
    EventSelector, Filter, FunnelSpec, Grain, Maturity, MetricSpec, Period, Query, RetentionCell,
    RetentionSpec, Return, Snapshot, Statistic, Ties, TimeToEventSpec,
};
use serde_json::{Value, json};

/// One row of a log.
pub struct Logged {
    pub name: String,
    pub user: Option<String>,
    pub micros: i64,
    pub properties: Value,
}

#[expect(clippy::print_stderr, reason = "a skipped test must say so")]
pub fn folder(name: &str) -> Option<PathBuf> {
    let data = std::env::var_os("NORTHSTAR_TEST_DATA").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")),
        PathBuf::from,
    );
    let folder = data.join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!(
        "skipped: there is no {}; set NORTHSTAR_TEST_DATA to the folder of public data sets",
        folder.display()
    );
    None
}

/// The rows of a gzipped CSV and the expected figures beside it.
pub fn load(
    folder: &std::path::Path,
    file: &str,
    log: impl Fn(&csv::StringRecord) -> Logged,
) -> (Vec<Logged>, Value) {
    let reader = GzDecoder::new(BufReader::new(File::open(folder.join(file)).expect("the file")));
    let rows =
        csv::Reader::from_reader(reader).records().map(|row| log(&row.expect("a row"))).collect();
    let expected = File::open(folder.join("expected.json")).expect("the figures");
    let mut expected: Value = serde_json::from_reader(BufReader::new(expected)).expect("json");
    (rows, expected["expected"].take())
}

/// Half of the rows in a segment, the rest in the tail.
pub fn snapshot(rows: &[Logged]) -> (tempfile::TempDir, Snapshot) {
    let dir = tempfile::tempdir().expect("a folder");
    let mut dataset = Dataset::new(dir.path()).expect("a folder");
    let records = (0i64..).zip(rows).map(|(position, row)| EventRecord {
        position,
        name: &row.name,
        source: "import",
        actor: Actor { user_id: row.user.as_deref(), anonymous_id: None },
        account_id: None,
        effective_micros: row.micros,
        sequence: 0,
        properties: &row.properties,
    });
    let records: Vec<EventRecord<'_>> = records.collect();
    let (first, second) = records.split_at(records.len() / 2);
    dataset.append(first.iter().copied()).expect("an append");
    dataset.compact().expect("a compaction");
    dataset.append(second.iter().copied()).expect("an append");
    let snapshot = dataset.snapshot().expect("a snapshot");
    assert_eq!(snapshot.events(), rows.len() as u64);
    (dir, snapshot)
}

fn ask(
    snapshot: &Snapshot,
    metric: MetricSpec,
    grain: Grain,
    breakdowns: &[Dimension],
    filter: Option<&str>,
) -> Answer {
    let (first, last) = snapshot.effective_range().expect("events");
    let query = Query {
        metric,
        from_micros: first,
        to_micros: last + 1,
        zone: chrono_tz::UTC,
        grain,
        breakdowns: breakdowns.to_vec(),
        filter: filter.map(|filter| Filter::parse(filter).expect("a filter")),
        as_of_micros: None,
    };
    snapshot.query(&query).expect("an answer")
}

fn total(snapshot: &Snapshot, metric: MetricSpec, filter: Option<&str>) -> f64 {
    ask(snapshot, metric, Grain::Total, &[], filter).rows[0].value.expect("a value")
}

fn users(event: EventSelector) -> MetricSpec {
    MetricSpec::Unique { event, of: DistinctOf::Subject }
}

pub fn near(found: f64, expected: &Value) {
    let expected = expected.as_f64().expect("a number");
    assert!(
        (found - expected).abs() <= 1e-9 * expected.abs().max(1.0),
        "{found}, expected {expected}"
    );
}

fn date(micros: Option<i64>) -> NaiveDate {
    DateTime::from_timestamp_micros(micros.expect("a bucket")).expect("a time").date_naive()
}

fn check_funnel(snapshot: &Snapshot, expected: &Value, window_micros: Option<i64>) {
    let names: Vec<&str> =
        expected["steps"].as_array().expect("steps").iter().filter_map(Value::as_str).collect();
    for (name, any_order) in
        names.iter().zip(expected["users_any_order"].as_array().expect("counts"))
    {
        near(total(snapshot, users(EventSelector::named(*name)), None), any_order);
    }
    let funnel = MetricSpec::Funnel(FunnelSpec {
        steps: names.into_iter().map(EventSelector::named).collect(),
        window_micros,
        anchor: Anchor::FirstTouch,
        entry: Entry::FirstInRange,
        ties: Ties::ByOrder,
    });
    let answer = ask(snapshot, funnel, Grain::Total, &[], None);
    let Detail::Funnel(steps) = &answer.rows[0].detail else { panic!("no funnel: {answer:?}") };
    let counts: Vec<u64> = steps.iter().map(|step| step.count).collect();
    assert_eq!(json!(counts), expected["users_ordered"]);
    for (at, step) in steps.iter().enumerate().skip(1) {
        near(
            step.median_seconds.expect("a median"),
            &expected["median_seconds_between_steps"][at - 1],
        );
        near(step.from_previous.expect("a rate"), &expected["step_conversion"][at]);
    }
    near(answer.rows[0].value.expect("a rate"), &expected["overall_conversion"]);
}

fn retention(period: Period, offsets: Vec<u32>, headline: u32, mode: Return) -> MetricSpec {
    MetricSpec::Retention(RetentionSpec {
        start: EventSelector::all(),
        returning: EventSelector::all(),
        period,
        offsets,
        headline,
        mode,
        maturity: Maturity::PeriodStarted,
        entry: Entry::FirstEver,
    })
}

fn retention_cells(answer: &Answer) -> impl Iterator<Item = (NaiveDate, &Vec<RetentionCell>)> {
    answer.rows.iter().map(|row| match &row.detail {
        Detail::Retention(cells) => (date(row.bucket_start), cells),
        other => panic!("no retention: {other:?}"),
    })
}

fn check_cohorts(snapshot: &Snapshot, expected: &Value, filter: Option<&str>) {
    let expected = expected.as_object().expect("cohorts");
    let months = expected.len() as u32;
    let metric = retention(Period::Month, (0..months).collect(), 0, Return::On);
    let answer = ask(snapshot, metric, Grain::Month, &[], filter);
    assert_eq!(answer.rows.len(), expected.len());
    for (start, cells) in retention_cells(&answer) {
        let found: Vec<Option<u64>> =
            cells.iter().map(|cell| cell.rate.map(|_| cell.retained)).collect();
        assert_eq!(json!(found), expected[&start.format("%Y-%m").to_string()], "{start}");
    }
}

pub fn ecom(user: usize) -> Option<(tempfile::TempDir, Snapshot, Value)> {
    let folder = folder("retentioneering_ecom")?;
    let (rows, expected) = load(&folder, "ecom.csv.gz", |row| Logged {
        name: row[2].to_owned(),
        user: Some(row[user].to_owned()),
        micros: NaiveDateTime::parse_from_str(&row[3], "%Y-%m-%d %H:%M:%S")
            .expect("a time")
            .and_utc()
            .timestamp_micros(),
        properties: json!({ "platform": &row[4], "channel": &row[5] }),
    });
    let (dir, snapshot) = snapshot(&rows);
    Some((dir, snapshot, expected))
}

#[test]
fn the_demo_shop_has_its_published_funnels() {
    let Some((_dir, snapshot, expected)) = ecom(0) else { return };
    check_funnel(&snapshot, &expected["user_funnel"], None);
    check_funnel(&snapshot, &expected["user_funnel_7d_window"], Some(7 * 86_400_000_000));
    let Some((_dir, sessions, _)) = ecom(1) else { return };
    check_funnel(&sessions, &expected["session_funnel"], None);
    assert_eq!(json!(sessions.subjects()), expected["sessions"]);
    let converted = |event| {
        ask(
            &sessions,
            users(event),
            Grain::Total,
            &[Dimension::Property("channel".to_owned())],
            None,
        )
    };
    let (bought, all) =
        (converted(EventSelector::named("purchase")), converted(EventSelector::all()));
    for (bought, all) in bought.rows.iter().zip(&all.rows) {
        let channel = all.dimensions[0].as_deref().expect("a channel");
        assert_eq!(
            json!([bought.n, all.n]),
            expected["session_conversion_by_channel"][channel],
            "{channel}"
        );
    }
}

#[test]
fn the_demo_shop_has_its_published_active_users() {
    let Some((_dir, snapshot, expected)) = ecom(0) else { return };
    let active = |grain| ask(&snapshot, users(EventSelector::all()), grain, &[], None);
    let weeks = active(Grain::Week);
    assert_eq!(weeks.rows.len(), expected["weekly_active_users"].as_object().expect("weeks").len());
    for row in &weeks.rows {
        let start = date(row.bucket_start);
        let name = format!("{start}/{}", start + chrono::Days::new(6));
        assert_eq!(json!(row.n), expected["weekly_active_users"][&name], "{name}");
    }
    let days = active(Grain::Day);
    let mut checked = 0;
    for row in &days.rows {
        let expected = &expected["dau_first_week_of_may_2024"][date(row.bucket_start).to_string()];
        if !expected.is_null() {
            assert_eq!(&json!(row.n), expected);
            checked += 1;
        }
    }
    assert_eq!(checked, 7);
    for row in &active(Grain::Month).rows {
        assert_eq!(
            json!(row.n),
            expected["mau"][date(row.bucket_start).format("%Y-%m").to_string()]
        );
    }
    for (name, count) in snapshot.event_names() {
        assert_eq!(json!(count), expected["events"][&name], "{name}");
    }
    let platform = [Dimension::Property("platform".to_owned())];
    let buyers =
        ask(&snapshot, users(EventSelector::named("purchase")), Grain::Total, &platform, None);
    let all = ask(&snapshot, users(EventSelector::all()), Grain::Total, &platform, None);
    for (buyers, all) in buyers.rows.iter().zip(&all.rows) {
        let platform = all.dimensions[0].as_deref().expect("a platform");
        assert_eq!(
            json!([buyers.n, all.n]),
            expected["purchasers_by_platform"][platform],
            "{platform}"
        );
    }
}

#[test]
fn the_demo_shop_has_its_published_retention() {
    let Some((_dir, snapshot, expected)) = ecom(0) else { return };
    let offsets = vec![1, 7, 14, 30];
    for (mode, suffix) in [(Return::On, "exact"), (Return::OnOrAfter, "on_or_after")] {
        let retained =
            if suffix == "exact" { "retained_exact_day" } else { "retained_on_or_after" };
        let answer = ask(
            &snapshot,
            retention(Period::Day, offsets.clone(), 7, mode),
            Grain::Total,
            &[],
            None,
        );
        let Detail::Retention(cells) = &answer.rows[0].detail else {
            panic!("no retention: {answer:?}")
        };
        for cell in cells {
            let expected = &expected["retention_days"][cell.offset.to_string()];
            assert_eq!(
                (json!(cell.eligible), json!(cell.retained)),
                (expected["eligible"].clone(), expected[retained].clone())
            );
            near(cell.rate.expect("a rate"), &expected[format!("rate_{suffix}")]);
        }
        near(
            answer.rows[0].value.expect("a rate"),
            &expected["retention_days"]["7"][format!("rate_{suffix}")],
        );
    }
    check_cohorts(&snapshot, &expected["cohort_month"], None);
}

#[test]
fn the_loan_log_has_its_published_funnel_and_times() {
    let Some(folder) = folder("bpic2012_loan_applications") else { return };
    let (rows, expected) = load(&folder, "bpic2012.csv.gz", |row| Logged {
        name: row[1].to_owned(),
        user: Some(row[0].to_owned()),
        micros: DateTime::parse_from_rfc3339(&row[4]).expect("a time").timestamp_micros(),
        properties: json!({ "amount": row[5].parse::<i64>().expect("an amount"), "resource": &row[3] }),
    });
    let (_dir, snapshot) = snapshot(&rows);
    assert_eq!(json!(snapshot.subjects()), expected["cases"]);
    for (name, count) in snapshot.event_names() {
        assert_eq!(json!(count), expected["activities"][&name], "{name}");
    }
    check_funnel(&snapshot, &expected["funnel"], None);

    let outcomes = ["A_APPROVED", "A_DECLINED", "A_CANCELLED"];
    for outcome in outcomes {
        near(
            total(&snapshot, users(EventSelector::named(outcome)), None),
            &expected["outcomes_cases"][outcome],
        );
    }
    let first_outcome = MetricSpec::TimeToEvent(TimeToEventSpec {
        from: EventSelector::named("A_SUBMITTED"),
        to: EventSelector::any_of(outcomes),
        window_micros: None,
        entry: Entry::FirstEver,
        ties: Ties::ByOrder,
        statistic: Statistic::P50,
    });
    let answer = ask(&snapshot, first_outcome, Grain::Total, &[], None);
    let Detail::Durations(times) = &answer.rows[0].detail else { panic!("no times: {answer:?}") };
    let hours = &expected["hours_submit_to_first_outcome"];
    assert_eq!(
        (json!(times.entered), json!(times.n)),
        (expected["cases"].clone(), hours["n"].clone())
    );
    let figures = [
        (times.p50, "p50"),
        (times.p90, "p90"),
        (times.p95, "p95"),
        (times.mean, "mean"),
        (times.max, "max"),
    ];
    for (seconds, name) in figures {
        near(seconds.expect("a time") / 3_600.0, &hours[name]);
    }

    let bands = [
        ("<=5000", 0, 5_000),
        ("5001-10000", 5_000, 10_000),
        ("10001-20000", 10_000, 20_000),
        ("20001-50000", 20_000, 50_000),
        (">50000", 50_000, i64::MAX),
    ];
    for (band, above, to) in bands {
        let filter = format!(
            "properties.amount > {above} && properties.amount <= {to} || properties.amount == {above} && {}",
            above == 0
        );
        let approved = total(&snapshot, users(EventSelector::named("A_APPROVED")), Some(&filter));
        let all = total(&snapshot, users(EventSelector::all()), Some(&filter));
        assert_eq!(
            json!([approved as u64, all as u64]),
            expected["approved_share_by_amount_band"][band],
            "{band}"
        );
    }
}

#[test]
fn the_gift_retailer_has_its_published_revenue_and_cohorts() {
    let Some(folder) = folder("uci_online_retail") else { return };
    let (rows, expected) = load(&folder, "online_retail.csv.gz", |row| {
        let (quantity, price): (i64, f64) =
            (row[2].parse().expect("a quantity"), row[4].parse().expect("a price"));
        Logged {
            name: "sale".to_owned(),
            user: Some(row[5].to_owned()).filter(|customer| !customer.is_empty()),
            micros: NaiveDateTime::parse_from_str(&row[3], "%Y-%m-%dT%H:%M:%S")
                .expect("a time")
                .and_utc()
                .timestamp_micros(),
            properties: json!({
                "invoice": &row[0],
                "quantity": quantity,
                "price": price,
                "revenue": quantity as f64 * price,
                "country": &row[6],
            }),
        }
    });
    let (_dir, snapshot) = snapshot(&rows);
    let sales = EventSelector::named("sale");
    let count = || MetricSpec::Count { event: EventSelector::named("sale") };
    assert_eq!(json!(snapshot.subjects()), expected["customers"]);
    near(total(&snapshot, count(), None), &expected["rows"]);
    near(
        total(&snapshot, count(), Some("event.user_id == null")),
        &expected["missing_customer_id_rows"],
    );
    near(
        total(&snapshot, count(), Some(r#"properties.invoice.startsWith("C")"#)),
        &expected["cancellation_rows"],
    );
    let invoices =
        MetricSpec::Unique { event: sales.clone(), of: DistinctOf::Property("invoice".to_owned()) };
    near(total(&snapshot, invoices.clone(), None), &expected["invoices"]);
    let countries =
        MetricSpec::Unique { event: sales.clone(), of: DistinctOf::Property("country".to_owned()) };
    near(total(&snapshot, countries, None), &expected["countries"]);

    let clean = r#"event.user_id != null && !properties.invoice.startsWith("C") && properties.quantity > 0 && properties.price > 0"#;
    let revenue = MetricSpec::Sum { event: sales.clone(), property: "revenue".to_owned() };
    let over = |denominator: &MetricSpec| MetricSpec::Ratio {
        numerator: Box::new(revenue.clone()),
        denominator: Box::new(denominator.clone()),
    };
    near(total(&snapshot, count(), Some(clean)), &expected["clean_rows"]);
    near(total(&snapshot, users(sales.clone()), Some(clean)), &expected["clean_customers"]);
    near(total(&snapshot, invoices.clone(), Some(clean)), &expected["clean_invoices"]);
    near(total(&snapshot, revenue.clone(), Some(clean)), &expected["clean_revenue"]);
    near(total(&snapshot, over(&invoices), Some(clean)), &expected["average_order_value"]);
    let figures = [
        ("revenue", revenue.clone()),
        ("active_customers", users(sales.clone())),
        ("invoices", invoices),
        ("arpu", over(&users(sales))),
    ];
    for (name, metric) in figures {
        let answer = ask(&snapshot, metric, Grain::Month, &[], Some(clean));
        assert_eq!(answer.rows.len(), expected["monthly"].as_object().expect("months").len());
        for row in &answer.rows {
            let month = date(row.bucket_start).format("%Y-%m").to_string();
            near(row.value.expect("a value"), &expected["monthly"][&month][name]);
        }
    }
    let by_country = ask(
        &snapshot,
        revenue,
        Grain::Total,
        &[Dimension::Property("country".to_owned())],
        Some(clean),
    );
    for (country, expected) in expected["top_countries_revenue"].as_object().expect("countries") {
        let row = by_country
            .rows
            .iter()
            .find(|row| row.dimensions[0].as_ref() == Some(country))
            .expect("the country");
        near(row.value.expect("a value"), expected);
    }
    check_cohorts(&snapshot, &expected["cohort_month_active_customers"], Some(clean));
    check_cohorts(
        &snapshot,
        &expected["cohort_month_including_cancellations"],
        Some("event.user_id != null"),
    );
}
