//! Golden tests: numbers from papers and from other packages, which this crate must reproduce.

mod close;
mod clv;
mod coverage;
mod data;
mod impact;
mod published;
mod reference;
mod sets;
