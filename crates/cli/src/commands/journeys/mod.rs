//! `northstar funnel`, `retention`, `lifecycle` and `paths`: ad-hoc questions about the ways that subjects take.

mod arguments;
pub mod funnel;
pub mod lifecycle;
pub mod paths;
pub mod retention;
mod show;
