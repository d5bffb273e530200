//! The client: how to connect, through what, and coming back.
//!
//! | file | what is in it |
//! |---|---|
//! | `config` | what may be chosen |
//! | `connect` | `ws_connect`: one deadline over all attempts and redirections |
//! | `dial` | the layers below the upgrade |
//! | `redirect` | going on elsewhere |
//! | `report` | how the connection came to be |
//! | `reconnect` | coming back when it is gone |

mod config;
mod connect;
mod dial;
mod over;
mod reconnect;
mod redirect;
mod report;

#[cfg(feature = "testkit")]
#[doc(hidden)]
pub use crate::handshake::fuzz_proxy_answers;
pub(crate) use config::ConfigureSocket;
pub use config::WSConnectConfig;
#[cfg(any(test, feature = "testkit"))]
pub(crate) use connect::{client_handshake, within_opening_time};
pub use connect::{ws_connect, ws_connect_with};
pub use over::ws_connect_over;
// TEMPORARY: a shim for event_loop.
pub use crate::connection::{WSAttemptOutcome, WSConnectAttempt, WSConnectReport};
pub(crate) use crate::handshake::proxy::{Progress, Tunnel};
pub use crate::handshake::{WSInvalidProxy, WSInvalidUrl, WSProxy, WSProxyError, WSProxyErrorKind, WSUrl};
pub use reconnect::{WSBackoff, WSReconnect, WSRetry};
pub(crate) use report::Journey;
