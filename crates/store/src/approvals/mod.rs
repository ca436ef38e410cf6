//! Policies, decision requests and verdicts.

mod decision;
pub(crate) mod erasure;
mod policy;

pub use decision::{
    Filter, insert_decision_request, insert_verdict, list_decision_requests,
    list_due_decision_requests, load_decision_request, load_decision_request_for_update,
    update_decision_request,
};
pub use policy::{StoredPolicy, find_policy_of_action, list_policies, load_policy, save_policy};
