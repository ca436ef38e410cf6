//! Every SQL statement, every migration, one module per context.
