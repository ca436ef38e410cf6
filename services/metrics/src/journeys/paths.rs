//! QueryPaths and ListPathSubjects.

use northstar_domain::ProjectId;
use northstar_engine::journeys::{
    DEFAULT_SESSION_GAP_MICROS, Direction, PathStart, PathsAnswer, PathsCell, PathsQuery, PathsStep,
};
use northstar_proto::metrics::v1 as pb;

use super::ROWS_PER_MESSAGE;
use super::ask::{Asked, Reply};
use super::page::{Page, page};
use super::read::Reader;
use super::times::times;
use crate::service::Metrics as Service;
use crate::{Error, Result};

/// Steps beyond the anchor when the question does not say.
const DEPTH: u32 = 5;

/// Nodes at each distance when the question does not say.
const NODES: u32 = 10;

/// Answers a question, in parts.
pub(super) async fn query(
    service: &Service,
    project: ProjectId,
    request: pb::QueryPathsRequest,
) -> Result<Vec<pb::QueryPathsResponse>> {
    let mut reader = Reader::default();
    let compare = reader.compare(request.compare_start_time, request.compare);
    let asked = Asked { compare, ..read(reader, request.question.unwrap_or_default())? };
    let replies = asked.answer(service, project).await?;
    Ok(replies.into_iter().flat_map(tell).collect())
}

/// Lists the subjects behind a number.
pub(super) async fn list(
    service: &Service,
    project: ProjectId,
    request: pb::ListPathSubjectsRequest,
) -> Result<pb::ListPathSubjectsResponse> {
    let step = |step: pb::PathStep| PathsStep { event: step.event, value: step.value };
    let distance = u32::try_from(request.distance)
        .map_err(|_| Error::field("distance", "must not be negative"))?;
    let cell = PathsCell {
        distance,
        step: request
            .step
            .map(step)
            .ok_or_else(|| Error::field("step", "is required: the node"))?,
        to: request.to.map(step),
        dropped: request.dropped,
    };
    let asked = read(Reader::default(), request.question.unwrap_or_default())?;
    let list = (request.page_size, request.page_token.as_str());
    let Page { subjects, next_page_token, total_size, log_position } =
        page(service, project, asked, cell, list).await?;
    Ok(pb::ListPathSubjectsResponse { subjects, next_page_token, total_size, log_position })
}

fn read(mut reader: Reader, question: pb::PathsQuestion) -> Result<Asked<PathsQuery>> {
    let scope = reader.scope(question.scope);
    if question.anchor.as_ref().is_none_or(|anchor| anchor.event.is_empty()) {
        reader.wrong("anchor.event", "is required: the event at which paths start");
    }
    let anchor = reader.selector("anchor", question.anchor);
    let start = match reader.choice("start", question.start) {
        pb::PathStart::Unspecified | pb::PathStart::FirstPerSubject => PathStart::FirstPerSubject,
        pb::PathStart::Every => PathStart::Every,
    };
    let direction = match reader.choice("direction", question.direction) {
        pb::PathDirection::Unspecified | pb::PathDirection::After => Direction::After,
        pb::PathDirection::Before => Direction::Before,
    };
    let depth = reader.count("depth", question.depth, DEPTH);
    let steps = reader.selector("steps", question.steps);
    let mut exclude = Vec::new();
    for (index, selector) in question.exclude.into_iter().enumerate() {
        exclude.push(reader.selector(&format!("exclude[{index}]"), Some(selector)));
    }
    let group_by: Vec<String> =
        Some(question.group_by).filter(|name| !name.is_empty()).into_iter().collect();
    let group_by = reader.dimensions("group_by", &group_by).pop();
    let session_gap = reader.micros("session_gap", question.session_gap);
    let max_nodes = reader.count("max_nodes", question.max_nodes, NODES);
    let min_edge_count = u64::try_from(question.min_edge_count).unwrap_or_else(|_| {
        reader.wrong("min_edge_count", "must not be negative");
        0
    });
    let reads = reader.finish()?;
    let mut scope = scope.ok_or_else(|| Error::field("question.scope", "is required"))?;
    scope.also_by(group_by.as_slice());
    let question = PathsQuery {
        scope: scope.scope.clone(),
        anchor,
        start,
        direction,
        depth,
        steps,
        exclude,
        group_by,
        collapse_repeats: !question.keep_repeats,
        session_gap_micros: (!question.across_sessions)
            .then_some(session_gap.unwrap_or(DEFAULT_SESSION_GAP_MICROS)),
        max_nodes: max_nodes as usize,
        min_edge_count: min_edge_count.max(1),
    };
    Ok(Asked { question, scope, reads, compare: None })
}

/// An answer in messages: nodes, then edges.
fn tell(reply: Reply<PathsAnswer>) -> Vec<pb::QueryPathsResponse> {
    let Reply { period, answer, provenance } = reply;
    let message = || pb::QueryPathsResponse { period: period.into(), ..Default::default() };
    let mut messages: Vec<pb::QueryPathsResponse> =
        vec![pb::QueryPathsResponse { paths: answer.paths.cast_signed(), ..message() }];
    messages.extend(answer.nodes.chunks(ROWS_PER_MESSAGE).map(|nodes| {
        let nodes = nodes.iter().map(|node| pb::PathNode {
            distance: node.distance.cast_signed(),
            step: Some(step_to_proto(&node.step)),
            count: node.count.cast_signed(),
            dropped: node.dropped.cast_signed(),
            pruned_in: node.pruned_in.cast_signed(),
            pruned_out: node.pruned_out.cast_signed(),
        });
        pb::QueryPathsResponse { nodes: nodes.collect(), ..message() }
    }));
    messages.extend(answer.edges.chunks(ROWS_PER_MESSAGE).map(|edges| {
        let edges = edges.iter().map(|edge| pb::PathEdge {
            distance: edge.distance.cast_signed(),
            from: Some(step_to_proto(&edge.from)),
            to: Some(step_to_proto(&edge.to)),
            count: edge.count.cast_signed(),
            times: Some(times(&edge.time)),
        });
        pb::QueryPathsResponse { edges: edges.collect(), ..message() }
    }));
    if let Some(last) = messages.last_mut() {
        last.provenance = Some(provenance);
    }
    messages
}

fn step_to_proto(step: &PathsStep) -> pb::PathStep {
    pb::PathStep { event: step.event.clone(), value: step.value.clone() }
}
