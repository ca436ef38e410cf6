//! Tables of answers are asked for and compared.

use std::time::Duration;

use serde_json::Value;

use super::markdown::{Table, code};
use super::run;
use crate::suite::Suite;

/// Columns that explain and are no answer.
const WORDS: [&str; 2] = ["because", "rule"];

/// Where a column of an answer is in the JSON of a command: keys and indices apart by `/`. `*` is every value, `=` the
/// name of the column with its number less one or else with underscores, and `lines` every document of several.
const PATHS: &[(&str, &[&str], &str)] = &[
    ("funnel", &["step 1", "step 2", "step 3", "step 4", "step 5"], "0/rows/*/steps/=/count"),
    ("funnel", &["sum 1", "sum 2"], "0/rows/*/steps/=/value_sum"),
    ("funnel", &["seconds"], "0/rows/*/times/mean_seconds"),
    ("funnel", &["median"], "0/rows/*/times/p50_seconds"),
    ("funnel", &["bars"], "0/rows/*/histogram/*/count"),
    ("funnel", &["bars from"], "0/rows/*/histogram/*/from_seconds"),
    ("funnel", &["row"], "0/rows/*/kind"),
    ("funnel", &["channel"], "0/rows/*/dimensions/channel"),
    ("funnel", &["subjects"], "lines/*/value"),
    ("retention", &["retained", "value", "eligible", "mature"], "0/cohorts/*/cells/*/="),
    ("retention", &["entered"], "0/cohorts/*/="),
    ("retention", &["weighted mean"], "0/columns/*/rate"),
    ("retention", &["before"], "0/columns/*/previous_rate"),
    ("retention", &["change"], "0/columns/*/change"),
    ("lifecycle", &["new", "returning", "resurrecting", "dormant", "active"], "0/periods/*/="),
    ("paths", &["step"], "0/nodes/*/step/event"),
    ("paths", &["distance", "dropped"], "0/nodes/*/="),
    ("paths", &["paths"], "0/nodes/*/count"),
    ("scorecard", &["value", "status"], "kpis/*/="),
    ("scorecard", &["breached guardrails"], "kpis/*/=/*"),
    ("kpi tree", &["KPIs"], "pillars/*/kpis/*/name"),
    ("kpi tree", &["driven by"], "pillars/*/kpis/*/driven_by/*"),
    ("lineage", &["events", "properties", "metrics"], "=/*"),
    ("query revenue,buyers", &["plan"], "rows/*/dimensions/plan"),
    ("query revenue,buyers", &["revenue", "buyers"], "rows/*/values/=/value"),
    ("query", &["plan"], "rows/*/dimensions/plan"),
    ("query", &["bucket"], "rows/*/time"),
    ("query", &["cohort"], "rows/*/dimensions/cohort.regulars"),
    ("query", &["value", "answer", "revenue"], "rows/*/value"),
    ("query", &["before"], "rows/*/previous_value"),
    ("query", &["change"], "rows/*/relative_change"),
    ("cohort members", &["members"], "members/*/value"),
    ("cohort size", &["members"], "sizes/*/members"),
    ("behind", &["value"], "value"),
    ("behind", &["subjects"], "subjects/*/value"),
    ("explain", &["subjects"], "events/*/subject/value"),
    ("explain", &["amounts"], "events/*/properties/amount"),
    ("explain", &["left out"], "excluded/*/reason"),
    ("explain", &["how many"], "excluded/*/events"),
    ("restatements", &["before"], "*/old_value"),
    ("restatements", &["after"], "*/new_value"),
    ("restatements", &["causes"], "*/causes/*"),
    ("threshold evaluate", &["reading", "breaches", "effect"], "="),
    ("report executive", &["headline"], "units/0/headline"),
    ("report executive", &["driver"], "units/0/drivers/*/name"),
    ("report executive", &["contribution"], "units/0/drivers/*/contribution"),
    ("report executive", &["controls"], "units/0/controls/*/name"),
    ("impact", &["evidence"], "evidence"),
    ("impact", &["effect"], "matched/effect/estimate"),
    ("impact", &["from"], "matched/effect/ci_low"),
    ("impact", &["to"], "matched/effect/ci_high"),
    ("anomalies", &["value", "expected", "anomaly"], "series/0/points/*/="),
    ("anomalies", &["hits", "misses", "false alarms"], "series/0/backtest/="),
    ("attribute", &["change"], "change"),
    ("attribute", &["segment"], "dimensions/0/segments/*/segment/platform"),
    ("attribute", &["rate"], "dimensions/0/segments/*/rate_effect"),
    ("attribute", &["mix"], "dimensions/0/segments/*/mix_effect"),
    ("attribute", &["contribution"], "dimensions/0/segments/*/contribution"),
    ("pack apply", &["events"], "needs/*/event"),
    ("pack apply", &["in the log"], "needs/*/in_log"),
    ("experiment analyze-file", &["difference"], "comparisons/0/absolute/estimate"),
    ("experiment analyze-file", &["from"], "comparisons/0/absolute/ci_low"),
    ("experiment analyze-file", &["to"], "comparisons/0/absolute/ci_high"),
    ("experiment analyze-file", &["p"], "comparisons/0/absolute/p_value"),
    ("experiment analyze-file", &["lift"], "comparisons/0/relative/estimate"),
    ("experiment analyze-file", &["lift from"], "comparisons/0/relative/ci_low"),
    ("experiment analyze-file", &["lift to"], "comparisons/0/relative/ci_high"),
    ("clv", &["customers"], "total/customers"),
    ("clv", &["r", "a", "b"], "purchases/="),
    ("clv", &["alpha"], "purchases/alpha_days"),
    ("clv", &["p", "q", "v"], "amounts/="),
];

