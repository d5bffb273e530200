//! The client: where to connect to, and how.

mod connect;
mod over;
mod url;

#[cfg(any(test, feature = "testkit"))]
pub(crate) use connect::{client_handshake, within_opening_time};
pub use connect::{ws_connect, ws_connect_with};
pub use over::ws_connect_over;
pub use url::{WSInvalidUrl, WSUrl};
