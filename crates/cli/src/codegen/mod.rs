//! Typed events from contracts: for each language a module in which a producer
//! builds an event that keeps its contract, or does not compile.

mod model;
mod python;
mod rust;
mod typescript;

use northstar_domain::contract::ContractSpec;

/// A language that is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum Language {
    /// Structs for serde.
    Rust,
    /// Interfaces.
    Typescript,
    /// Dataclasses for Python 3.9 and newer.
    Python,
}

impl Language {
    /// Name of the file that holds the module.
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Rust => "events.rs",
            Self::Typescript => "events.ts",
            Self::Python => "events.py",
        }
    }
}

/// Writes a module with a type for each event.
pub fn generate(language: Language, contracts: &[(String, ContractSpec)]) -> String {
    let model = model::Model::of(contracts);
    match language {
        Language::Rust => rust::write(&model),
        Language::Typescript => typescript::write(&model),
        Language::Python => python::write(&model),
    }
}
