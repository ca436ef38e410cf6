//! Stories across services.

mod contracts;
mod decisions;
mod fresh;
