//! Pillars, metrics and KPIs beside each other, and the rules between them.
//! The service checks a new document against what it has stored; `northstar
//! validate` checks a folder of documents against itself.

use std::collections::BTreeMap;

use crate::ResourceName;
use crate::cohort::Cohort;
use crate::kpi::Kpi;
use crate::metric::Metric;
use crate::pillar::Pillar;
use crate::threshold::Threshold;
use crate::violation::{InvalidExpression, MissingReference, Problems};

/// Compiles a CEL filter, or says what is wrong with it. The engine does that;
/// the rules here only say which texts are filters.
pub type CompileFilter<'a> = &'a dyn Fn(&str) -> Result<(), String>;

/// The definitions of a project, by name.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// Pillars.
    pub pillars: BTreeMap<ResourceName, Pillar>,
    /// Metrics.
    pub metrics: BTreeMap<ResourceName, Metric>,
    /// KPIs.
    pub kpis: BTreeMap<ResourceName, Kpi>,
}

impl Catalog {
    /// Everything wrong with a metric that is to stand in this catalog under
    /// this name, whether it is new or replaces one.
    pub fn check_metric(
        &self,
        name: &str,
        metric: &Metric,
        compile: CompileFilter<'_>,
    ) -> Problems {
        let mut problems = Problems { fields: metric.violations(), ..Problems::default() };
        for (path, selector) in metric.selectors() {
            if !selector.filter.trim().is_empty()
                && let Err(problem) = compile(&selector.filter)
            {
                problems.expressions.push(InvalidExpression {
                    field: format!("{path}.filter"),
                    expression: selector.filter.clone(),
                    problem,
                });
            }
        }
        for (field, part) in metric.parts().into_iter().filter(|(_, part)| !part.is_empty()) {
            self.check_part(&mut problems, name, field, part);
        }
        if let Some(definition) = &metric.definition
            && !definition.may_be_part_of_ratio()
            && let Some(ratio) = self.ratio_of(name)
        {
            problems.fields.push(
                "definition",
                format!(
                    "must stay a count, unique, sum or mean while the ratio {ratio} is computed \
                     from it"
                ),
            );
        }
        problems
    }

    /// A ratio is made of counts, uniques, sums and means, so no chain of
    /// ratios, and no cycle, can exist.
    fn check_part(&self, problems: &mut Problems, name: &str, field: String, part: &str) {
        if part == name {
            let problem = "a ratio cannot be computed from itself";
            problems.fields.push(field, problem);
            return;
        }
        match self.metrics.get(part) {
            None => problems.missing.push(MissingReference {
                field,
                kind: "Metric",
                name: part.to_owned(),
            }),
            Some(metric) => {
                let kind = metric.definition.as_ref().filter(|d| !d.may_be_part_of_ratio());
                if let Some(definition) = kind {
                    problems.fields.push(
                        field,
                        format!(
                            "must name a count, unique, sum or mean; {part} is a {}",
                            definition.kind()
                        ),
                    );
                }
            }
        }
    }

    fn ratio_of(&self, name: &str) -> Option<&ResourceName> {
        self.metrics
            .iter()
            .find(|(_, metric)| metric.parts().iter().any(|(_, part)| *part == name))
            .map(|(ratio, _)| ratio)
    }

    /// Everything wrong with a KPI that is to stand in this catalog.
    pub fn check_kpi(&self, kpi: &Kpi) -> Problems {
        let mut problems = Problems { fields: kpi.violations(), ..Problems::default() };
        let guardrails = kpi.guardrails.iter().enumerate();
        let metrics = std::iter::once(("metric".to_owned(), kpi.metric.as_str())).chain(
            guardrails.map(|(index, guardrail)| {
                (format!("guardrails[{index}].metric"), guardrail.metric.as_str())
            }),
        );
        for (field, name) in metrics {
            if !name.is_empty() && !self.metrics.contains_key(name) {
                let name = name.to_owned();
                problems.missing.push(MissingReference { field, kind: "Metric", name });
            }
        }
        if !kpi.pillar.is_empty() && !self.pillars.contains_key(kpi.pillar.as_str()) {
            problems.missing.push(MissingReference {
                field: "pillar".to_owned(),
                kind: "Pillar",
                name: kpi.pillar.clone(),
            });
        }
        problems
    }

