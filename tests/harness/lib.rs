//! The suite in-process on port 0, for the journeys.
