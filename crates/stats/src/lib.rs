//! Inference: tests, intervals, matching, anomalies, attribution, customer value. Pure, no I/O.
//!
//! A comparison of randomised arms starts from counts or moments that can be computed in parts and merged
//! ([`Proportion`], [`Moments`], [`PairMoments`]), never from rows, so the service that holds the
//! rows and the service that judges them can be different processes. Where nobody was randomised ([`impact`]), rows are
//! needed, as they are for series ([`anomaly`]), for segments ([`attribution`]) and for customers ([`clv`]).
//!
//! ```
//! use northstar_stats::{Confidence, Proportion, proportion};
//!
//! let control = Proportion::new(8_502, 44_700)?;
//! let treatment = Proportion::new(8_279, 45_489)?;
//! let comparison = proportion::compare(control, treatment, Confidence::P95)?;
//! let effect = comparison.absolute?;
//! assert!((effect.estimate + 0.008_201).abs() < 1e-6);
//! assert!((effect.p_value - 0.001_554).abs() < 1e-6);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Two kinds of failure are kept apart: [`InputError`] says that the numbers cannot be what they
//! claim to be (more successes than trials), [`Undefined`] says that they are sound but that the
//! asked quantity does not exist for them (a relative lift over a baseline of zero). No function
//! returns NaN.

pub mod adjust;
pub mod anomaly;
pub mod attribution;
pub mod clv;
pub mod distribution;
pub mod impact;
pub mod logistic;
pub mod mean;
pub mod power;
pub mod proportion;
pub mod ratio;
pub mod sample_ratio;
pub mod sequential;

mod confidence;
mod dense;
mod effect;
mod error;
mod minimise;
mod moments;
mod pair;
mod special;

pub use self::{
    confidence::Confidence,
    effect::{Effect, Interval},
    error::{Arm, InputError, Undefined},
    moments::{Moments, SampleStats},
    pair::{PairMoments, RatioStats},
    proportion::Proportion,
    sequential::ConfidenceSequence,
};
