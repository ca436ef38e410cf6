//! Stories across services.

mod carried_out;
mod contracts;
mod decisions;
mod erasure;
mod fresh;
mod merges;
mod reserved;
