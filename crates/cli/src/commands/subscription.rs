//! `northstar subscription`: who follows the log, and how far behind.

use anyhow::bail;
use northstar_client::Consumer;
use northstar_proto::ingestion::v1 as pb;
use pb::log_place::Place;
use serde::Serialize;

use crate::commands::log::print;
use crate::connection::Connection;
use crate::{output, time};

/// Look after the consumer groups that follow the log.
#[derive(clap::Subcommand)]
#[command(after_help = "\
Examples:
  northstar subscription list
  northstar subscription tail billing --filter \"event.name == 'Order Placed'\"
  northstar subscription seek billing --to 2026-03-01
  northstar subscription delete billing")]
pub enum Subscription {
    /// List groups with their members and how far they are behind.
    List {
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Set every cursor of a group, back or forward.
    Seek {
        /// The group.
        group: String,
        /// beginning, now, a position (events after it), or a time: 2026-03-01 or
        /// 2026-03-01T09:30:00Z.
        #[arg(long)]
        to: String,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Remove a group and its cursors.
    Delete {
        /// The group.
        group: String,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Join a group and print its events as JSON Lines, acknowledging them as
    /// they are printed. A group that is not there is made.
    Tail {
        /// The group.
        group: String,
        /// Id of this member.
        #[arg(long, default_value_t = format!("tail-{}", std::process::id()))]
        member: String,
        /// Where a new group starts: beginning, now, a position or a time.
        #[arg(long, default_value = "now")]
        from: String,
        /// CEL condition of a new group.
        #[arg(long, default_value = "")]
        filter: String,
        /// Stop after so many events.
        #[arg(long)]
        limit: Option<u64>,
    },
}

#[derive(Serialize)]
struct Group {
    group: String,
    filter: String,
    position: i64,
    lag_positions: i64,
    lag_seconds: f64,
    members: Vec<String>,
    partitioned: bool,
    updated: Option<String>,
}

/// A place in the log as people write it.
pub fn place(text: &str) -> anyhow::Result<pb::LogPlace> {
    let place = match text {
        "beginning" => Place::Position(0),
        "now" => Place::Now(true),
        text => match text.parse::<i64>() {
            Ok(position) => Place::Position(position),
            Err(_) => match time::parse(text, chrono_tz::UTC) {
                Ok(time) => Place::Time(time::timestamp(time)),
                Err(_) => bail!(
                    "{text:?} is no place in the log: write beginning, now, a position, \
                     2026-03-31 or 2026-03-31T09:30:00Z"
                ),
            },
        },
    };
    Ok(pb::LogPlace { place: Some(place) })
}

/// Runs the command.
pub async fn run(command: Subscription, connection: &Connection) -> anyhow::Result<()> {
    let clients = connection.clients()?;
    let request_id = uuid::Uuid::new_v4().to_string();
    match command {
        Subscription::List { json } => list(&clients, json).await,
        Subscription::Seek { group, to, json } => {
            let request = pb::SeekSubscriptionRequest {
                group: group.clone(),
                place: Some(place(&to)?),
                request_id,
            };
            let sought = clients.subscriptions().seek_subscription(request).await?.into_inner();
            if json {
                return output::json(&serde_json::json!({
                    "group": group,
                    "position": sought.position,
                }));
            }
            output::line(format!("{group} goes on after position {}", sought.position))?;
            Ok(())
        }
        Subscription::Delete { group, json } => {
            let request = pb::DeleteSubscriptionRequest { group: group.clone(), request_id };
            clients.subscriptions().delete_subscription(request).await?;
            if json {
                return output::json(&serde_json::json!({ "group": group, "deleted": true }));
            }
            output::line(format!("{group} is gone"))?;
            Ok(())
        }
        Subscription::Tail { group, member, from, filter, limit } => {
            let join = pb::JoinGroup {
                group,
                member_id: member,
                start: Some(place(&from)?),
                filter,
                ..pb::JoinGroup::default()
            };
            tail(Consumer::new(clients, join), limit).await
        }
    }
}

async fn list(clients: &northstar_client::Clients, json: bool) -> anyhow::Result<()> {
    let mut groups = Vec::new();
    let mut page_token = String::new();
    let log_position = loop {
        let request = pb::ListSubscriptionsRequest { page_size: 1000, page_token };
        let page = clients.subscriptions().list_subscriptions(request).await?.into_inner();
        groups.extend(page.subscriptions.into_iter().map(|group| Group {
            updated: time::text(group.update_time.as_ref()),
            group: group.group,
            filter: group.filter,
            position: group.position,
            lag_positions: group.lag_positions,
            lag_seconds: group.lag_seconds,
            members: group.members,
            partitioned: group.partitioned,
        }));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break page.log_position;
        }
    };
    if json {
        return output::json(&serde_json::json!({
            "subscriptions": groups,
            "log_position": log_position,
        }));
    }
    let rows = groups.into_iter().map(|group| {
        [
            group.group,
            if group.partitioned { group.members.join(", ") } else { "(one cursor)".to_owned() },
            output::number(group.position as f64),
            output::number(group.lag_positions as f64),
            output::number(group.lag_seconds.round()),
            group.filter,
        ]
    });
    let header = ["group", "members", "position", "behind", "seconds behind", "filter"];
    output::line(output::table(&header, rows))?;
    Ok(())
}

/// Prints and acknowledges. A batch is acknowledged once it is printed.
async fn tail(mut consumer: Consumer, limit: Option<u64>) -> anyhow::Result<()> {
    let mut printed = 0;
    loop {
        let mut batch = consumer.next().await?;
        if let Some(limit) = limit {
            let left = usize::try_from(limit - printed).unwrap_or(usize::MAX);
            batch.events.truncate(left);
        }
        for delivered in &batch.events {
            if let Some(event) = &delivered.event {
                print(event)?;
            }
        }
        printed += batch.events.len() as u64;
        consumer.acknowledge(&batch).await?;
        if limit.is_some_and(|limit| printed >= limit) {
            return Ok(());
        }
    }
}
