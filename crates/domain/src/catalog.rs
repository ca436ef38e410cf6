//! Pillars, metrics and KPIs beside each other, and the rules between them.
//! The service checks a new document against what it has stored; `northstar
//! validate` checks a folder of documents against itself.

use std::collections::{BTreeMap, BTreeSet};

use crate::ResourceName;
use crate::activity::Activity;
use crate::cohort::Cohort;
use crate::kpi::Kpi;
use crate::metric::{Definition, Metric, MetricInput};
use crate::pillar::Pillar;
use crate::threshold::Threshold;
use crate::violation::{InvalidExpression, MissingReference, Problems};

/// Compiles a CEL filter, or says what is wrong with it. The engine does that;
/// the rules here only say which texts are filters.
pub type CompileFilter<'a> = &'a dyn Fn(&str) -> Result<(), String>;

/// Compiles the expression of a derived metric over its aliases, or says what is
/// wrong with it.
pub type CompileFormula<'a> = &'a dyn Fn(&str, &[&str]) -> Result<(), String>;

/// What reads the expressions of definitions.
#[derive(Clone, Copy)]
pub struct Compilers<'a> {
    /// Of filters.
    pub filter: CompileFilter<'a>,
    /// Of derived metrics.
    pub formula: CompileFormula<'a>,
}

/// How deeply metrics may stand on metrics.
const MAX_DEPTH: usize = 8;

/// Most metrics that one may stand on, each counted as often as it is used.
pub const MAX_PARTS: usize = 256;

