//! The definitions that a question needs, and which events a part of it is about.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use northstar_domain::ResourceName;
use northstar_domain::activity::Activity;
use northstar_domain::catalog::MAX_PARTS;
use northstar_domain::metric::{Definition, EventSelector, Metric, MetricInput};
use northstar_engine as engine;
use serde::Serialize;

use super::{exact_selector, selector};
use crate::{Error, Result};

/// The metrics that a question needs, by name: the one asked for and those that it
/// is computed from. Beside them the activities that they refer to.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Metrics {
    documents: BTreeMap<ResourceName, Metric>,
    activities: BTreeMap<ResourceName, (i64, Activity)>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Takes in what these metrics refer to of a project's activities.
    pub(crate) fn take_activities<'a>(
        &mut self,
        activities: impl IntoIterator<Item = (&'a ResourceName, i64, &'a Activity)>,
    ) {
        for (name, version, activity) in activities {
            let used = self.documents.values().any(|metric| match metric.activity() {
                Some(used) => used == name.as_str(),
                None => activity.default && means_default(metric),
            });
            if used {
                self.activities.insert(name.clone(), (version, activity.clone()));
            }
        }
    }

    /// Versions of the activities, by name.
    pub(crate) fn activity_versions(&self) -> BTreeMap<String, i64> {
        self.activities.iter().map(|(name, (version, _))| (name.to_string(), *version)).collect()
    }

    fn activity(&self, name: &str) -> Result<&Activity> {
        let found = self.activities.get(name).map(|(_, activity)| activity);
        found.ok_or_else(|| Error::NotFound { kind: "Activity", name: name.to_owned() })
    }

    fn default_activity(&self) -> Option<&Activity> {
        self.activities.values().map(|(_, activity)| activity).find(|activity| activity.default)
    }

    /// Which events a metric reads by itself.
    pub(crate) fn selectors_of<'a>(&'a self, metric: &'a Metric) -> Vec<&'a EventSelector> {
        let activity = match metric.activity() {
            Some(name) => self.activity(name).ok(),
            None => self.default_activity().filter(|_| means_default(metric)),
        };
        match activity {
            Some(activity) => activity.events.iter().collect(),
            None => metric.selectors().into_iter().map(|(_, selector)| selector).collect(),
        }
    }
}

/// Whether a metric speaks of activity without saying which.
fn means_default(metric: &Metric) -> bool {
    match &metric.definition {
        Some(
            Definition::Stickiness { event, activity, .. }
            | Definition::Lifecycle { event, activity, .. },
        ) => event.is_any() && activity.is_empty(),
        _ => false,
    }
}

impl Deref for Metrics {
    type Target = BTreeMap<ResourceName, Metric>;

    fn deref(&self) -> &Self::Target {
        &self.documents
    }
}

impl DerefMut for Metrics {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.documents
    }
}

impl FromIterator<(ResourceName, Metric)> for Metrics {
    fn from_iter<I: IntoIterator<Item = (ResourceName, Metric)>>(documents: I) -> Self {
        Self { documents: documents.into_iter().collect(), activities: BTreeMap::new() }
    }
}

/// The events that a part of a metric is about: those that pass every filter on the
/// way to it.
pub(crate) struct Scope<'a> {
    pub(crate) metrics: &'a Metrics,
    filters: Vec<&'a str>,
    /// How many parts may still be, of the whole metric.
    left: Rc<Cell<usize>>,
}

impl<'a> Scope<'a> {
    /// Every event.
    pub(crate) fn new(metrics: &'a Metrics) -> Self {
        Self { metrics, filters: Vec::new(), left: Rc::new(Cell::new(MAX_PARTS)) }
    }

    /// Those of a part. The catalog sees to it that metrics stand in no circle, but
    /// a metric may have grown under another.
    pub(crate) fn of(&self, input: &'a MetricInput) -> Result<Self> {
        let Some(left) = self.left.get().checked_sub(1) else {
            let problem = format!("stands on more than {MAX_PARTS} metrics");
            return Err(Error::field("metric", problem));
        };
        self.left.set(left);
        let filter = Some(input.filter.as_str()).filter(|filter| !filter.trim().is_empty());
        let filters = self.filters.iter().copied().chain(filter).collect();
        Ok(Self { metrics: self.metrics, filters, left: Rc::clone(&self.left) })
    }

    /// An event selector for the engine, narrowed to the scope.
    pub(crate) fn selector(&self, events: &EventSelector) -> Result<engine::EventSelector> {
        selector(&self.narrow(events))
    }

    fn narrow(&self, events: &EventSelector) -> EventSelector {
        let own = Some(events.filter.as_str()).filter(|filter| !filter.trim().is_empty());
        let filter = match own.into_iter().chain(self.filters.iter().copied()).collect::<Vec<_>>() {
            filters if filters.len() < 2 => filters.concat(),
            filters => {
                filters.iter().map(|filter| format!("({filter})")).collect::<Vec<_>>().join(" && ")
            }
        };
        EventSelector { name: events.name.clone(), filter }
    }

    /// What makes a subject active: the activity of that name or, without one, the
    /// events.
    pub(crate) fn active(
        &self,
        events: &EventSelector,
        activity: &str,
    ) -> Result<engine::EventSelector> {
        if activity.is_empty() {
            self.selector(events)
        } else {
            self.activity(self.metrics.activity(activity)?)
        }
    }

    /// The same; with neither, the project's default activity, if it has one.
    pub(crate) fn active_by_default(
        &self,
        events: &EventSelector,
        activity: &str,
    ) -> Result<engine::EventSelector> {
        match self.metrics.default_activity() {
            Some(default) if activity.is_empty() && events.is_any() => self.activity(default),
            _ => self.active(events, activity),
        }
    }

    /// The events of an activity: by their names, and by a condition only where one
    /// has a filter.
    fn activity(&self, activity: &Activity) -> Result<engine::EventSelector> {
        let named = activity.events.iter().all(|event| !event.name.is_empty());
        let filtered = activity.events.iter().any(|event| !event.filter.trim().is_empty());
        let any_of = |event: &EventSelector| {
            let which = if event.name.is_empty() {
                r#"event.source != "northstar""#.to_owned()
            } else {
                format!("event.name == {}", serde_json::Value::from(event.name.as_str()))
            };
            if event.filter.trim().is_empty() {
                format!("({which})")
            } else {
                format!("({which} && ({}))", event.filter)
            }
        };
        let filter = if named && !filtered {
            String::new()
        } else {
            activity.events.iter().map(any_of).collect::<Vec<_>>().join(" || ")
        };
        let condition = self.narrow(&EventSelector { name: String::new(), filter });
        let mut selector = exact_selector(&condition)?;
        if named {
            selector.names = activity.events.iter().map(|event| event.name.clone()).collect();
        }
        Ok(selector)
    }
}
