//! What lies behind a number, and which numbers changed after they were told.

mod cell;
mod explain;
pub(crate) mod keep;
pub(crate) mod restate;
mod restatements;
mod service;
mod subjects;
mod words;
