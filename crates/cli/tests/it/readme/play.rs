//! A section of a README is played from top to bottom over a log of its own: events are sent, documents applied,
//! commands run, answers compared.

use super::markdown::{Element, Table, code, commands, sections, shown};
use super::{answers, events, readme, run};
use crate::suite::{Suite, text};

/// The first line of documents that stand on others, which are not there.
const STANDS_ON: &str = "# stands on ";

/// When the cohorts of a README are judged.
const JUDGED: &str = "2026-03-05";

/// Plays a section of a README.
pub fn play(suite: &Suite, path: &str, title: &str) {
    let all = sections(&readme(path));
    let section = all.iter().find(|section| section.title == title);
    let section = section.unwrap_or_else(|| panic!("no section {title:?}"));
    for (number, element) in section.elements.iter().enumerate() {
        match element {
            Element::Block(language, body) if language == "yaml" => {
                let file = suite.file(&format!("{number}.yaml"), body);
                suite.run(["validate", text(&file)]);
                if !body.starts_with(STANDS_ON) {
                    suite.run(["apply", text(&file)]);
                }
            }
            Element::Block(language, body) if language == "console" => {
                let output = run(suite, &commands(body));
                let printed = String::from_utf8_lossy(&output.stdout);
                for line in shown(body) {
                    assert!(printed.lines().any(|found| found == line), "no {line:?} in {printed}");
                }
            }
            Element::Block(language, _) => panic!("{title}: nobody runs {language:?}"),
            Element::Table(table) if events::is_about_events(table) => {
                events::send(suite, table, number);
            }
            Element::Table(table) => {
                define(suite, table);
                answers::check(suite, table);
            }
        }
    }
}

/// Applies the metrics or cohorts that a table defines, and compares what they give.
fn define(suite: &Suite, table: &Table) {
    let kind = match table.column("definition").or_else(|| table.column("rule")) {
        Some(1) if table.header[0] == "metric" => "Metric",
        Some(1) if table.header[0] == "cohort" => "Cohort",
        _ => return,
    };
    let spec = |row: &[String]| {
        let (name, spec) = (code(&row[0]).expect("a name"), code(&row[1])?);
        Some(format!(
            "kind: {kind}\nmetadata: {{name: {name}}}\nspec: {{owner: growth, {}: {spec}}}\n",
            table.header[1]
        ))
    };
    let documents: Vec<String> = table.rows.iter().filter_map(|row| spec(row)).collect();
    suite.apply("defined.yaml", &documents.join("---\n"));
    for row in &table.rows {
        let name = code(&row[0]).expect("a name");
        let command = if kind == "Cohort" {
            format!("northstar cohort members {name} --at {JUDGED}")
        } else {
            let asked = code(&row[2]).unwrap_or_default();
            let unless = |flag: &str, more: &str| {
                if asked.contains(flag) { String::new() } else { format!(" {flag} {more}") }
            };
            let (from, to) = (unless("--from", "2026-03-01"), unless("--to", "2026-04-01"));
            format!("northstar query {name} {asked}{from}{to}")
        };
        let last = table.header.len() - 1;
        answers::compare(suite, &command, &table.header[last..], &row[last..]);
    }
}
