//! Inference on sufficient statistics: tests, intervals, sample-ratio checks. Pure, no I/O.
