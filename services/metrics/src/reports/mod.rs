//! Reports: the weekly scorecard and the executive report.

mod belongs;
mod drivers;
mod executive;
mod json;
mod page;
mod service;
mod suite;
mod tasks;
mod weekly;
mod work;
mod write;

use json::{executive as executive_json, weekly as weekly_json};
pub(crate) use service::Reports;
