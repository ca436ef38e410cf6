//! Which pillar a piece of work belongs to.

use std::collections::BTreeMap;

use northstar_domain::kpi::Kpi;
use northstar_store::metrics::definition::Stored;

/// Which pillar a piece of work belongs to.
#[derive(Clone, Debug, Default)]
pub(super) struct Belongs {
    pub(super) automations: BTreeMap<String, String>,
    pub(super) experiments: BTreeMap<String, String>,
    pub(super) kpis: BTreeMap<String, String>,
    /// Metrics of KPIs; of no pillar when KPIs of several use one.
    pub(super) metrics: BTreeMap<String, String>,
}

impl Belongs {
    /// The same with KPIs and their metrics.
    pub(super) fn with(mut self, kpis: &[Stored<Kpi>]) -> Self {
        for kpi in kpis {
            let pillar = &kpi.document.pillar;
            self.kpis.insert(kpi.name.to_string(), pillar.clone());
            let metric = self.metrics.entry(kpi.document.metric.clone());
            metric
                .and_modify(|known| {
                    if known != pillar {
                        known.clear();
                    }
                })
                .or_insert_with(|| pillar.clone());
        }
        self
    }

    /// The pillar of a decision's subject, such as `automations/nudge`.
    pub(super) fn of_subject(&self, subject: &str) -> &str {
        let (kind, name) = subject.split_once('/').unwrap_or_default();
        let known = match kind {
            "automations" => self.automations.get(name),
            "experiments" => self.experiments.get(name),
            "kpis" => self.kpis.get(name),
            "metrics" => self.metrics.get(name),
            _ => None,
        };
        known.map_or("", String::as_str)
    }

    pub(super) fn of_automation(&self, name: &str) -> &str {
        self.automations.get(name).map_or("", String::as_str)
    }

    pub(super) fn of_experiment(&self, name: &str) -> &str {
        self.experiments.get(name).map_or("", String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_belongs_to_the_pillar_of_what_it_is_about() {
        let one = |name: &str, pillar: &str| [(name.to_owned(), pillar.to_owned())].into();
        let belongs = Belongs {
            automations: one("nudge", "activation"),
            experiments: one("short", "sales"),
            kpis: one("nrr", "retention"),
            metrics: one("mrr", "retention"),
        };
        assert_eq!(belongs.of_subject("automations/nudge"), "activation");
        assert_eq!(belongs.of_subject("experiments/short"), "sales");
        assert_eq!(belongs.of_subject("kpis/nrr"), "retention");
        assert_eq!(belongs.of_subject("metrics/mrr"), "retention");
        assert_eq!(belongs.of_subject("automations/other"), "");
        assert_eq!(belongs.of_subject("contracts/Signed Up"), "");
        assert_eq!(belongs.of_subject("nonsense"), "");
    }
}
