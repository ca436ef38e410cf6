//! The `northstar` binary, run as a person or a script would run it.

mod analyze;
mod datasets;
mod export;
mod import;
mod suite;