    /// Everything wrong with a threshold that is to stand in this catalog.
    pub fn check_threshold(&self, threshold: &Threshold) -> Problems {
        let mut problems = Problems { fields: threshold.violations(), ..Problems::default() };
        let mut miss = |field: &str, kind: &'static str, name: &str, known: bool| {
            if !name.is_empty() && !known {
                let (field, name) = (field.to_owned(), name.to_owned());
                problems.missing.push(MissingReference { field, kind, name });
            }
        };
        let Threshold { kpi, metric, .. } = threshold;
        miss("kpi", "Kpi", kpi, self.kpis.contains_key(kpi.as_str()));
        miss("metric", "Metric", metric, self.metrics.contains_key(metric.as_str()));
        problems
    }

    /// Everything wrong with a cohort.
    pub fn check_cohort(&self, cohort: &Cohort, compile: CompileFilter<'_>) -> Problems {
        let mut problems = Problems { fields: cohort.violations(), ..Problems::default() };
        for (field, filter) in cohort.filters() {
            if !filter.trim().is_empty()
                && let Err(problem) = compile(filter)
            {
                let expression = filter.to_owned();
                problems.expressions.push(InvalidExpression { field, expression, problem });
            }
        }
        problems
    }

    /// Everything wrong with the whole catalog: kind, name and problems of each
    /// document at fault.
    pub fn check(
        &self,
        compile: CompileFilter<'_>,
    ) -> Vec<(&'static str, &ResourceName, Problems)> {
        let pillars = self.pillars.iter().map(|(name, pillar)| {
            let fields = pillar.violations();
            ("Pillar", name, Problems { fields, ..Problems::default() })
        });
        let metrics = self.metrics.iter().map(|(name, metric)| {
            ("Metric", name, self.check_metric(name.as_str(), metric, compile))
        });
        let kpis = self.kpis.iter().map(|(name, kpi)| ("Kpi", name, self.check_kpi(kpi)));
        pillars.chain(metrics).chain(kpis).filter(|(_, _, problems)| !problems.is_empty()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::{Definition, EventSelector};

    fn name(text: &str) -> ResourceName {
        text.parse().unwrap()
    }

    fn count() -> Metric {
        let event = EventSelector::named("Paid");
        Metric { definition: Some(Definition::Count { event }), ..Metric::default() }
    }

    fn ratio(numerator: &str, denominator: &str) -> Metric {
        let (numerator, denominator) = (numerator.to_owned(), denominator.to_owned());
        let definition = Some(Definition::Ratio { numerator, denominator });
        Metric { definition, ..Metric::default() }
    }

    fn catalog() -> Catalog {
        let metrics = [
            (name("paid"), count()),
            (name("signups"), count()),
            (name("paid-rate"), ratio("paid", "signups")),
        ];
        Catalog { metrics: metrics.into(), ..Catalog::default() }
    }

    fn compile(filter: &str) -> Result<(), String> {
        if filter == "bad" { Err("not CEL".to_owned()) } else { Ok(()) }
    }

    #[test]
    fn a_ratio_of_a_ratio_is_refused_from_both_ends() {
        let catalog = catalog();
        let above = catalog.check_metric("new", &ratio("paid-rate", "paid"), &compile);
        assert_eq!(above.fields.as_slice()[0].field, "ratio.numerator");
        let below = catalog.check_metric("paid", &ratio("signups", "signups"), &compile);
        assert_eq!(below.fields.as_slice()[0].field, "definition");
        let itself = catalog.check_metric("paid-rate", &ratio("paid", "paid-rate"), &compile);
        assert_eq!(itself.fields.as_slice()[0].field, "ratio.denominator");
    }

    #[test]
    fn fields_expressions_and_references_are_reported_together() {
        let event = EventSelector { name: "Paid".to_owned(), filter: "bad".to_owned() };
        let metric = Metric {
            definition: Some(Definition::Sum { event, property: String::new() }),
            ..Metric::default()
        };
        let problems = catalog().check_metric("new", &metric, &compile);
        assert_eq!(problems.fields.as_slice()[0].field, "sum.property");
        assert_eq!(problems.expressions[0].field, "sum.event.filter");
        let problems = catalog().check_metric("new", &ratio("paid", "nobody"), &compile);
        assert_eq!(problems.missing[0].name, "nobody");
    }

    #[test]
    fn a_kpi_names_every_document_that_does_not_exist() {
        let kpi =
            Kpi { metric: "nothing".to_owned(), pillar: "nowhere".to_owned(), ..Kpi::default() };
        let missing = catalog().check_kpi(&kpi).missing;
        let names: Vec<_> = missing.iter().map(|m| (m.kind, m.name.as_str())).collect();
        assert_eq!(names, [("Metric", "nothing"), ("Pillar", "nowhere")]);
    }

    #[test]
    fn a_threshold_watches_what_exists() {
        let on = |kpi: &str, metric: &str| {
            let (kpi, metric) = (kpi.to_owned(), metric.to_owned());
            catalog().check_threshold(&Threshold { kpi, metric, ..Threshold::default() }).missing
        };
        assert_eq!(on("", "paid"), []);
        assert_eq!((on("nobody", "")[0].kind, on("", "nobody")[0].kind), ("Kpi", "Metric"));
    }

    #[test]
    fn a_sound_catalog_has_no_problems() {
        assert!(catalog().check(&compile).is_empty());
    }
}
