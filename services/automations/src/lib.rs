//! The one orchestrator: trigger, action, metric, decision.
