//! The servers that are part of the harness.

pub(crate) mod femtows;
pub(crate) mod limit;
pub(crate) mod limit_tls;
