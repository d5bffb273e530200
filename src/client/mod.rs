//! The client: where to connect to, and how.

mod connect;
mod url;

#[cfg(any(test, feature = "testkit"))]
pub(crate) use connect::{client_handshake, within_opening_time};
pub use connect::{ws_connect, ws_connect_with};
pub use url::{WSInvalidUrl, WSUrl};
