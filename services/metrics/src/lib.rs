//! Turns events into KPIs.
