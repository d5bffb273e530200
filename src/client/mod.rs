//! The client: how to connect, through what, and coming back.
//!
//! | file | what is in it |
//! |---|---|
//! | `config` | what may be chosen |
//! | `connect` | `ws_connect`: one deadline over all attempts and redirections |
//! | `dial` | the layers below the upgrade |
//! | `opening`, `tunnelling` | from TCP through a proxy's tunnel to an open connection |
//! | `redirect` | going on elsewhere |
//! | `report` | how the connection came to be |
//! | `error` | why there is no connection |
//! | `reconnect` | coming back when it is gone |

mod config;
mod connect;
mod dial;
mod error;
mod opening;
mod over;
mod reconnect;
mod redirect;
mod report;
mod tunnelling;

pub use crate::connection::{WSAttemptOutcome, WSConnectAttempt, WSConnectReport};
#[cfg(feature = "testkit")]
#[doc(hidden)]
pub use crate::handshake::fuzz_proxy_answers;
pub use crate::handshake::{WSInvalidProxy, WSInvalidUrl, WSProxy, WSProxyError, WSProxyErrorKind, WSUrl};
pub(crate) use config::ConfigureSocket;
pub use config::WSConnectConfig;
#[cfg(any(test, feature = "testkit"))]
pub(crate) use connect::{client_handshake, within_opening_time};
pub use connect::{ws_connect, ws_connect_with};
pub use error::WSConnectError;
#[cfg(any(test, feature = "testkit"))]
pub(crate) use opening::{ClientOpening, OpenRequest};
pub use over::{ws_connect_over, ws_take_over};
pub use reconnect::{WSBackoff, WSReconnect, WSRetry};
#[cfg(any(test, feature = "testkit"))]
pub(crate) use report::Journey;
