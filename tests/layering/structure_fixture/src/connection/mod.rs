mod conn;
mod receiving;
mod sending;
#[cfg(test)]
mod tests;

/// Another type of the same name, in another module.
pub(crate) mod other;
