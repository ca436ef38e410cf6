//! Tables of events are sent in.

use chrono::{NaiveDateTime, TimeDelta};
use serde_json::{Map, Value, json};

use super::markdown::Table;
use crate::suite::{Suite, text};

/// The columns that a table of events begins with.
const COLUMNS: [&str; 3] = ["event", "subject", "time"];

/// The column that says how often, day by day.
const TIMES: &str = "times";

/// Whether a table is one of events.
pub fn is_about_events(table: &Table) -> bool {
    table.header.starts_with(&COLUMNS.map(String::from))
}

/// Imports the events of a table; every table is a source of its own.
pub fn send(suite: &Suite, table: &Table, number: usize) {
    let properties = &table.header[COLUMNS.len()..];
    let times = properties.iter().position(|name| name == TIMES);
    let mut file = csv::Writer::from_writer(Vec::new());
    let header = ["event", "user", "device", "at"].into_iter();
    file.write_record(header.chain(properties.iter().map(String::as_str))).expect("a header");
    let mut rows = 0;
    for row in &table.rows {
        let (names, subject, values) = (&row[0], &row[1], &row[COLUMNS.len()..]);
        let device = subject.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
        let user = if device.is_some() { "" } else { subject.as_str() };
        let start = NaiveDateTime::parse_from_str(&row[2], "%Y-%m-%d %H:%M").expect("a time");
        let times = times.map_or("1", |at| values[at].as_str());
        for (times, day) in times.split(", ").zip(0..) {
            let times: usize = times.parse().unwrap_or_else(|_| panic!("{times:?} is no number"));
            for (name, minute) in names.split(", ").zip(0..) {
                let at = start + TimeDelta::days(day) + TimeDelta::minutes(minute);
                let at = at.format("%Y-%m-%dT%H:%M:%SZ").to_string();
                let record = [name, user, device.unwrap_or_default(), &at].into_iter();
                let record: Vec<&str> = record.chain(values.iter().map(String::as_str)).collect();
                for _ in 0..times {
                    file.write_record(&record).expect("a row");
                }
                rows += times;
            }
        }
    }
    let file = file.into_inner().expect("the file");
    let file =
        suite.file(&format!("events-{number}.csv"), std::str::from_utf8(&file).expect("text"));
    let mapping =
        suite.file(&format!("mapping-{number}.yaml"), &mapping(table, number).to_string());
    let summary = suite.json(["import", text(&file), "--mapping", text(&mapping), "--json"]);
    assert_eq!(summary["accepted"], json!(rows), "{summary}");
}

/// How the rows become events; JSON is YAML.
fn mapping(table: &Table, number: usize) -> Value {
    let mut properties = Map::new();
    for (at, name) in table.header.iter().enumerate().skip(COLUMNS.len()) {
        if name != TIMES {
            properties.insert(name.clone(), json!({ "column": name, "type": kind(table, at) }));
        }
    }
    json!({
        "source": format!("table-{number}"),
        "event": { "column": "event" },
        "user_id": { "column": "user" },
        "anonymous_id": { "column": "device" },
        "occurred_time": { "column": "at" },
        "properties": properties,
    })
}

/// The type of a property: what all its cells can be.
fn kind(table: &Table, at: usize) -> &'static str {
    let mut cells = table.rows.iter().map(|row| row[at].as_str()).filter(|cell| !cell.is_empty());
    let all = |is: fn(&str) -> bool| cells.clone().all(is);
    if all(|cell| cell.parse::<i64>().is_ok()) {
        "int"
    } else if all(|cell| cell.parse::<f64>().is_ok()) {
        "float"
    } else if cells.all(|cell| cell.parse::<bool>().is_ok()) {
        "bool"
    } else {
        "string"
    }
}
