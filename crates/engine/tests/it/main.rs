//! The engine against an obviously correct one, against damaged files, and against published data sets.

mod cancel;
mod cohorts;
mod columns;
mod differential;
mod evidence;
mod files;
mod history;
mod journeys;
mod lifecycle;
mod naive;
mod per_subject;
mod public_data;
mod spill;
mod world;
