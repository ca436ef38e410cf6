//! What is computed from what, as a graph.

use std::collections::{BTreeMap, BTreeSet};

use northstar_domain::activity::Activity;
use northstar_domain::cohort::{Cohort, Rule};
use northstar_domain::kpi::Kpi;
use northstar_domain::metric::{Definition, EventSelector, Metric, property_path};
use northstar_domain::threshold::Threshold;
use northstar_engine::{Dimension, Filter};
use northstar_proto::metrics::v1 as pb;
use northstar_store::metrics::definition::Stored;

use crate::plan;

/// What stands for any event.
pub(super) const ANY: &str = "*";

/// Something that is computed, or computed from.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Node {
    Kpi(String),
    Metric(String),
    Activity(String),
    Event(String),
    /// Of an event.
    Property(String, String),
    Cohort(String),
    Threshold(String),
}

impl Node {
    pub(super) fn kind(&self) -> pb::LineageKind {
        match self {
            Self::Kpi(_) => pb::LineageKind::Kpi,
            Self::Metric(_) => pb::LineageKind::Metric,
            Self::Activity(_) => pb::LineageKind::Activity,
            Self::Event(_) => pb::LineageKind::Event,
            Self::Property(..) => pb::LineageKind::Property,
            Self::Cohort(_) => pb::LineageKind::Cohort,
            Self::Threshold(_) => pb::LineageKind::Threshold,
        }
    }

    pub(super) fn name(&self) -> String {
        match self {
            Self::Kpi(name)
            | Self::Metric(name)
            | Self::Activity(name)
            | Self::Event(name)
            | Self::Cohort(name)
            | Self::Threshold(name) => name.clone(),
            Self::Property(event, path) => format!("{event}/{path}"),
        }
    }
}

/// One thing is computed from another.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Link {
    pub(super) node: Node,
    pub(super) from: Node,
    pub(super) role: &'static str,
}

/// Everything that is defined.
pub(super) struct Definitions {
    pub(super) kpis: Vec<Stored<Kpi>>,
    pub(super) metrics: Vec<Stored<Metric>>,
    pub(super) activities: Vec<Stored<Activity>>,
    pub(super) cohorts: Vec<Stored<Cohort>>,
    pub(super) thresholds: Vec<Stored<Threshold>>,
}

/// Everything that is computed from anything.
pub(super) struct Graph {
    links: BTreeSet<Link>,
}

impl Graph {
    pub(super) fn new(definitions: &Definitions) -> Self {
        let Definitions { kpis, metrics, activities, cohorts, thresholds } = definitions;
        let mut graph = Self { links: BTreeSet::new() };
        for stored in cohorts {
            graph.cohort(&Node::Cohort(stored.name.to_string()), &stored.document);
        }
        for stored in kpis {
            let node = Node::Kpi(stored.name.to_string());
            graph.link(&node, Node::Metric(stored.document.metric.clone()), "metric");
            for guardrail in &stored.document.guardrails {
                graph.link(&node, Node::Metric(guardrail.metric.clone()), "guardrail");
            }
        }
        for stored in activities {
            let node = Node::Activity(stored.name.to_string());
            for event in &stored.document.events {
                graph.selector(&node, event);
            }
        }
        let by_name: BTreeMap<&str, &Metric> =
            metrics.iter().map(|stored| (stored.name.as_str(), &stored.document)).collect();
        let default = activities.iter().find(|stored| stored.document.default);
        for stored in metrics {
            let node = Node::Metric(stored.name.to_string());
            let metric = &stored.document;
            let activity = metric.activity().map(str::to_owned).or_else(|| {
                let name = default.map(|stored| stored.name.to_string());
                name.filter(|_| speaks_of_default(metric))
            });
            match activity {
                Some(activity) => graph.link(&node, Node::Activity(activity), "activity"),
                None => {
                    metric.selectors().iter().for_each(|(_, event)| graph.selector(&node, event))
                }
            }
            graph.properties(&node, metric);
            for (path, part) in metric.parts() {
                let role = match path.as_str() {
                    "ratio.numerator" => "numerator",
                    "ratio.denominator" => "denominator",
                    _ => "input",
                };
                graph.link(&node, Node::Metric(part.metric.clone()), role);
                for event in events_of(&by_name, activities, &part.metric) {
                    graph.filter(&node, &event, &part.filter);
                }
            }
        }
        for stored in thresholds {
            let threshold = &stored.document;
            let node = Node::Threshold(stored.name.to_string());
            let kpi = kpis.iter().find(|kpi| kpi.name.as_str() == threshold.kpi);
            let (watched, metric) = match kpi {
                Some(kpi) => (Node::Kpi(kpi.name.to_string()), &kpi.document.metric),
                None => (Node::Metric(threshold.metric.clone()), &threshold.metric),
            };
            graph.link(&node, watched, "watches");
            let Some(breakdown) = &threshold.breakdown else { continue };
            if let Dimension::Property(path) = plan::dimension(&breakdown.by) {
                for event in events_of(&by_name, activities, metric) {
                    graph.property(&node, &event, path.clone(), "breakdown");
                }
            }
        }
        graph
    }

    fn cohort(&mut self, node: &Node, cohort: &Cohort) {
        if let Some(rule) = &cohort.rule {
            self.rule(node, rule);
        }
        let origin = cohort.list.as_ref().and_then(|list| list.snapshot_of.as_ref());
        if let Some(origin) = origin {
            self.link(node, Node::Cohort(origin.cohort.clone()), "snapshot");
        }
    }

