//! What every RPC must have: an authorisation case, and words in its contract.

mod authorisation;
mod descriptors;
mod words;
