#![doc = include_str!("../README.md")]

mod apply_contract;
mod batch;
mod config;
mod contracts;
pub mod convert;
mod error;
mod links;
mod plan;
mod service;
mod sources;
mod subscribe;
mod transaction;
mod writer;

pub use config::Config;
