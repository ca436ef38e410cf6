//! The subjects behind a number, page by page.

use crate::subjects::SubjectName;

/// Which part of a list is wanted. The order is that of the names, so it outlives restarts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberPage {
    /// Only names after this one.
    pub after: Option<SubjectName>,
    /// Most names.
    pub limit: usize,
}

/// A page of subjects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Members {
    /// In the order of names.
    pub subjects: Vec<SubjectName>,
    /// How many there are in all, on this page or not.
    pub total: u64,
    /// Whether more follow.
    pub more: bool,
}
