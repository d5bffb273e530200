//! The client: where to connect to, and how.

mod connect;
mod url;

pub use connect::{ws_connect, ws_connect_with};
pub use url::{WSInvalidUrl, WSUrl};