/// The definitions of a project, by name.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// Activities.
    pub activities: BTreeMap<ResourceName, Activity>,
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
    pub fn check_metric(&self, name: &str, metric: &Metric, compile: Compilers<'_>) -> Problems {
        let mut problems = Problems { fields: metric.violations(), ..Problems::default() };
        check_filters(&mut problems, metric.filters(), compile.filter);
        if let Some(Definition::Derived { expression, inputs }) = &metric.definition
            && !expression.trim().is_empty()
        {
            let aliases: Vec<&str> = inputs.iter().map(|input| input.alias()).collect();
            if let Err(problem) = (compile.formula)(expression, &aliases) {
                problems.expressions.push(InvalidExpression {
                    field: "derived.expression".to_owned(),
                    expression: expression.clone(),
                    problem,
                });
            }
        }
        if let Some(activity) = metric.activity()
            && !self.activities.contains_key(activity)
        {
            let field = format!("{}.activity", metric.kind());
            let name = activity.to_owned();
            problems.missing.push(MissingReference { field, kind: "Activity", name });
        }
        for (field, part) in metric.parts() {
            self.check_part(&mut problems, name, metric, field, part);
        }
        if let Some(definition) = &metric.definition
            && !definition.can_accumulate()
            && let Some(cumulative) = self.accumulated_by(name)
        {
            problems.fields.push(
                "definition",
                format!(
                    "must stay a count, unique, sum, mean, min, max, percentile, per_subject or nps \
                     while the cumulative metric {cumulative} is computed from it"
                ),
            );
        }
        problems
    }

    /// What a metric is computed from exists, is not computed from the metric
    /// itself, and can do what is asked of it.
    fn check_part(
        &self,
        problems: &mut Problems,
        name: &str,
        metric: &Metric,
        field: String,
        part: &MetricInput,
    ) {
        let part = part.metric.as_str();
        if part.is_empty() {
            return;
        }
        if part == name {
            problems.fields.push(field, "a metric cannot be computed from itself");
            return;
        }
        let Some(found) = self.metrics.get(part) else {
            let name = part.to_owned();
            problems.missing.push(MissingReference { field, kind: "Metric", name });
            return;
        };
        match (&metric.definition, &found.definition) {
            (Some(Definition::Cumulative { .. }), Some(definition))
                if !definition.can_accumulate() =>
            {
                let problem = format!(
                    "must name a count, unique, sum, mean, min, max, percentile, per_subject or \
                     nps; {part} is a {}",
                    definition.kind()
                );
                problems.fields.push(field, problem);
            }
            _ => match self.stack(part, name, &mut BTreeMap::new()) {
                None => {
                    let problem =
                        format!("{part} is computed from {name}, so this would be a circle");
                    problems.fields.push(field, problem);
                }
                Some(stack) if stack.height > MAX_DEPTH || stack.parts > MAX_PARTS => {
                    let problem = format!(
                        "would stand on {} metrics, {} deep; at most {MAX_PARTS} and {MAX_DEPTH}",
                        stack.parts, stack.height
                    );
                    problems.fields.push(field, problem);
                }
                Some(_) => {}
            },
        }
    }

    /// What a metric stands on, itself included; `None` when `top` is among it.
    /// Stored metrics stand in no circle without it.
    fn stack<'a>(
        &'a self,
        metric: &'a str,
        top: &str,
        known: &mut BTreeMap<&'a str, Stack>,
    ) -> Option<Stack> {
        if metric == top {
            return None;
        }
        if let Some(stack) = known.get(metric) {
            return Some(*stack);
        }
        let parts = self.metrics.get(metric).map(Metric::parts).unwrap_or_default();
        let own = Stack { height: 1, parts: 1 };
        let stack = parts.into_iter().try_fold(own, |stack, (_, part)| {
            let below = self.stack(&part.metric, top, known)?;
            Some(Stack {
                height: stack.height.max(below.height + 1),
                parts: stack.parts.saturating_add(below.parts),
            })
        })?;
        known.insert(metric, stack);
        Some(stack)
    }

    /// A cumulative metric that is computed from one.
    fn accumulated_by(&self, name: &str) -> Option<&ResourceName> {
        self.metrics
            .iter()
            .find(|(_, metric)| match &metric.definition {
                Some(Definition::Cumulative { metric, .. }) => metric.metric == name,
                _ => false,
            })
            .map(|(cumulative, _)| cumulative)
    }

    /// Everything wrong with an activity that is to stand in this catalog under
    /// this name.
    pub fn check_activity(
        &self,
        name: &str,
        activity: &Activity,
        compile: CompileFilter<'_>,
    ) -> Problems {
        let mut problems = Problems { fields: activity.violations(), ..Problems::default() };
        let filters = activity.events.iter().enumerate();
        let filters =
            filters.map(|(index, event)| (format!("events[{index}].filter"), &event.filter));
        let filters = filters.filter(|(_, filter)| !filter.trim().is_empty());
        check_filters(
            &mut problems,
            filters.map(|(field, filter)| (field, filter.as_str())).collect(),
            compile,
        );
        let mut others = self.activities.iter().filter(|(other, _)| other.as_str() != name);
        if activity.default
            && let Some((other, _)) = others.find(|(_, other)| other.default)
        {
            let problem = format!("{other} is the default already; there is at most one");
            problems.fields.push("default", problem);
        }
        problems
    }

    /// The activity that metrics mean that name none.
    pub fn default_activity(&self) -> Option<(&ResourceName, &Activity)> {
        self.activities.iter().find(|(_, activity)| activity.default)
    }

    /// Everything wrong with a KPI that is to stand in this catalog under this
    /// name.
    pub fn check_kpi(&self, name: &str, kpi: &Kpi) -> Problems {
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
        match self.pillars.get(kpi.pillar.as_str()) {
            None if !kpi.pillar.is_empty() => problems.missing.push(MissingReference {
                field: "pillar".to_owned(),
                kind: "Pillar",
                name: kpi.pillar.clone(),
            }),
            Some(pillar) if !kpi.lever.is_empty() && !pillar.levers.contains(&kpi.lever) => {
                let problem = format!(
                    "{:?} is no lever of the pillar {}; its levers are {}",
                    kpi.lever,
                    kpi.pillar,
                    pillar.levers.join(", ")
                );
                problems.fields.push("lever", problem);
            }
            _ => {}
        }
        for (index, driven) in kpi.drives.iter().enumerate() {
            self.check_driven(&mut problems, name, format!("drives[{index}]"), driven);
        }
        problems
    }

    /// What a KPI drives exists and does not drive the KPI.
    fn check_driven(&self, problems: &mut Problems, name: &str, field: String, driven: &str) {
        if driven.is_empty() {
            return;
        }
        if driven == name {
            problems.fields.push(field, "a KPI cannot drive itself");
        } else if !self.kpis.contains_key(driven) {
            let name = driven.to_owned();
            problems.missing.push(MissingReference { field, kind: "Kpi", name });
        } else if self.drives(driven, name) {
            let problem = format!("{driven} drives {name} already, so this would be a circle");
            problems.fields.push(field, problem);
        }
    }

    /// Whether one KPI drives another, directly or through others.
    fn drives(&self, driver: &str, driven: &str) -> bool {
        let mut reached = BTreeSet::new();
        let mut next = vec![driver];
        while let Some(kpi) = next.pop() {
            if kpi == driven {
                return true;
            }
            if reached.insert(kpi) {
                let drives = self.kpis.get(kpi).into_iter().flat_map(|kpi| &kpi.drives);
                next.extend(drives.map(String::as_str));
            }
        }
        false
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
    pub fn check(&self, compile: Compilers<'_>) -> Vec<(&'static str, &ResourceName, Problems)> {
        let activities = self.activities.iter().map(|(name, activity)| {
            ("Activity", name, self.check_activity(name.as_str(), activity, compile.filter))
        });
        let pillars = self.pillars.iter().map(|(name, pillar)| {
            let fields = pillar.violations();
            ("Pillar", name, Problems { fields, ..Problems::default() })
        });
        let metrics = self.metrics.iter().map(|(name, metric)| {
            ("Metric", name, self.check_metric(name.as_str(), metric, compile))
        });
        let kpis =
            self.kpis.iter().map(|(name, kpi)| ("Kpi", name, self.check_kpi(name.as_str(), kpi)));
        activities
            .chain(pillars)
            .chain(metrics)
            .chain(kpis)
            .filter(|(_, _, problems)| !problems.is_empty())
            .collect()
    }
}

