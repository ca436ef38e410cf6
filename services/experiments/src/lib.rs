//! Registers, assigns, analyses and concludes experiments.
