//! `northstar paths`: what subjects do after, or before, an event.

use northstar_proto::metrics::v1 as pb;
use serde_json::{Value, json};

use super::arguments::{Range, length, selector};
use super::show::{self, Page};
use crate::connection::Connection;
use crate::output;

/// Ask what subjects do after, or before, an event.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  northstar paths 'Signed Up' --from 2026-01-01 --to 2026-02-01
  northstar paths 'Payment Failed' --before --depth 3 --from 2026-01-01 --to 2026-02-01
  northstar paths 'Signed Up' --from 2026-01-01 --to 2026-02-01 --list 'Signed Up' --at 0 --ending
  northstar paths 'Opened' --from 2026-01-01 --to 2026-02-01 --every --group-by page \\
      --exclude Scrolled,Heartbeat --session-gap none --nodes 5 --min-edge 10 --json")]
pub struct Paths {
    /// Event at which paths start: a name, or a name and a condition.
    anchor: String,
    #[command(flatten)]
    range: Range,
    /// Go back from the event, rather than on.
    #[arg(long)]
    before: bool,
    /// Steps beyond the event, 1 to 10.
    #[arg(long, default_value_t = 5)]
    depth: i32,
    /// Every such event starts a path, rather than the first of each subject.
    #[arg(long)]
    every: bool,
    /// Events that can be steps: any but the suite's own when absent.
    #[arg(long, default_value = "", hide_default_value = true)]
    steps: String,
    /// Events that cannot.
    #[arg(long, value_delimiter = ',', value_name = "EVENT")]
    exclude: Vec<String>,
    /// Tell steps of one name apart by this property.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "PROPERTY")]
    group_by: String,
    /// Keep the same step several times in a row apart.
    #[arg(long)]
    keep_repeats: bool,
    /// Silence that ends a path; none for no end.
    #[arg(long, value_name = "LENGTH|none", default_value = "30m")]
    session_gap: String,
    /// Steps to tell apart at each distance; the others are one.
    #[arg(long, default_value_t = 10)]
    nodes: i32,
    /// Leave edges with fewer paths out.
    #[arg(long, default_value_t = 1)]
    min_edge: i64,
    /// List the subjects whose paths are at this step; with --group-by, "Event=value".
    #[arg(long, value_name = "EVENT", requires = "at")]
    list: Option<String>,
    /// How far from the event.
    #[arg(long, value_name = "STEP")]
    at: Option<i32>,
    /// Only paths that end there.
    #[arg(long, requires = "list")]
    ending: bool,
}

impl Paths {
    fn question(&self) -> anyhow::Result<pb::PathsQuestion> {
        let across = self.session_gap == "none";
        Ok(pb::PathsQuestion {
            scope: Some(self.range.scope(&[])?),
            anchor: Some(selector(&self.anchor)),
            start: if self.every {
                pb::PathStart::Every.into()
            } else {
                pb::PathStart::FirstPerSubject.into()
            },
            direction: if self.before {
                pb::PathDirection::Before.into()
            } else {
                pb::PathDirection::After.into()
            },
            depth: self.depth,
            steps: Some(selector(&self.steps)),
            exclude: self.exclude.iter().map(|text| selector(text)).collect(),
            group_by: self.group_by.clone(),
            keep_repeats: self.keep_repeats,
            session_gap: (!across).then(|| length(&self.session_gap)).transpose()?,
            across_sessions: across,
            max_nodes: self.nodes,
            min_edge_count: self.min_edge,
        })
    }
}

