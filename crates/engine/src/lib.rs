//! Events as actor-sorted columns, and the KPI kernels that scan them.
