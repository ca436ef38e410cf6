//! Published event logs, asked as people ask.

use chrono::{DateTime, NaiveDate, NaiveDateTime};
use northstar_engine::{
    Anchor, Entry, EventSelector, Filter, Grain, Snapshot,
    journeys::{
        Bracket, Clock, Cohorts, FunnelCell, FunnelQuery, FunnelStep, LifecycleQuery, MemberPage,
        RetentionMode, RetentionQuery, Scope, StepOutcome, Unit, Window,
    },
};
use serde_json::{Value, json};

use crate::public_data::{Logged, ecom, folder, load, near, snapshot};

/// The whole log, as known at the end of a day.
fn scope(snapshot: &Snapshot, as_of: &str) -> Scope {
    let (first, last) = snapshot.effective_range().expect("events");
    let day: NaiveDate = as_of.parse().expect("a date");
    let as_of = day.and_hms_opt(0, 0, 0).expect("midnight").and_utc().timestamp_micros();
    Scope { as_of_micros: Some(as_of), ..Scope::of(first, last + 1) }
}

fn table(scope: Scope, unit: Unit, brackets: Vec<Bracket>, mode: RetentionMode) -> RetentionQuery {
    RetentionQuery {
        scope,
        start: EventSelector::all(),
        returning: EventSelector::all(),
        entry: Entry::FirstEver,
        cohorts: Cohorts::One,
        unit,
        clock: Clock::Calendar,
        brackets,
        mode,
        value: None,
        same_values: false,
    }
}

fn check_cohorts(snapshot: &Snapshot, as_of: &str, expected: &Value, filter: Option<&str>) {
    let expected = expected.as_object().expect("cohorts");
    let columns = expected.values().filter_map(Value::as_array).map(Vec::len).max().expect("rows");
    let mut scope = scope(snapshot, as_of);
    scope.filter = filter.map(|filter| Filter::parse(filter).expect("a filter"));
    let brackets = (0..columns as u32).map(Bracket::at).collect();
    let query = RetentionQuery {
        cohorts: Cohorts::By(Grain::Month),
        ..table(scope, Unit::Month, brackets, RetentionMode::On)
    };
    let answer = snapshot.retention(&query).expect("an answer");
    let rows: Vec<_> = answer.cohorts.iter().filter(|row| row.entered > 0).collect();
    assert_eq!(rows.len(), expected.len());
    for row in &rows {
        let start = DateTime::from_timestamp_micros(row.bucket_start.expect("a month"));
        let month = start.expect("a time").format("%Y-%m").to_string();
        let found: Vec<Option<u64>> =
            row.cells.iter().map(|cell| cell.mature.then_some(cell.retained)).collect();
        assert_eq!(json!(found), expected[&month], "{month}");
    }
    // Every subject is new once, in the month of its cohort.
    let lifecycle =
        LifecycleQuery { scope: query.scope, event: EventSelector::all(), period: Grain::Month };
    let periods = snapshot.lifecycle(&lifecycle).expect("an answer").rows;
    for row in rows {
        let period = periods.iter().find(|period| Some(period.bucket_start) == row.bucket_start);
        assert_eq!(period.expect("the month").new, row.entered);
    }
}

