//! A private PostgreSQL cluster that Northstar finds, starts, recovers and stops.
