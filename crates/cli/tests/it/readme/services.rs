//! The READMEs of approvals, automations and experiments.

use super::markdown::{Element, sections};
use super::play::play;
use super::{answers, readme};
use crate::suite::Suite;

/// The section with commands of each of them.
const COMMANDS: &str = "On the command line";

fn holds(service: &str) {
    let path = format!("services/{service}/README.md");
    for section in sections(&readme(&path)) {
        let asks = section.elements.iter().any(|element| match element {
            Element::Block(language, _) => language != "text",
            Element::Table(table) => answers::question(table).is_some(),
        });
        assert!(!asks || section.title == COMMANDS, "{path}: {:?} has no test", section.title);
    }
    play(&Suite::start(), &path, COMMANDS);
}

#[test]
fn decisions_are_taken_as_shown() {
    holds("approvals");
}

#[test]
fn an_automation_lives_as_shown() {
    holds("automations");
}

#[test]
fn a_file_is_analysed_as_shown() {
    holds("experiments");
}
