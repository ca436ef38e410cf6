//! The `page_size` of every list.

use northstar_store::page::PageSize;

use crate::status::{Failure, invalid_field};

/// Reads a request's `page_size`; 0 is 50.
///
/// # Errors
/// INVALID_FIELD when it is negative or above 1,000.
pub fn page_size(size: i32) -> Result<PageSize, Failure> {
    PageSize::from_request(size)
        .map_err(|_| invalid_field("page_size", format!("must lie between 0 and 1000, not {size}")))
}
