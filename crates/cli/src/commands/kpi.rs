//! `northstar kpi`: which KPI drives which.

use northstar_proto::metrics::v1 as pb;
use serde::Serialize;

use crate::connection::Connection;
use crate::output;

/// See how KPIs hang together.
#[derive(clap::Subcommand)]
pub enum Kpi {
    /// Show pillars, their levers and their KPIs, outcomes above what drives them.
    #[command(after_help = "\
Examples:
  northstar kpi tree
  northstar kpi tree --pillar activation --json")]
    Tree {
        /// Only this pillar.
        #[arg(long)]
        pillar: Option<String>,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Serialize)]
struct Pillar {
    name: String,
    title: String,
    owner: String,
    levers: Vec<String>,
    kpis: Vec<Node>,
}

#[derive(Serialize)]
struct Node {
    name: String,
    title: String,
    metric: String,
    layer: String,
    lever: String,
    owner: String,
    drives: Vec<String>,
    driven_by: Vec<String>,
}

/// Runs the command.
pub async fn run(command: Kpi, connection: &Connection) -> anyhow::Result<()> {
    let Kpi::Tree { pillar, json } = command;
    let request = pb::GetKpiTreeRequest { pillar: pillar.unwrap_or_default() };
    let response = connection.clients()?.metrics().get_kpi_tree(request).await?.into_inner();
    let pillars: Vec<Pillar> = response.pillars.into_iter().map(pillar_of).collect();
    if json {
        return output::json(&serde_json::json!({ "pillars": pillars }));
    }
    for pillar in &pillars {
        output::line(&pillar.name)?;
        for lever in &pillar.levers {
            output::line(format!("  lever: {lever}"))?;
        }
        for line in tree(&pillar.kpis) {
            output::line(format!("  {line}"))?;
        }
    }
    Ok(())
}

fn pillar_of(tree: pb::PillarTree) -> Pillar {
    let pillar = tree.pillar.unwrap_or_default();
    let kpis = tree.kpis.into_iter().map(|node| {
        let kpi = node.kpi.unwrap_or_default();
        Node {
            layer: kpi.layer().as_str_name().trim_start_matches("LAYER_").to_ascii_lowercase(),
            name: kpi.name,
            title: kpi.title,
            metric: kpi.metric,
            lever: kpi.lever,
            owner: kpi.owner,
            drives: kpi.drives,
            driven_by: node.driven_by,
        }
    });
    Pillar {
        kpis: kpis.collect(),
        name: pillar.name,
        title: pillar.title,
        owner: pillar.owner,
        levers: pillar.levers,
    }
}

/// Lines of a tree: a KPI, and below it those of the pillar that drive it. One that
/// drives several is shown below each.
fn tree(kpis: &[Node]) -> Vec<String> {
    let here = |name: &String| kpis.iter().any(|kpi| kpi.name == *name);
    let tops = kpis.iter().filter(|kpi| !kpi.drives.iter().any(here));
    let mut lines = Vec::new();
    for top in tops {
        branch(kpis, top, 0, &mut lines);
    }
    lines
}

fn branch(kpis: &[Node], kpi: &Node, depth: usize, lines: &mut Vec<String>) {
    let indent = "   ".repeat(depth);
    let mark = if depth == 0 { "" } else { "└─ " };
    let mut line = format!("{indent}{mark}{} ({}, {})", kpi.name, kpi.layer, kpi.metric);
    if !kpi.lever.is_empty() {
        line.push_str(&format!(", pulls \"{}\"", kpi.lever));
    }
    lines.push(line);
    for driver in kpis.iter().filter(|other| other.drives.contains(&kpi.name)) {
        branch(kpis, driver, depth + 1, lines);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drivers_stand_below_what_they_drive() {
        let node = |name: &str, layer: &str, drives: &[&str]| Node {
            name: name.to_owned(),
            title: String::new(),
            metric: "m".to_owned(),
            layer: layer.to_owned(),
            lever: if layer == "adoption" { "speed".to_owned() } else { String::new() },
            owner: String::new(),
            drives: drives.iter().map(|name| (*name).to_owned()).collect(),
            driven_by: Vec::new(),
        };
        let kpis = [
            node("nrr", "outcome", &[]),
            node("activation", "driver", &["nrr"]),
            node("onboarded", "adoption", &["activation", "elsewhere"]),
        ];
        assert_eq!(
            tree(&kpis),
            [
                "nrr (outcome, m)",
                "   └─ activation (driver, m)",
                "      └─ onboarded (adoption, m), pulls \"speed\"",
            ]
        );
    }
}
