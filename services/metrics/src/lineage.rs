//! GetKpiTree and GetLineage: which KPI drives which, and what is computed from
//! what, down to events and properties.

mod graph;

use std::collections::{BTreeMap, BTreeSet};

use northstar_domain::ProjectId;
use northstar_domain::activity::Activity;
use northstar_domain::cohort::Cohort;
use northstar_domain::kpi::Kpi;
use northstar_domain::metric::Metric;
use northstar_domain::pillar::Pillar;
use northstar_domain::threshold::Threshold;
use northstar_proto::metrics::v1 as pb;
use northstar_store::Error as StoreError;
use northstar_store::metrics::definition::{self, Stored};
use northstar_store::metrics::log;
use pb::get_lineage_request::Subject;

use crate::service::{self, Metrics as Service};
use crate::{Error, Result};

use graph::{Definitions, Graph, Node};

/// What metrics and activities that need not be stored are computed from: every event, with its properties that are
/// read, by dotted path.
pub(crate) fn events_and_properties(
    metrics: Vec<Stored<Metric>>,
    activities: Vec<Stored<Activity>>,
) -> BTreeMap<String, BTreeSet<String>> {
    let definitions = Definitions {
        metrics,
        activities,
        kpis: Vec::new(),
        cohorts: Vec::new(),
        thresholds: Vec::new(),
    };
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for node in Graph::new(&definitions).sources() {
        match node {
            Node::Event(event) => {
                found.entry(event.clone()).or_default();
            }
            Node::Property(event, path) => {
                found.entry(event.clone()).or_default().insert(path.clone());
            }
            Node::Kpi(_)
            | Node::Metric(_)
            | Node::Activity(_)
            | Node::Cohort(_)
            | Node::Threshold(_) => {}
        }
    }
    found
}

/// Answers GetKpiTree.
pub(crate) async fn kpi_tree(
    service: &Service,
    project: ProjectId,
    request: pb::GetKpiTreeRequest,
) -> Result<pb::GetKpiTreeResponse> {
    let mut connection = service.pool.acquire().await.map_err(StoreError::from)?;
    let mut pillars = definition::all::<Pillar>(&mut connection, project).await?;
    if !request.pillar.is_empty() {
        pillars.retain(|stored| stored.name.as_str() == request.pillar);
        if pillars.is_empty() {
            return Err(Error::NotFound { kind: "Pillar", name: request.pillar });
        }
    }
    let mut kpis = definition::all::<Kpi>(&mut connection, project).await?;
    kpis.sort_by_key(|stored| (stored.document.layer, stored.name.clone()));
    let mut driven_by: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for driver in &kpis {
        for driven in &driver.document.drives {
            driven_by.entry(driven).or_default().push(driver.name.to_string());
        }
    }
    let node = |stored: &Stored<Kpi>| pb::KpiNode {
        kpi: Some(service::kpi(stored)),
        driven_by: driven_by.get(stored.name.as_str()).cloned().unwrap_or_default(),
    };
    let pillars = pillars.iter().map(|stored| pb::PillarTree {
        pillar: Some(service::pillar(stored)),
        kpis: kpis
            .iter()
            .filter(|kpi| kpi.document.pillar == stored.name.as_str())
            .map(node)
            .collect(),
    });
    Ok(pb::GetKpiTreeResponse { pillars: pillars.collect() })
}

/// Answers GetLineage.
pub(crate) async fn lineage(
    service: &Service,
    project: ProjectId,
    request: pb::GetLineageRequest,
) -> Result<pb::GetLineageResponse> {
    let property = northstar_domain::metric::property_path(&request.property);
    let mut connection = service.pool.acquire().await.map_err(StoreError::from)?;
    let definitions = Definitions {
        kpis: definition::all::<Kpi>(&mut connection, project).await?,
        metrics: definition::all::<Metric>(&mut connection, project).await?,
        activities: definition::all::<Activity>(&mut connection, project).await?,
        cohorts: definition::all::<Cohort>(&mut connection, project).await?,
        thresholds: definition::all::<Threshold>(&mut connection, project).await?,
    };
    let contracts = log::contract_versions(&mut connection, project).await?;
    let graph = Graph::new(&definitions);
    let Definitions { kpis, metrics, activities, cohorts, thresholds } = &definitions;
    if !property.is_empty() && !matches!(request.subject, None | Some(Subject::Event(_))) {
        return Err(Error::field("property", "belongs to an event: name one, or none"));
    }
    let known = |kind, name: &str, exists: bool| {
        if exists { Ok(()) } else { Err(Error::NotFound { kind, name: name.to_owned() }) }
    };
    let links = match &request.subject {
        Some(Subject::Kpi(name)) => {
            known("Kpi", name, kpis.iter().any(|stored| stored.name.as_str() == name))?;
            graph.around(&[Node::Kpi(name.clone())])
        }
        Some(Subject::Metric(name)) => {
            known("Metric", name, metrics.iter().any(|stored| stored.name.as_str() == name))?;
            graph.around(&[Node::Metric(name.clone())])
        }
        Some(Subject::Activity(name)) => {
            known("Activity", name, activities.iter().any(|stored| stored.name.as_str() == name))?;
            graph.around(&[Node::Activity(name.clone())])
        }
        Some(Subject::Cohort(name)) => {
            known("Cohort", name, cohorts.iter().any(|stored| stored.name.as_str() == name))?;
            graph.around(&[Node::Cohort(name.clone())])
        }
        Some(Subject::Threshold(name)) => {
            known("Threshold", name, thresholds.iter().any(|stored| stored.name.as_str() == name))?;
            graph.below(&[Node::Threshold(name.clone())])
        }
        Some(Subject::Event(event)) if property.is_empty() => {
            graph.above(&[Node::Event(event.clone()), Node::Event(graph::ANY.to_owned())])
        }
        Some(Subject::Event(event)) => graph.above(&[
            Node::Property(event.clone(), property.to_owned()),
            Node::Property(graph::ANY.to_owned(), property.to_owned()),
        ]),
        None if !property.is_empty() => graph.above(&graph.properties_named(property)),
        None => {
            return Err(Error::field(
                "subject",
                "is required: a kpi, a metric, an activity, a cohort, a threshold, an event or a \
                 property",
            ));
        }
    };
    Ok(response(links, &contracts))
}

fn response(
    links: BTreeSet<graph::Link>,
    contracts: &BTreeMap<String, String>,
) -> pb::GetLineageResponse {
    let mut answer = pb::GetLineageResponse::default();
    let nodes: BTreeSet<&Node> = links.iter().flat_map(|link| [&link.node, &link.from]).collect();
    for node in nodes {
        match node {
            Node::Kpi(name) => answer.kpis.push(name.clone()),
            Node::Metric(name) => answer.metrics.push(name.clone()),
            Node::Activity(name) => answer.activities.push(name.clone()),
            Node::Event(name) => {
                if let Some(version) = contracts.get(name) {
                    answer.contract_versions.insert(name.clone(), version.clone());
                }
                answer.events.push(name.clone());
            }
            Node::Property(..) => answer.properties.push(node.name()),
            Node::Cohort(name) => answer.cohorts.push(name.clone()),
            Node::Threshold(name) => answer.thresholds.push(name.clone()),
        }
    }
    let links = links.into_iter().map(|link| pb::LineageLink {
        kind: link.node.kind().into(),
        name: link.node.name(),
        from_kind: link.from.kind().into(),
        from_name: link.from.name(),
        role: link.role.to_owned(),
    });
    answer.links = links.collect();
    answer
}
