//! Thresholds: evaluated on a schedule, logged, and asked about.

mod ask;
mod evaluate;
mod events;
mod periods;
mod question;
mod replay;
mod service;
mod watch;

pub(crate) use ask::ask;
pub(crate) use service::Thresholds;
pub(crate) use watch::Watch;
