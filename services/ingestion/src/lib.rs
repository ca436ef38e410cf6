//! Takes events in, once each.