/// Commands whose answers come a moment after what they are about.
const LATER: [&str; 1] = ["restatements"];

/// The command in the header of a table of answers, which each row goes on.
pub fn question(table: &Table) -> Option<&str> {
    let (question, and) = table.header.first()?.rsplit_once(' ')?;
    code(question).filter(|question| and == "and" && question.starts_with("northstar "))
}

/// Asks what every row asks, and compares.
pub fn check(suite: &Suite, table: &Table) {
    let Some(question) = question(table) else { return };
    for row in &table.rows {
        let more = code(&row[0]).unwrap_or_else(|| {
            assert!(row[0].is_empty(), "{:?} is no code", row[0]);
            ""
        });
        compare(suite, &format!("{question} {more}"), &table.header[1..], &row[1..]);
    }
}

/// Asks a command and compares the cells of a row, by their names.
pub fn compare(suite: &Suite, command: &str, names: &[String], cells: &[String]) {
    let mut tries = if LATER.iter().any(|later| command.contains(later)) { 120 } else { 1 };
    loop {
        tries -= 1;
        let answer = ask(suite, command);
        let wrong: Vec<String> = names
            .iter()
            .zip(cells)
            .filter(|(name, cell)| !cell.is_empty() && !WORDS.contains(&name.as_str()))
            .filter_map(|(name, cell)| {
                let found = find(&answer, path(command, name));
                (!is_shown(cell, &found))
                    .then(|| format!("{name}: {cell} is shown, {found:?} found"))
            })
            .collect();
        if wrong.is_empty() {
            return;
        }
        assert!(tries > 0, "{command}\n{}", wrong.join("\n"));
        std::thread::sleep(Duration::from_millis(250));
    }
}

/// Every document that a command prints.
fn ask(suite: &Suite, command: &str) -> Vec<Value> {
    let printed = run(suite, &format!("{command} --json")).stdout;
    let documents = serde_json::Deserializer::from_slice(&printed).into_iter();
    documents.collect::<Result<_, _>>().unwrap_or_else(|error| panic!("{command}: {error}"))
}

/// Where a column of the answer of a command is.
fn path(command: &str, name: &str) -> String {
    let command = command.trim_start_matches("northstar ");
    let (_, _, path) = PATHS
        .iter()
        .find(|(of, names, _)| command.starts_with(*of) && names.contains(&name))
        .unwrap_or_else(|| panic!("{command} has no {name:?}"));
    let number = name.rsplit_once(' ').and_then(|(_, number)| number.parse::<usize>().ok());
    let name = number.map_or_else(|| name.replace(' ', "_"), |number| (number - 1).to_string());
    path.replace('=', &name)
}

/// What is at a path; null where there is nothing.
fn find(documents: &[Value], path: String) -> Vec<Value> {
    let (first, lines) = (documents.first().cloned().unwrap_or_default(), documents.to_vec());
    let (mut found, path) = match path.strip_prefix("lines/") {
        Some(path) => (vec![Value::Array(lines)], path.to_owned()),
        None => (vec![first], path),
    };
    for step in path.split('/') {
        let within = |value: &Value| match (step, value) {
            ("*", Value::Array(values)) => values.clone(),
            ("*", _) => Vec::new(),
            (_, Value::Array(values)) => {
                let at: usize = step.parse().unwrap_or_else(|_| panic!("{step} in {value}"));
                vec![values.get(at).cloned().unwrap_or_default()]
            }
            _ => vec![value.get(step).cloned().unwrap_or_default()],
        };
        found = found.iter().flat_map(within).collect();
    }
    found
}

/// Whether a cell shows these values: apart by semicolons; `none` are none.
fn is_shown(cell: &str, found: &[Value]) -> bool {
    let shown: Vec<&str> = cell.split("; ").collect();
    (cell == "none" && found.is_empty())
        || (shown.len() == found.len()
            && shown.iter().zip(found).all(|(cell, value)| shows(cell, value)))
}

/// Whether a cell shows a value: as a number to the digits it has, and exactly when it has none after the point.
fn shows(cell: &str, value: &Value) -> bool {
    match value {
        Value::Null => cell == "–",
        Value::Bool(value) => cell == if *value { "yes" } else { "no" },
        Value::String(value) => cell == value,
        Value::Number(value) => {
            let (plain, value) = (cell.replace(',', ""), value.as_f64().unwrap_or(f64::NAN));
            let digits = plain.split_once('.').map_or(0, |(_, digits)| digits.len());
            let slack = if digits == 0 {
                0.0
            } else {
                0.5 * 0.1_f64.powi(i32::try_from(digits).expect("few"))
            };
            plain.parse::<f64>().is_ok_and(|shown| (shown - value).abs() <= slack + 1e-9)
        }
        Value::Array(_) | Value::Object(_) => false,
    }
}
