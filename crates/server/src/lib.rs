//! What every process shares: configuration, listener, layers, health, telemetry, shutdown, status.
