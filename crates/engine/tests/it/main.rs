//! The engine against an obviously correct one, against damaged files, and against published data sets.

mod columns;
mod differential;
mod files;
mod journeys;
mod lifecycle;
mod naive;
mod public_data;
mod world;
