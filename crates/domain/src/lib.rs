//! What the words mean: ids, states, rules, documents. No I/O, no async.
