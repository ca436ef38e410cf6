//! What every RPC must have.
