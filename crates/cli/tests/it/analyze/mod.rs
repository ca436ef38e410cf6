//! `northstar experiment analyze-file` against the computed results of public experiments, and on broken input.
//!
//! The numbers in each `expected.json` were computed from the raw files by other software. Where a result needs
//! rows to be joined or cleaned first, [`prepare`] does that here, with code of its own.

mod prepare;
mod refusals;
mod report;
mod run;
mod sets;
