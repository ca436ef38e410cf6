//! Stories across services.

mod contracts;
mod fresh;
mod trace;
