//! `northstar demo`: the whole job in a minute, from events to decisions.

pub mod company;
mod feed;
mod play;
mod receiver;
mod report;
mod stage;

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use northstar_domain::Role;
use northstar_server::telemetry;
use tokio_util::sync::CancellationToken;

use crate::connection::ContextFile;
use crate::database::named;
use crate::documents::{self, Document};
use crate::output;
use crate::suite::{self, Settings, Suite};

use company::Company;
use stage::Stage;

/// Definitions in the order in which they depend on each other.
const DEFINITIONS: [&str; 4] = [
    include_str!("definitions/contracts.yaml"),
    include_str!("definitions/metrics.yaml"),
    include_str!("definitions/kpis.yaml"),
    include_str!("definitions/changes.yaml"),
];

/// Watch Northstar do its whole job on a simulated company.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  northstar demo
  northstar demo --exit --json --seed 7

A company with 20,000 people lives through 60 days and sends about 500,000
events, with the faults real producers have. A nudge automation acts with a
holdout, an experiment runs, a person decides. The true effects are planted by
the seed and shown beside the estimates. One seed always gives the same numbers.")]
pub struct Demo {
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
    /// Stop when the story is told instead of serving on.
    #[arg(long)]
    exit: bool,
    /// Which company.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Database to use instead of a private PostgreSQL; the demo makes a
    /// project of its own in it.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
}

/// Runs the command.
pub async fn run(command: Demo) -> anyhow::Result<()> {
    // The story is told in sentences; only what goes wrong is logged beside it.
    let quiet = telemetry::Config { log_filter: "error".to_owned(), ..suite::from_environment()? };
    let _telemetry = telemetry::init("northstar-demo", &quiet)?;
    let stage = Stage::new();
    stage.step("starting PostgreSQL and the services");
    let folder = tempfile::Builder::new().prefix("northstar-demo-").tempdir()?;
    let stop = CancellationToken::new();
    let _stop_receiver = stop.clone().drop_guard();
    let secret: [u8; 32] = rand::random();
    let receiver = receiver::listen(&secret, stop).await?;

    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut automations: northstar_automations::Config = suite::from_environment()?;
    automations.allow_loopback_webhooks = true;
    automations.webhook_secrets = Some(format!("demo=whsec_{}", STANDARD.encode(secret)).into());
    let suite = Suite::start(suite::Options {
        data_dir: folder.path().to_owned(),
        database_url: named(command.database_url.clone(), None)?,
        grpc_listen: any_port,
        http_listen: any_port,
        settings: Settings::read(automations)?,
    })
    .await?;
    let told = tell(&command, &suite, &receiver, &stage).await;
    let served = match told {
        Ok(()) if !command.exit => serve_on().await,
        told => told,
    };
    suite.stop().await?;
    served
}

async fn tell(
    command: &Demo,
    suite: &Suite,
    receiver: &receiver::Receiver,
    stage: &Stage,
) -> anyhow::Result<()> {
    // A project of its own, so that a database that is used for more keeps its
    // numbers, and the demo its.
    let name = format!("demo-{}", uuid::Uuid::now_v7().simple());
    let project = suite.ensure_project(&name).await?;
    let admin = suite.create_api_key(project, "admin", Role::Admin).await?;
    let operator = suite.create_api_key(project, "growth-operator", Role::Operator).await?;
    let approver = suite.create_api_key(project, "growth-lead", Role::Approver).await?;

    stage.step("defining pillars, metrics, KPIs, contracts, an automation and an experiment");
    let clients = suite.clients(&admin)?;
    for text in DEFINITIONS {
        let text = text.replace("${NUDGE_URL}", &receiver.url);
        for document in Document::read_all(&text, "the demo")? {
            documents::apply(&clients, &document, documents::Mode::Write)
                .await
                .with_context(|| format!("defining {}", document.title()))?;
        }
    }
    let company = Company::new(command.seed);
    let people =
        play::People { operator: suite.clients(&operator)?, approver: suite.clients(&approver)? };
    let mut report = play::play(&company, &people, &receiver.nudged, stage).await?;
    report.seconds = stage.finish();
    if command.json {
        output::json(&report)?;
    } else {
        report.print()?;
    }
    if !command.exit {
        let context = ContextFile { grpc: suite.grpc(), http: suite.http(), api_key: admin };
        let path = context.write()?;
        output::note(format!(
            "\nstill serving; try, in another terminal:\n  \
             northstar query activation-rate --from 2026-01-05 --to 2026-03-06 --grain week --by plan\n  \
             northstar automation lift {}\n  northstar decision list\n  northstar audit verify\n\n  \
             gRPC     {}\n  HTTP     {}/metrics\n  API key  {}\n  context  {}\n\nstop with Ctrl-C",
            play::AUTOMATION,
            context.grpc,
            context.http,
            context.api_key,
            path.display(),
        ));
    }
    Ok(())
}

async fn serve_on() -> anyhow::Result<()> {
    tokio::signal::ctrl_c().await.context("cannot wait for Ctrl-C")
}
