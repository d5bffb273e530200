//! The client side: where to connect to.

mod url;

pub use url::{WSInvalidUrl, WSUrl};
