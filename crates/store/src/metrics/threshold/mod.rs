//! What thresholds remember, their evaluations, and the questions they ask.

mod evaluation;
mod question;
mod state;

use northstar_domain::threshold::Threshold;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::definition::Document;
use crate::{Error, Result};

pub use evaluation::{Logged, list_evaluations, next_evaluations, record};
pub use question::{
    Asked, NewQuestion, Question, Recovered, Unasked, Withdrawal, lease_questions,
    lease_withdrawals, put_question, put_withdrawal, settle_question, settle_withdrawal,
};
pub use state::{
    Lease, Schedule, Standing, begin, end, hold, keep, lease, release, set_schedule, standing,
};

impl Document for Threshold {
    const KIND: &'static str = "Threshold";
    const COLUMN: &'static str = "threshold";
}

fn corrupt(table: &'static str, column: &'static str, row: String, value: impl ToString) -> Error {
    Error::Corrupt { table, column, row, value: value.to_string() }
}

fn read<T: DeserializeOwned>(
    table: &'static str,
    column: &'static str,
    row: &str,
    json: serde_json::Value,
) -> Result<T> {
    serde_json::from_value(json).map_err(|error| corrupt(table, column, row.to_owned(), error))
}

fn json<T: Serialize>(value: &T) -> serde_json::Value {
    serde_json::to_value(value).expect("states have string keys only")
}
