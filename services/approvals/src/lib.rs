//! Holds risky actions until a person decides.
