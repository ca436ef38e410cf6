//! The whole way on real event logs: file -> import -> metric -> answer, held
//! against numbers computed independently (`expected.json` of each set).

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::suite::{Suite, text};

/// The folder of a data set and its expected results; `None` where it is absent.
fn dataset(name: &str) -> Option<(PathBuf, Value)> {
    let folder = folder(name)?;
    let expected = std::fs::read_to_string(folder.join("expected.json")).expect("expected.json");
    let expected: Value = serde_json::from_str(&expected).expect("expected.json is JSON");
    Some((folder, expected["expected"].clone()))
}

/// The folder of a data set; `None`, said on standard error, where it is absent.
pub fn folder(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("NORTHSTAR_TEST_DATA").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
        PathBuf::from,
    );
    let folder = root.join(name);
    if !folder.join("expected.json").exists() {
        writeln!(
            io::stderr(),
            "skipped: {} is not here; set NORTHSTAR_TEST_DATA",
            folder.display()
        )
        .expect("standard error is open");
        return None;
    }
    Some(folder)
}

fn import(suite: &Suite, file: &Path, mapping: &str) -> Value {
    let mapping = suite.file("mapping.yaml", mapping);
    suite.json(["import", text(file), "--mapping", text(&mapping), "--json"])
}

fn query(suite: &Suite, metric: &str, from: &str, to: &str, grain: &str) -> Vec<Value> {
    let answer =
        suite.json(["query", metric, "--from", from, "--to", to, "--grain", grain, "--json"]);
    answer["rows"].as_array().expect("rows").clone()
}

fn close(found: &Value, expected: &Value, what: &str) {
    let (found, expected) = (found.as_f64().expect(what), expected.as_f64().expect(what));
    let tolerance = 1e-6 * expected.abs().max(1e-9);
    assert!((found - expected).abs() <= tolerance, "{what}: {found} is not {expected}");
}

#[test]
fn a_shop_s_clickstream_answers_as_computed_elsewhere() {
    let Some((folder, expected)) = dataset("retentioneering_ecom") else { return };
    let suite = Suite::start();
    let summary = import(
        &suite,
        &folder.join("ecom.csv.gz"),
        "
source: shop
event: {column: event}
user_id: {column: user_id}
occurred_time: {column: timestamp}
properties:
  platform: {column: platform}
  session: {column: session_id}
",
    );
    assert_eq!(summary["accepted"], expected["rows"]);

    let steps = "[product_view, add_to_cart, cart, shipping_details, payment_details, purchase]";
    suite.apply(
        "metrics.yaml",
        &format!(
            "
kind: Metric
metadata: {{name: events}}
spec: {{definition: {{type: count, event: ''}}}}
---
kind: Metric
metadata: {{name: users}}
spec: {{definition: {{type: unique, event: ''}}}}
---
kind: Metric
metadata: {{name: sessions}}
spec: {{definition: {{type: unique, event: '', of: properties.session}}}}
---
kind: Metric
metadata: {{name: checkout}}
spec: {{definition: {{type: funnel, steps: {steps}, anchor: first_touch}}}}
---
kind: Metric
metadata: {{name: checkout-in-a-week}}
spec: {{definition: {{type: funnel, steps: {steps}, window: 7d, anchor: first_touch}}}}
---
kind: Metric
metadata: {{name: back-on-day-7}}
spec: {{definition: {{type: retention, start: '', return: '', day: 7}}}}
---
kind: Metric
metadata: {{name: back-from-day-30}}
spec: {{definition: {{type: retention, start: '', return: '', day: 30, mode: on_or_after}}}}
"
        ),
    );
    let (from, to) = ("2024-01-01", "2024-07-01");
    assert_eq!(query(&suite, "events", from, to, "total")[0]["value"], json!(31_106.0));
    assert_eq!(query(&suite, "users", from, to, "total")[0]["value"], json!(600.0));
    assert_eq!(query(&suite, "sessions", from, to, "total")[0]["value"], json!(3_605.0));

    for row in query(&suite, "users", from, to, "week") {
        let start = row["time"].as_str().expect("a time")[..10].to_owned();
        let week = expected["weekly_active_users"]
            .as_object()
            .expect("weeks")
            .iter()
            .find(|(week, _)| week.starts_with(&start));
        let users = week.unwrap_or_else(|| panic!("no week {start}")).1;
        assert_eq!(row["value"].as_f64(), users.as_f64(), "week of {start}");
    }
    for row in query(&suite, "users", from, to, "month") {
        let month = &row["time"].as_str().expect("a time")[..7];
        assert_eq!(row["value"].as_f64(), expected["mau"][month].as_f64(), "{month}");
    }
    for (day, users) in expected["dau_first_week_of_may_2024"].as_object().expect("days") {
        let rows = query(&suite, "users", "2024-05-01", "2024-05-08", "day");
        let row = rows.iter().find(|row| row["time"].as_str().is_some_and(|t| t.starts_with(day)));
        assert_eq!(row.expect("a day")["value"].as_f64(), users.as_f64(), "{day}");
    }
    for (metric, funnel) in
        [("checkout", "user_funnel"), ("checkout-in-a-week", "user_funnel_7d_window")]
    {
        let row = &query(&suite, metric, from, to, "total")[0];
        let expected = &expected[funnel];
        close(&row["value"], &expected["overall_conversion"], funnel);
        let steps = row["steps"].as_array().expect("steps");
        for (step, users) in steps.iter().zip(expected["users_ordered"].as_array().expect("users"))
        {
            assert_eq!(&step["subjects"], users, "{funnel}");
        }
        let medians = expected["median_seconds_between_steps"].as_array().expect("medians");
        for (step, median) in steps[1..].iter().zip(medians) {
            close(&step["median_seconds"], median, funnel);
        }
    }
    let retention = &expected["retention_days"];
    let row = &query(&suite, "back-on-day-7", from, to, "total")[0];
    close(&row["value"], &retention["7"]["rate_exact"], "day 7");
    assert_eq!(row["denominator"].as_f64(), retention["7"]["eligible"].as_f64());
    let row = &query(&suite, "back-from-day-30", from, to, "total")[0];
    close(&row["value"], &retention["30"]["rate_on_or_after"], "day 30");
}

