//! What keeps the numbers of a report honest: guardrails, data, people.

use northstar_proto::metrics::v1 as pb;

use super::{Moved, Writer};

impl Writer<'_> {
    /// What keeps the numbers honest: guardrails, data, people.
    pub(super) fn controls(&self, moved: &[Moved<'_>]) -> Vec<pb::Control> {
        vec![guardrails(moved), self.data(moved), self.people()]
    }

    fn data(&self, moved: &[Moved<'_>]) -> pb::Control {
        let provenances =
            || moved.iter().filter_map(|moved| moved.movement.kpi.as_ref()?.provenance.as_ref());
        let mut breached: Vec<&str> = provenances()
            .flat_map(|provenance| provenance.breached_sources.iter().map(String::as_str))
            .collect();
        breached.sort_unstable();
        breached.dedup();
        let fresh = provenances().all(|provenance| provenance.freshness() == pb::Freshness::Fresh);
        let waiting = provenances().map(|provenance| provenance.excluded_quarantined_events).max();
        let quarantined = match waiting.unwrap_or_default() {
            0 => "nothing waits in quarantine".to_owned(),
            1 => "one event waits in quarantine and is in no number".to_owned(),
            events => format!("{events} events wait in quarantine and are in no number"),
        };
        let sentence = if fresh {
            format!("The sources deliver, and {quarantined}.")
        } else if breached.is_empty() {
            format!("No event arrived for more than a day, or none at all; {quarantined}.")
        } else {
            format!(
                "These sources do not deliver what they owe: {}; {quarantined}.",
                breached.join(", ")
            )
        };
        pb::Control {
            name: "data".to_owned(),
            holds: fresh,
            sentence,
            command: "northstar sources".to_owned(),
        }
    }

    fn people(&self) -> pb::Control {
        let thresholds = match self.material.open_thresholds {
            0 => "no threshold is breached".to_owned(),
            1 => "one threshold is breached".to_owned(),
            open => format!("{open} thresholds are breached"),
        };
        let (holds, questions) = match self.material.waiting {
            None => (false, "How many questions wait for people could not be told".to_owned()),
            Some(0) => (true, "No question waits for people".to_owned()),
            Some(1) => (false, "One question waits for people".to_owned()),
            Some(waiting) => (false, format!("{waiting} questions wait for people")),
        };
        pb::Control {
            name: "people".to_owned(),
            holds: holds && self.material.open_thresholds == 0,
            sentence: format!("{questions}, and {thresholds}."),
            command: "northstar decision list --state pending".to_owned(),
        }
    }
}

fn guardrails(moved: &[Moved<'_>]) -> pb::Control {
    let all = || {
        moved.iter().filter_map(|moved| moved.movement.kpi.as_ref()).flat_map(|kpi| &kpi.guardrails)
    };
    let judged = all().filter(|guardrail| guardrail.breached.is_some()).count();
    let unknown = all().count() - judged;
    let mut broken: Vec<_> = all()
        .filter(|guardrail| guardrail.breached == Some(true))
        .map(|guardrail| guardrail.metric.as_str())
        .collect();
    broken.sort_unstable();
    broken.dedup();
    let unjudged = match unknown {
        0 => String::new(),
        unknown => format!("; {unknown} cannot be judged for want of data"),
    };
    let sentence = match broken.as_slice() {
        [] => format!("{judged} of {judged} guardrails hold{unjudged}."),
        broken => {
            format!("Worse by more than its margin: {}{unjudged}.", broken.join(", "))
        }
    };
    pb::Control {
        name: "guardrails".to_owned(),
        holds: broken.is_empty(),
        sentence,
        command: "northstar scorecard --json".to_owned(),
    }
}