#[test]
fn the_demo_shop_has_its_published_journeys() {
    let Some((_dir, snapshot, expected)) = ecom(0) else { return };
    for (name, window) in [("user_funnel", None), ("user_funnel_7d_window", Some(7))] {
        let expected = &expected[name];
        let steps = expected["steps"].as_array().expect("steps").iter().filter_map(Value::as_str);
        let query = FunnelQuery {
            window: Window {
                micros: window.map(|days: i64| days * 86_400_000_000),
                sessions: None,
            },
            anchor: Anchor::FirstTouch,
            ..FunnelQuery::new(
                scope(&snapshot, "2024-07-01"),
                steps.map(FunnelStep::named).collect(),
            )
        };
        let answer = snapshot.funnel(&query).expect("an answer");
        let counts: Vec<u64> = answer.total.steps.iter().map(|step| step.count).collect();
        assert_eq!(json!(counts), expected["users_ordered"]);
        near(answer.total.conversion().expect("a rate"), &expected["overall_conversion"]);
        for (at, step) in answer.total.steps.iter().enumerate().skip(1) {
            let median = &expected["median_seconds_between_steps"][at - 1];
            near(step.time.as_ref().expect("times").p50, median);
            let cell = FunnelCell {
                step: at,
                outcome: StepOutcome::Dropped,
                bucket_start: None,
                dimensions: None,
            };
            let page = MemberPage { after: None, limit: 10 };
            let dropped = snapshot.funnel_members(&query, &cell, &page).expect("members");
            assert_eq!(dropped.total, counts[at - 1] - counts[at]);
        }
    }
    for (mode, retained) in [
        (RetentionMode::On, "retained_exact_day"),
        (RetentionMode::OnOrAfter, "retained_on_or_after"),
    ] {
        let days = [1, 7, 14, 30];
        let brackets = days.into_iter().map(Bracket::at).collect();
        let query = table(scope(&snapshot, "2024-06-30"), Unit::Day, brackets, mode);
        let answer = snapshot.retention(&query).expect("an answer");
        for (cell, day) in answer.cohorts[0].cells.iter().zip(days) {
            let expected = &expected["retention_days"][day.to_string()];
            assert_eq!(
                json!([cell.eligible, cell.retained]),
                json!([expected["eligible"], expected[retained]])
            );
        }
    }
    check_cohorts(&snapshot, "2024-07-01", &expected["cohort_month"], None);
    let lifecycle = LifecycleQuery {
        scope: scope(&snapshot, "2024-07-01"),
        event: EventSelector::all(),
        period: Grain::Month,
    };
    let rows = snapshot.lifecycle(&lifecycle).expect("an answer").rows;
    assert_eq!(rows.len(), expected["mau"].as_object().expect("months").len());
    for row in rows {
        let month = DateTime::from_timestamp_micros(row.bucket_start).expect("a time");
        assert_eq!(json!(row.active()), expected["mau"][month.format("%Y-%m").to_string()]);
    }
}

#[test]
fn the_music_shop_has_its_published_cohorts_and_lifetime_value() {
    let Some(folder) = folder("cdnow") else { return };
    let (rows, expected) = load(&folder, "cdnow_master.csv.gz", |row| Logged {
        name: "order".to_owned(),
        user: Some(row[0].to_owned()),
        micros: row[1]
            .parse::<NaiveDate>()
            .expect("a date")
            .and_hms_opt(0, 0, 0)
            .expect("midnight")
            .and_utc()
            .timestamp_micros(),
        properties: json!({ "amount": row[3].parse::<f64>().expect("an amount") }),
    });
    let (_dir, snapshot) = snapshot(&rows);
    check_cohorts(
        &snapshot,
        "1998-07-01",
        &expected["cohort_by_first_month_active_customers"],
        None,
    );
    // Nobody has bought for longer than 18 months.
    let query = RetentionQuery {
        value: Some("amount".to_owned()),
        ..table(
            scope(&snapshot, "1999-01-01"),
            Unit::Month,
            vec![Bracket { first: 0, last: 17 }],
            RetentionMode::OnOrBefore,
        )
    };
    let answer = snapshot.retention(&query).expect("an answer");
    let cell = &answer.cohorts[0].cells[0];
    near(cell.value_per_subject.expect("a value"), &expected["ltv_per_customer_18_months"]);
    near(cell.value, &expected["total_amount"]);
    assert_eq!(json!(cell.eligible), expected["customers"]);
}

#[test]
fn the_gift_retailer_has_its_published_cohorts() {
    let Some(folder) = folder("uci_online_retail") else { return };
    let (rows, expected) = load(&folder, "online_retail.csv.gz", |row| Logged {
        name: "sale".to_owned(),
        user: Some(row[5].to_owned()).filter(|customer| !customer.is_empty()),
        micros: NaiveDateTime::parse_from_str(&row[3], "%Y-%m-%dT%H:%M:%S")
            .expect("a time")
            .and_utc()
            .timestamp_micros(),
        properties: json!({
            "invoice": &row[0],
            "quantity": row[2].parse::<i64>().expect("a quantity"),
            "price": row[4].parse::<f64>().expect("a price"),
        }),
    });
    let (_dir, snapshot) = snapshot(&rows);
    let clean =
        r#"!properties.invoice.startsWith("C") && properties.quantity > 0 && properties.price > 0"#;
    check_cohorts(&snapshot, "2012-01-01", &expected["cohort_month_active_customers"], Some(clean));
    check_cohorts(&snapshot, "2012-01-01", &expected["cohort_month_including_cancellations"], None);
}