/// Runs the command.
pub async fn run(command: Paths, connection: &Connection) -> anyhow::Result<()> {
    let mut journeys = connection.clients()?.journeys();
    let question = command.question()?;
    if let (Some(step), Some(distance)) = (command.list.as_deref(), command.at) {
        let step = match step.split_once('=').filter(|_| !command.group_by.is_empty()) {
            None => pb::PathStep { event: step.to_owned(), value: None },
            Some((event, value)) => {
                pb::PathStep { event: event.to_owned(), value: Some(value.to_owned()) }
            }
        };
        return show::subjects(command.range.json, |page_size, page_token| {
            let request = pb::ListPathSubjectsRequest {
                question: Some(question.clone()),
                distance,
                step: Some(step.clone()),
                to: None,
                dropped: command.ending,
                page_size,
                page_token,
            };
            let mut journeys = journeys.clone();
            async move {
                let page = journeys.list_path_subjects(request).await?.into_inner();
                Ok(Page {
                    subjects: page.subjects,
                    next: page.next_page_token,
                    total: page.total_size,
                })
            }
        })
        .await;
    }
    let (compare_start_time, compare) = command.range.compare()?;
    let request = pb::QueryPathsRequest {
        question: Some(question),
        compare_start_time,
        compare: compare.into(),
    };
    let mut messages = journeys.query_paths(request).await?.into_inner();
    let mut answers: Vec<pb::QueryPathsResponse> = Vec::new();
    while let Some(message) = messages.message().await? {
        match answers.last_mut().filter(|last| last.period == message.period) {
            None => answers.push(message),
            Some(last) => {
                last.nodes.extend(message.nodes);
                last.edges.extend(message.edges);
                last.provenance = last.provenance.take().or(message.provenance);
            }
        }
    }
    if command.range.json {
        let answers = answers.into_iter().map(|answer| {
            Ok(json!({
                "period": show::period(answer.period()),
                "paths": answer.paths,
                "nodes": answer.nodes.iter().map(node_to_json).collect::<Vec<_>>(),
                "edges": answer.edges.iter().map(edge_to_json).collect::<Vec<_>>(),
                "provenance": show::provenance(answer.provenance)?,
            }))
        });
        return output::json(&answers.collect::<anyhow::Result<Vec<_>>>()?);
    }
    for answer in &answers {
        if answers.len() > 1 {
            output::line(format!("{} period", show::period(answer.period())))?;
        }
        print(answer)?;
        show::origin(answer.provenance.as_ref())?;
    }
    Ok(())
}

/// A step for people.
fn name(step: Option<&pb::PathStep>) -> String {
    match step {
        None => String::new(),
        Some(pb::PathStep { event, value: None }) => event.clone(),
        Some(pb::PathStep { event, value: Some(value) }) => format!("{event} · {value}"),
    }
}

fn print(answer: &pb::QueryPathsResponse) -> anyhow::Result<()> {
    output::line(format!("{} paths", output::number(answer.paths as f64)))?;
    let number = |count: i64| output::number(count as f64);
    let share =
        |count: i64, whole: i64| show::percent((whole > 0).then(|| count as f64 / whole as f64));
    let nodes = answer.nodes.iter().map(|node| {
        [
            node.distance.to_string(),
            name(node.step.as_ref()),
            number(node.count),
            share(node.count, answer.paths),
            number(node.dropped),
        ]
    });
    output::line(output::table(&["step", "event", "paths", "of all", "end here"], nodes))?;
    let edges = answer.edges.iter().map(|edge| {
        [
            edge.distance.to_string(),
            name(edge.from.as_ref()),
            name(edge.to.as_ref()),
            number(edge.count),
            show::median(edge.times.as_ref()),
        ]
    });
    output::line(output::table(&["step", "from", "to", "paths", "median time"], edges))?;
    Ok(())
}

fn step_to_json(step: Option<&pb::PathStep>) -> Value {
    step.map_or(Value::Null, |step| json!({ "event": step.event, "value": step.value }))
}

fn node_to_json(node: &pb::PathNode) -> Value {
    json!({
        "distance": node.distance,
        "step": step_to_json(node.step.as_ref()),
        "count": node.count,
        "dropped": node.dropped,
        "pruned_in": node.pruned_in,
        "pruned_out": node.pruned_out,
    })
}

fn edge_to_json(edge: &pb::PathEdge) -> Value {
    json!({
        "distance": edge.distance,
        "from": step_to_json(edge.from.as_ref()),
        "to": step_to_json(edge.to.as_ref()),
        "count": edge.count,
        "times": show::times(edge.times.as_ref()),
    })
}
