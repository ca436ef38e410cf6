//! Stories across services.

mod contracts;
mod decisions;
mod erasure;
mod fresh;
