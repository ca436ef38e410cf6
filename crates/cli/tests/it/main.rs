//! The `northstar` binary, run as a person or a script would run it.

mod analyze;
mod configuration;
mod contracts;
mod datasets;
mod evidence;
mod exit_codes;
mod export;
mod generated;
mod import;
mod insights;
mod journeys;
mod packs;
mod readme;
mod suite;
mod thresholds;
