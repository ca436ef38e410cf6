//! Stories across services.

mod carried_out;
mod contracts;
mod decisions;
mod fresh;
mod reserved;