#[test]
fn a_bank_s_loan_process_answers_as_computed_elsewhere() {
    let Some((folder, expected)) = dataset("bpic2012_loan_applications") else { return };
    let suite = Suite::start();
    let summary = import(
        &suite,
        &folder.join("bpic2012.csv.gz"),
        "
source: bank
event: {column: activity}
user_id: {column: case_id}
occurred_time: {column: timestamp}
properties:
  amount: {column: amount_req, type: float}
",
    );
    assert_eq!(summary["accepted"], expected["events"]);
    suite.apply(
        "metrics.yaml",
        "
kind: Metric
metadata: {name: approval}
spec:
  definition:
    type: funnel
    steps: [A_SUBMITTED, A_PREACCEPTED, A_ACCEPTED, A_FINALIZED, A_APPROVED]
    anchor: first_touch
---
kind: Metric
metadata: {name: time-to-outcome}
spec:
  definition:
    type: time_to_event
    from: A_SUBMITTED
    to: {filter: \"event.name in ['A_APPROVED', 'A_DECLINED', 'A_CANCELLED']\"}
",
    );
    let row = &query(&suite, "approval", "2011-01-01", "2013-01-01", "total")[0];
    close(&row["value"], &expected["funnel"]["overall_conversion"], "approval");
    let steps = row["steps"].as_array().expect("steps");
    for (step, cases) in steps.iter().zip(expected["funnel"]["users_ordered"].as_array().unwrap()) {
        assert_eq!(&step["subjects"], cases);
    }
    let summary =
        &query(&suite, "time-to-outcome", "2011-01-01", "2013-01-01", "total")[0]["time_summary"];
    let hours = &expected["hours_submit_to_first_outcome"];
    assert_eq!(summary["subjects"], hours["n"]);
    for (found, name) in [
        ("mean_seconds", "mean"),
        ("p50_seconds", "p50"),
        ("p90_seconds", "p90"),
        ("p95_seconds", "p95"),
    ] {
        let found = json!(summary[found].as_f64().expect(found) / 3600.0);
        close(&found, &hours[name], name);
    }
}

#[test]
fn a_retailer_s_invoices_answer_as_computed_elsewhere() {
    let Some((folder, expected)) = dataset("uci_online_retail") else { return };
    let suite = Suite::start();
    let summary = import(
        &suite,
        &folder.join("online_retail.csv.gz"),
        "
source: retail
event: {value: Invoice Line}
user_id: {column: CustomerID}
occurred_time: {column: InvoiceDate}
properties:
  invoice: {column: InvoiceNo}
  country: {column: Country}
  quantity: {column: Quantity, type: int}
  price: {column: UnitPrice, type: float}
  amount: {expression: 'double(row.Quantity) * double(row.UnitPrice)'}
",
    );
    // Rows without a customer name nobody: kept in quarantine, not dropped.
    assert_eq!(summary["read"], expected["rows"]);
    assert_eq!(summary["quarantined"], expected["missing_customer_id_rows"]);
    let clean =
        "!properties.invoice.startsWith('C') && properties.quantity > 0 && properties.price > 0.0";
    suite.apply(
        "metrics.yaml",
        &format!(
            "
kind: Metric
metadata: {{name: revenue}}
spec: {{definition: {{type: sum, property: amount, event: {{name: Invoice Line, filter: \"{clean}\"}}}}}}
---
kind: Metric
metadata: {{name: customers}}
spec: {{definition: {{type: unique, event: {{name: Invoice Line, filter: \"{clean}\"}}}}}}
"
        ),
    );
    let (from, to) = ("2010-12-01", "2012-01-01");
    let total = &query(&suite, "revenue", from, to, "total")[0]["value"];
    close(total, &expected["clean_revenue"], "revenue");
    for row in query(&suite, "customers", from, to, "month") {
        let month = &row["time"].as_str().expect("a time")[..7];
        if month > "2011-12" {
            continue;
        }
        assert_eq!(
            row["value"].as_f64(),
            expected["monthly"][month]["active_customers"].as_f64(),
            "{month}"
        );
    }
    for row in query(&suite, "revenue", from, to, "month") {
        let month = &row["time"].as_str().expect("a time")[..7];
        close(&row["value"], &expected["monthly"][month]["revenue"], month);
    }
}
