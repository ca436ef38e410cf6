//! What an operator may set: nothing yet beyond what every process has.

/// Configuration of experiments.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Config {}
