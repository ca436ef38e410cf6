//! Stories across services.

mod contracts;
mod fresh;
