//! `northstar cohort`: sets of subjects, and who is in them.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use chrono_tz::Tz;
use northstar_proto::metrics::v1 as pb;
use serde::Serialize;

use super::behind::Subject;
use super::cell::subject_text;
use super::definitions;
use super::query::Grain;
use crate::connection::Connection;
use crate::documents::Kind;
use crate::{output, time};

/// Members of one message of an upload.
const MEMBERS_A_MESSAGE: usize = 5_000;

/// Show, apply, keep and ask for sets of subjects.
#[derive(clap::Subcommand)]
#[command(after_help = "\
A member is KIND:VALUE; without a kind it is a user id.

Examples:
  northstar cohort apply cohorts.yaml
  northstar cohort list
  northstar cohort get power-users
  northstar cohort members power-users --limit 20
  northstar cohort size power-users --from 2026-01-01 --grain week
  northstar cohort snapshot power-users power-users-march
  northstar cohort upload beta-testers members.txt
  northstar cohort delete beta-testers")]
pub enum Cohort {
    /// List the cohorts.
    List {
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Show a cohort as its document.
    Get {
        /// Its name.
        name: String,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Create or replace the cohorts (and whatever else) of YAML documents.
    Apply(definitions::Apply),
    /// Tell how large a cohort is, now or over time.
    Size {
        /// Its name.
        name: String,
        /// As it stood at this date or time; now when absent.
        #[arg(long)]
        at: Option<String>,
        /// Sizes over time from this date or time on.
        #[arg(long)]
        from: Option<String>,
        /// Length of a bucket of sizes over time.
        #[arg(long, value_enum, default_value = "day")]
        grain: Grain,
        /// IANA zone of the buckets.
        #[arg(long, default_value = "UTC")]
        zone: Tz,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// List who is in a cohort.
    Members {
        /// Its name.
        name: String,
        /// As it stood at this date or time; now when absent.
        #[arg(long)]
        at: Option<String>,
        /// Most members to print; 0 means all.
        #[arg(long, default_value_t = 0)]
        limit: u32,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Keep the present members of a cohort under a new name.
    Snapshot {
        /// The cohort.
        name: String,
        /// Name of the new one.
        r#as: String,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Change the list of a cohort by list from a file with a member a line.
    Upload {
        /// The cohort.
        name: String,
        /// The file; - is standard input.
        file: PathBuf,
        /// Add to the list; without it the list is replaced.
        #[arg(long, conflicts_with = "remove")]
        add: bool,
        /// Take out of the list.
        #[arg(long)]
        remove: bool,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Delete a cohort and its list.
    Delete {
        /// The cohort.
        name: String,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
}

/// Runs the command.
pub async fn run(command: Cohort, connection: &Connection) -> anyhow::Result<()> {
    match command {
        Cohort::List { json } => {
            definitions::get(definitions::Get::of(Kind::Cohort, None, json), connection).await
        }
        Cohort::Get { name, json } => {
            definitions::get(definitions::Get::of(Kind::Cohort, Some(name), json), connection).await
        }
        Cohort::Apply(command) => definitions::apply(command, connection).await,
        Cohort::Size { name, at, from, grain, zone, json } => {
            let start = from.as_deref().map(|text| time::parse(text, zone)).transpose()?;
            let request = pb::QueryCohortRequest {
                start_time: start.map(time::timestamp),
                grain: pb::Grain::from(grain).into(),
                time_zone: zone.to_string(),
                ..question(name, at.as_deref(), zone)?
            };
            size(connection, request, zone, json).await
        }
        Cohort::Members { name, at, limit, json } => {
            let request = pb::QueryCohortRequest {
                members: true,
                limit: limit.into(),
                ..question(name, at.as_deref(), chrono_tz::UTC)?
            };
            members(connection, request, json).await
        }
        Cohort::Snapshot { name, r#as, json } => {
            let request = pb::SnapshotCohortRequest {
                cohort: name,
                name: r#as,
                request_id: uuid::Uuid::new_v4().to_string(),
            };
            let kept = connection.clients()?.cohorts().snapshot_cohort(request).await?.into_inner();
            let name = kept.cohort.unwrap_or_default().name;
            changed(&name, kept.members, json)
        }
        Cohort::Upload { name, file, add, remove, json } => {
            let mode = match (add, remove) {
                (true, _) => pb::UploadMode::Add,
                (_, true) => pb::UploadMode::Remove,
                _ => pb::UploadMode::Replace,
            };
            upload(connection, name, &file, mode, json).await
        }
        Cohort::Delete { name, json } => {
            let request = pb::DeleteCohortRequest { name: name.clone(), etag: String::new() };
            connection.clients()?.cohorts().delete_cohort(request).await?;
            if json {
                return output::json(&serde_json::json!({ "deleted": name }));
            }
            Ok(output::line(format!("Cohort {name} deleted"))?)
        }
    }
}

fn question(name: String, at: Option<&str>, zone: Tz) -> anyhow::Result<pb::QueryCohortRequest> {
    let at = at.map(|text| time::parse(text, zone)).transpose()?;
    let time = at.map(time::timestamp);
    Ok(pb::QueryCohortRequest { cohort: name, time, ..Default::default() })
}

async fn ask(
    connection: &Connection,
    request: pb::QueryCohortRequest,
) -> anyhow::Result<(pb::CohortSize, Vec<pb::Subject>)> {
    let mut parts = connection.clients()?.cohorts().query_cohort(request).await?.into_inner();
    let (mut size, mut members) = (pb::CohortSize::default(), Vec::new());
    while let Some(part) = parts.message().await? {
        size = part.size.unwrap_or(size);
        members.extend(part.members);
    }
    Ok((size, members))
}

#[derive(Serialize)]
struct Size {
    cohort: String,
    members: i64,
    time: Option<String>,
    sizes: Vec<SizeAt>,
    log_position: i64,
}

#[derive(Serialize)]
struct SizeAt {
    time: Option<String>,
    members: i64,
}

async fn size(
    connection: &Connection,
    request: pb::QueryCohortRequest,
    zone: Tz,
    json: bool,
) -> anyhow::Result<()> {
    let name = request.cohort.clone();
    let (size, _) = ask(connection, request).await?;
    if json {
        let at = |at: &pb::CohortSizeAt| SizeAt {
            time: time::text(at.time.as_ref()),
            members: at.members,
        };
        return output::json(&Size {
            cohort: name,
            members: size.members,
            time: time::text(size.time.as_ref()),
            sizes: size.sizes.iter().map(at).collect(),
            log_position: size.log_position,
        });
    }
    if !size.sizes.is_empty() {
        let rows = size.sizes.iter().map(|at| {
            let time = at.time.as_ref().map(|time| time::local_text(time, zone));
            [time.unwrap_or_default(), output::number(at.members as f64)]
        });
        output::line(output::table(&["up to", "members"], rows))?;
    }
    output::line(format!("{name} has {} members", output::number(size.members as f64)))?;
    Ok(())
}

#[derive(Serialize)]
struct Members {
    cohort: String,
    total: i64,
    members: Vec<Subject>,
    log_position: i64,
}

async fn members(
    connection: &Connection,
    request: pb::QueryCohortRequest,
    json: bool,
) -> anyhow::Result<()> {
    let name = request.cohort.clone();
    let (size, members) = ask(connection, request).await?;
    if json {
        return output::json(&Members {
            cohort: name,
            total: size.members,
            members: members.into_iter().map(Subject::from).collect(),
            log_position: size.log_position,
        });
    }
    let shown = members.len();
    let rows = members.iter().map(|member| [subject_text(Some(member))]);
    output::line(output::table(&["member"], rows))?;
    output::line(format!(
        "{name} has {} members, {} shown",
        output::number(size.members as f64),
        output::number(shown as f64)
    ))?;
    Ok(())
}

async fn upload(
    connection: &Connection,
    cohort: String,
    file: &Path,
    mode: pb::UploadMode,
    json: bool,
) -> anyhow::Result<()> {
    let members = read(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let first = pb::UploadCohortMembersRequest {
        cohort: cohort.clone(),
        mode: mode.into(),
        members: Vec::new(),
    };
    let parts: Vec<_> = std::iter::once(first)
        .chain(members.chunks(MEMBERS_A_MESSAGE).map(|members| pb::UploadCohortMembersRequest {
            members: members.to_vec(),
            ..Default::default()
        }))
        .collect();
    let mut client = connection.clients()?.cohorts();
    let uploaded = client.upload_cohort_members(futures::stream::iter(parts)).await?.into_inner();
    changed(&cohort, uploaded.members, json)
}

/// A member a line; blank lines are none.
fn read(file: &Path) -> std::io::Result<Vec<pb::Subject>> {
    let lines: Vec<String> = if file == Path::new("-") {
        std::io::stdin().lock().lines().collect::<std::io::Result<_>>()?
    } else {
        BufReader::new(std::fs::File::open(file)?).lines().collect::<std::io::Result<_>>()?
    };
    let member = |line: &str| {
        let (kind, value) = line.split_once(':').unwrap_or(("user_id", line));
        pb::Subject { kind: kind.to_owned(), value: value.to_owned() }
    };
    let lines = lines.iter().map(|line| line.trim());
    Ok(lines.filter(|line| !line.is_empty()).map(member).collect())
}

#[derive(Serialize)]
struct Changed {
    cohort: String,
    members: i64,
}

fn changed(cohort: &str, members: i64, json: bool) -> anyhow::Result<()> {
    if json {
        return output::json(&Changed { cohort: cohort.to_owned(), members });
    }
    output::line(format!("{cohort} has {} members", output::number(members as f64)))?;
    Ok(())
}
