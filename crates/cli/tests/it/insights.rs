//! `northstar impact`, `anomalies`, `attribute` and `clv` on real event logs, as tables and as JSON.

use serde_json::{Value, json};

use crate::datasets::folder;
use crate::suite::{Suite, success, text};

/// What a command prints for people.
fn table(suite: &Suite, arguments: &[&str]) -> String {
    let output = suite.command(arguments.iter().copied()).output().expect("northstar runs");
    success(&output);
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// What a command prints for programs. The sentence at the top is the same.
fn both(suite: &Suite, arguments: &[&str]) -> Value {
    let answer = suite.json(arguments.iter().copied().chain(["--json"]));
    let printed = table(suite, arguments);
    let summary = answer["summary"].as_str().expect("a sentence");
    assert_eq!(printed.lines().next(), Some(summary));
    answer
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn customers_are_valued_as_the_papers_do() {
    let Some(folder) = folder("cdnow") else { return };
    let suite = Suite::start();
    let mapping = suite.file(
        "cdnow.yaml",
        "
source: shop
event: {value: Bought}
user_id: {column: sampleid}
occurred_time: {column: date, format: '%Y-%m-%d'}
properties:
  amount: {column: sales, type: float}
",
    );
    let file = folder.join("cdnow_sample_elog.csv");
    let summary = suite.json(["import", text(&file), "--mapping", text(&mapping), "--json"]);
    assert_eq!(summary["accepted"], json!(6_919));
    let answer = both(
        &suite,
        &[
            "clv",
            "Bought",
            "--amount",
            "amount",
            "--from",
            "1997-01-01",
            "--to",
            "1997-10-01",
            "--period",
            "7d",
            "--periods",
            "39",
            "--discount",
            "0",
            "--top",
            "3",
        ],
    );
    for (model, name, printed) in [
        ("purchases", "r", 0.243),
        ("purchases", "a", 0.793),
        ("purchases", "b", 2.426),
        ("amounts", "p", 6.25),
        ("amounts", "q", 3.74),
    ] {
        let found = number(&answer[model][name]);
        assert!((found / printed - 1.0).abs() < 1e-2, "{name}: {found} is not {printed}");
    }
    assert_eq!(answer["customers"].as_array().expect("customers").len(), 3);
    let token = answer["next_page_token"].as_str().expect("a token");
    let page = suite.json([
        "clv",
        "Bought",
        "--amount",
        "amount",
        "--from",
        "1997-01-01",
        "--to",
        "1997-10-01",
        "--period",
        "7d",
        "--periods",
        "39",
        "--discount",
        "0",
        "--top",
        "3",
        "--page-token",
        token,
        "--json",
    ]);
    let value = |answer: &Value, at: usize| number(&answer["customers"][at]["predicted_value"]);
    assert!(value(&answer, 2) >= value(&page, 0));
}

#[test]
fn a_shop_is_asked_what_moved_what_was_odd_and_what_a_wishlist_does() {
    let Some(folder) = folder("retentioneering_ecom") else { return };
    let suite = Suite::start();
    let mapping = suite.file(
        "shop.yaml",
        "
source: shop
event: {column: event}
user_id: {column: user_id}
occurred_time: {column: timestamp}
properties:
  platform: {column: platform}
  channel: {column: acquisition_channel}
",
    );
    let file = folder.join("ecom.csv.gz");
    suite.run(["import", text(&file), "--mapping", text(&mapping), "--json"]);
    suite.apply(
        "metrics.yaml",
        "
kind: Metric
metadata: {name: views}
spec: {definition: {type: count, event: product_view}}
---
kind: Metric
metadata: {name: checkout}
spec: {definition: {type: funnel, steps: [product_view, add_to_cart, purchase], window: 7d}}
",
    );
    let range = ["--from", "2024-05-01", "--to", "2024-06-01"];
    let moved = both(
        &suite,
        &[&["attribute", "views"], &range[..], &["--by", "platform,channel"]].concat(),
    );
    for dimension in moved["dimensions"].as_array().expect("dimensions") {
        let segments = dimension["segments"].as_array().expect("segments");
        let sum: f64 = segments.iter().map(|segment| number(&segment["contribution"])).sum();
        assert!((sum - number(&moved["change"])).abs() < 1e-6, "{dimension}");
    }

    let odd = both(&suite, &[&["anomalies", "views"], &range[..], &["--all"]].concat());
    let points = odd["series"][0]["points"].as_array().expect("points");
    assert_eq!(points.len(), 31);
    assert!(points.iter().all(|point| point["expected"].is_number()));

    let impact = both(
        &suite,
        &[
            &["impact", "views", "--event", "wishlist_add"],
            &range[..],
            &["--before", "2", "--property", "platform", "--segment", "platform"],
        ]
        .concat(),
    );
    assert_eq!(impact["evidence"], json!("matched"), "{impact}");
    let matches = &impact["matched"]["matches"];
    assert!(number(&matches["matched_adopters"]) > 10.0, "{matches}");

    let refused = suite
        .command(["impact", "views", "--from", "2024-05-01", "--to", "2024-06-01"])
        .output()
        .expect("northstar runs");
    assert_eq!(refused.status.code(), Some(2), "what was adopted is missing");
}
