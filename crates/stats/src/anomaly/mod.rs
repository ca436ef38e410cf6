//! Points of a series that are not what its past and its seasons lead to expect.
//!
//! [`detect`] judges every point by what was known before it, so that a back-test over history ([`backtest()`]) says
//! what would have been raised at the time.

mod backtest;
mod detect;

pub use self::{
    backtest::{Backtest, Label, backtest},
    detect::{AnomalyError, Direction, Judged, Point, Settings, detect},
};
