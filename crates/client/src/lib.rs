//! The typed Rust client that other backend services use.
