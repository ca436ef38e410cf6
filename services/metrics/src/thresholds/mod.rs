//! Thresholds: evaluated on a schedule, logged, asked about, and taken back.

mod ask;
mod change;
mod evaluate;
mod events;
mod past;
mod periods;
mod question;
mod replay;
mod service;
mod watch;
mod withdraw;

pub(crate) use ask::ask;
pub(crate) use service::Thresholds;
pub(crate) use watch::Watch;
