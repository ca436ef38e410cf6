//! Who is calling: put into each request by the auth layer.

use northstar_domain::{ApiKeyId, ProjectId, Role};
use northstar_proto::errors::v1::ErrorReason;
use tonic::{Request, Status};

use crate::status::failure;

/// The holder of the API key a call came with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Caller {
    /// The project of this call.
    pub project: ProjectId,
    /// Who or what; authors and approvers go by this name.
    pub principal: String,
    /// What it may do.
    pub role: Role,
    /// The key.
    pub api_key: ApiKeyId,
    /// Whether it is a suite key, which belongs to no project: then a service is
    /// calling, not a person, and what only people may do is refused.
    pub is_suite: bool,
}

/// The caller of a request, as the auth layer found it.
///
/// # Errors
/// UNAUTHENTICATED when the request came around the auth layer.
pub fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    request
        .extensions()
        .get::<Caller>()
        .cloned()
        .ok_or_else(|| failure(ErrorReason::Unauthenticated, "this call needs an API key").into())
}
