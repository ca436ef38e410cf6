//! Stories across services.

mod fresh;
mod trace;
