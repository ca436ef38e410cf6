#![doc = include_str!("../README.md")]

mod cluster;
mod command;
mod configure;
mod discover;
mod download;
mod endpoint;
mod error;
mod home;
mod lock;
mod options;
mod postmaster;
mod user;

pub use self::cluster::Cluster;
pub use self::error::{Error, Looked};
pub use self::options::{Listen, Options};
