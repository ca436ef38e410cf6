//! Generated messages, clients, servers and descriptors.