/// Metrics on metrics.
#[derive(Clone, Copy)]
struct Stack {
    height: usize,
    /// Each counted as often as it is used.
    parts: usize,
}

fn check_filters(
    problems: &mut Problems,
    filters: Vec<(String, &str)>,
    compile: CompileFilter<'_>,
) {
    for (field, filter) in filters {
        if let Err(problem) = compile(filter) {
            let expression = filter.to_owned();
            problems.expressions.push(InvalidExpression { field, expression, problem });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::{DerivedInput, EventSelector};

    fn name(text: &str) -> ResourceName {
        text.parse().unwrap()
    }

    fn metric(definition: Definition) -> Metric {
        Metric { definition: Some(definition), ..Metric::default() }
    }

    fn count() -> Metric {
        metric(Definition::Count { event: EventSelector::named("Paid") })
    }

    fn ratio(numerator: &str, denominator: &str) -> Metric {
        let [numerator, denominator] = [numerator, denominator].map(MetricInput::named);
        metric(Definition::Ratio { numerator, denominator })
    }

    fn cumulative(part: &str) -> Metric {
        metric(Definition::Cumulative {
            metric: MetricInput::named(part),
            window: None,
            grain_to_date: None,
            at: Default::default(),
        })
    }

    fn catalog() -> Catalog {
        let metrics = [
            (name("paid"), count()),
            (name("signups"), count()),
            (name("paid-rate"), ratio("paid", "signups")),
        ];
        Catalog { metrics: metrics.into(), ..Catalog::default() }
    }

    fn filter(filter: &str) -> Result<(), String> {
        if filter == "bad" { Err("not CEL".to_owned()) } else { Ok(()) }
    }

    fn formula(formula: &str, aliases: &[&str]) -> Result<(), String> {
        if aliases.contains(&formula) { Ok(()) } else { Err("not an alias".to_owned()) }
    }

    const COMPILE: Compilers<'_> = Compilers { filter: &filter, formula: &formula };

    fn fields(problems: &Problems) -> Vec<&str> {
        problems.fields.as_slice().iter().map(|violation| violation.field.as_str()).collect()
    }

    #[test]
    fn metrics_stand_on_metrics_but_in_no_circle() {
        let mut catalog = catalog();
        let check = |catalog: &Catalog, name: &str, metric: &Metric| {
            let problems = catalog.check_metric(name, metric, COMPILE);
            fields(&problems).join(" ")
        };
        assert_eq!(check(&catalog, "new", &ratio("paid-rate", "paid")), "");
        assert_eq!(check(&catalog, "paid-rate", &ratio("paid", "paid-rate")), "ratio.denominator");
        catalog.metrics.insert(name("deep"), ratio("paid-rate", "paid"));
        assert_eq!(check(&catalog, "paid", &ratio("signups", "deep")), "ratio.denominator");
        // The stack of metrics has an end.
        for level in 0..8 {
            let below = if level == 0 { "paid".to_owned() } else { format!("level-{}", level - 1) };
            catalog.metrics.insert(name(&format!("level-{level}")), ratio(&below, "paid"));
        }
        assert_eq!(check(&catalog, "top", &ratio("level-7", "paid")), "ratio.numerator");
        assert_eq!(check(&catalog, "top", &ratio("level-5", "paid")), "");
    }

    #[test]
    fn only_what_is_computed_by_event_or_by_subject_accumulates() {
        let mut catalog = catalog();
        let problems = catalog.check_metric("new", &cumulative("paid-rate"), COMPILE);
        assert_eq!(fields(&problems), ["cumulative.metric"]);
        catalog.metrics.insert(name("total"), cumulative("paid"));
        let problems = catalog.check_metric("paid", &ratio("signups", "signups"), COMPILE);
        assert_eq!(fields(&problems), ["definition"]);
    }

    #[test]
    fn fields_expressions_and_references_are_reported_together() {
        let event = EventSelector { name: "Paid".to_owned(), filter: "bad".to_owned() };
        let sum = metric(Definition::Sum { event, property: String::new() });
        let problems = catalog().check_metric("new", &sum, COMPILE);
        assert_eq!(fields(&problems), ["sum.property"]);
        assert_eq!(problems.expressions[0].field, "sum.event.filter");
        let part = MetricInput { metric: "nobody".to_owned(), filter: "bad".to_owned() };
        let derived = metric(Definition::Derived {
            expression: "b".to_owned(),
            inputs: vec![DerivedInput {
                metric: part,
                alias: "a".to_owned(),
                ..Default::default()
            }],
        });
        let problems = catalog().check_metric("new", &derived, COMPILE);
        assert_eq!(problems.missing[0].name, "nobody");
        let expressions: Vec<_> = problems.expressions.iter().map(|e| e.field.as_str()).collect();
        assert_eq!(expressions, ["derived.inputs[0].filter", "derived.expression"]);
        let unique = metric(Definition::Unique {
            event: EventSelector::default(),
            of: Default::default(),
            activity: "active".to_owned(),
        });
        let problems = catalog().check_metric("new", &unique, COMPILE);
        assert_eq!(problems.missing[0].field, "unique.activity");
    }

    #[test]
    fn at_most_one_activity_is_the_default() {
        let events = vec![EventSelector { name: "Opened".to_owned(), filter: "bad".to_owned() }];
        let active = Activity { events, default: true, ..Activity::default() };
        let activities = [(name("active"), active.clone())].into();
        let catalog = Catalog { activities, ..Catalog::default() };
        let again = catalog.check_activity("active", &active, &filter);
        assert_eq!(
            (fields(&again).len(), again.expressions[0].field.as_str()),
            (0, "events[0].filter")
        );
        assert_eq!(fields(&catalog.check_activity("other", &active, &filter)), ["default"]);
    }

    #[test]
    fn a_kpi_names_every_document_that_does_not_exist() {
        let kpi = Kpi {
            metric: "nothing".to_owned(),
            pillar: "nowhere".to_owned(),
            drives: vec!["nobody".to_owned()],
            ..Kpi::default()
        };
        let missing = catalog().check_kpi("new", &kpi).missing;
        let names: Vec<_> = missing.iter().map(|m| (m.kind, m.name.as_str())).collect();
        assert_eq!(names, [("Metric", "nothing"), ("Pillar", "nowhere"), ("Kpi", "nobody")]);
    }

    #[test]
    fn drivers_drive_in_one_direction() {
        let drives = |names: &[&str]| Kpi {
            drives: names.iter().map(|name| (*name).to_owned()).collect(),
            ..Kpi::default()
        };
        let kpis = [
            (name("outcome"), drives(&[])),
            (name("driver"), drives(&["outcome"])),
            (name("adoption"), drives(&["driver"])),
        ];
        let catalog = Catalog { kpis: kpis.into(), ..Catalog::default() };
        let circular = |name: &str, kpi: &Kpi| {
            let problems = catalog.check_kpi(name, kpi);
            fields(&problems).contains(&"drives[0]")
        };
        assert!(circular("outcome", &drives(&["adoption"])));
        assert!(circular("outcome", &drives(&["outcome"])));
        assert!(!circular("new", &drives(&["adoption"])));
        assert!(!circular("adoption", &drives(&["outcome"])));
    }

    #[test]
    fn a_lever_is_one_of_the_pillars() {
        let pillar = Pillar { levers: vec!["speed".to_owned()], ..Pillar::default() };
        let pillars = [(name("growth"), pillar)].into();
        let catalog = Catalog { pillars, ..Catalog::default() };
        let pulls = |lever: &str| {
            let (pillar, lever) = ("growth".to_owned(), lever.to_owned());
            let problems = catalog.check_kpi("new", &Kpi { pillar, lever, ..Kpi::default() });
            fields(&problems).contains(&"lever")
        };
        assert!(pulls("luck") && !pulls("speed") && !pulls(""));
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
        assert!(catalog().check(COMPILE).is_empty());
    }
}
