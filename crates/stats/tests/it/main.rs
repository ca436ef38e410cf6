//! Golden tests: numbers from papers and from other packages, which this crate must reproduce.

mod close;
mod data;
mod published;
mod reference;
mod sets;