    fn rule(&mut self, node: &Node, rule: &Rule) {
        match rule {
            Rule::All(parts) | Rule::Any(parts) => {
                parts.iter().for_each(|part| self.rule(node, part));
            }
            Rule::Not(part) => self.rule(node, part),
            Rule::Property(rule) => {
                let event = event_of(&rule.event);
                self.selector(node, &rule.event);
                self.filter(node, &event, &rule.condition);
                self.property(node, &event, property_path(&rule.name).to_owned(), "property");
            }
            Rule::Did(rule) => self.selector(node, &rule.event),
            Rule::Sequence(rule) => {
                rule.steps.iter().for_each(|step| self.selector(node, step));
            }
            Rule::FirstTime(rule) => self.selector(node, &rule.event),
        }
    }

    fn link(&mut self, node: &Node, from: Node, role: &'static str) {
        self.links.insert(Link { node: node.clone(), from, role });
    }

    fn selector(&mut self, node: &Node, selector: &EventSelector) {
        let event = event_of(selector);
        self.filter(node, &event, &selector.filter);
        self.link(node, Node::Event(event), "event");
    }

    /// The properties that a filter on an event reads.
    fn filter(&mut self, node: &Node, event: &str, filter: &str) {
        // A filter that was stored has been compiled before.
        let Ok(filter) = Filter::parse(filter) else { return };
        for path in filter.properties() {
            self.property(node, event, path, "filter");
        }
    }

    fn property(&mut self, node: &Node, event: &str, path: String, role: &'static str) {
        let property = Node::Property(event.to_owned(), path);
        // A property is an event's.
        self.link(&property, Node::Event(event.to_owned()), "event");
        self.link(node, property, role);
    }

    /// The properties that a definition reads by itself.
    fn properties(&mut self, node: &Node, metric: &Metric) {
        if let Some(Definition::Conversion { base, conversion, constant_properties, .. }) =
            &metric.definition
        {
            for pair in constant_properties {
                for (selector, path) in
                    [(base, &pair.base_property), (conversion, &pair.conversion_property)]
                {
                    let path = property_path(path).to_owned();
                    self.property(node, &event_of(selector), path, "property");
                }
            }
            return;
        }
        for (_, selector) in metric.selectors() {
            for path in metric.properties() {
                self.property(node, &event_of(selector), path.to_owned(), "property");
            }
        }
    }

    /// Links from what is computed down to what it is computed from.
    pub(super) fn below(&self, start: &[Node]) -> BTreeSet<Link> {
        self.reach(start, |link| (&link.node, &link.from))
    }

    /// Links from what is computed from something up.
    pub(super) fn above(&self, start: &[Node]) -> BTreeSet<Link> {
        self.reach(start, |link| (&link.from, &link.node))
    }

    /// Both.
    pub(super) fn around(&self, start: &[Node]) -> BTreeSet<Link> {
        self.below(start).into_iter().chain(self.above(start)).collect()
    }

    /// Everything that something is computed from.
    pub(super) fn sources(&self) -> impl Iterator<Item = &Node> {
        self.links.iter().map(|link| &link.from)
    }

    /// Properties of this path, of whichever event.
    pub(super) fn properties_named(&self, wanted: &str) -> Vec<Node> {
        let from = self.links.iter().map(|link| &link.from);
        from.filter(|node| matches!(node, Node::Property(_, path) if path == wanted))
            .cloned()
            .collect()
    }

    fn reach(&self, start: &[Node], ends: fn(&Link) -> (&Node, &Node)) -> BTreeSet<Link> {
        let mut links = BTreeSet::new();
        let mut reached: BTreeSet<&Node> = start.iter().collect();
        let mut next: Vec<&Node> = start.iter().collect();
        while let Some(node) = next.pop() {
            for link in self.links.iter().filter(|link| ends(link).0 == node) {
                links.insert(link.clone());
                let (_, end) = ends(link);
                if reached.insert(end) {
                    next.push(end);
                }
            }
        }
        links
    }
}

fn event_of(selector: &EventSelector) -> String {
    if selector.name.is_empty() { ANY.to_owned() } else { selector.name.clone() }
}

/// Whether a metric means the default activity.
fn speaks_of_default(metric: &Metric) -> bool {
    match &metric.definition {
        Some(Definition::Stickiness { event, .. } | Definition::Lifecycle { event, .. }) => {
            event.is_any()
        }
        _ => false,
    }
}

/// Events that a metric reads, by itself or through others.
fn events_of(
    metrics: &BTreeMap<&str, &Metric>,
    activities: &[Stored<Activity>],
    name: &str,
) -> BTreeSet<String> {
    let mut events = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut next = vec![name];
    while let Some(name) = next.pop() {
        let Some(metric) = metrics.get(name).filter(|_| seen.insert(name)) else { continue };
        let activity = activities.iter().find(|stored| match metric.activity() {
            Some(wanted) => stored.name.as_str() == wanted,
            None => stored.document.default && speaks_of_default(metric),
        });
        match activity {
            Some(stored) => events.extend(stored.document.events.iter().map(event_of)),
            None => events.extend(metric.selectors().iter().map(|(_, event)| event_of(event))),
        }
        next.extend(metric.parts().into_iter().map(|(_, part)| part.metric.as_str()));
    }
    events
}
