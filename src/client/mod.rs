//! The client: where to connect to, and how.
//!
//! | file | what is in it |
//! |---|---|
//! | `url`, `proxy/` | where to, and through what |
//! | `connect` | `ws_connect`: one deadline over all attempts and redirections |
//! | `dial`, `race` | the layers below the upgrade; which address to try when |
//! | `redirect` | where a redirection leads, and what may go there |
//! | `report` | how the connection came to be |
//! | `reconnect` | coming back when it is gone |

mod connect;
mod dial;
mod over;
mod proxy;
mod race;
mod reconnect;
mod redirect;
mod report;
mod url;

#[cfg(any(test, feature = "testkit"))]
pub(crate) use connect::{client_handshake, within_opening_time};
pub use connect::{ws_connect, ws_connect_with};
pub use over::ws_connect_over;
#[cfg(feature = "testkit")]
#[doc(hidden)]
pub use proxy::fuzz_proxy_answers;
pub(crate) use proxy::{Progress, Tunnel};
pub use proxy::{WSInvalidProxy, WSProxy, WSProxyError, WSProxyErrorKind};
pub use reconnect::{WSBackoff, WSReconnect, WSRetry};
pub(crate) use report::Journey;
pub use report::{WSAttemptOutcome, WSConnectAttempt, WSConnectReport};
pub use url::{WSInvalidUrl, WSUrl};
