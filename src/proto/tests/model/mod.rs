//! What the properties are checked against. The fuzz targets use the same files.

pub(crate) mod caller;
pub(crate) mod drive;
pub(crate) mod random;
pub(crate) mod session;
pub(crate) mod twin;
pub(crate) mod wire;
