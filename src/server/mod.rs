//! The server: configuration, listening, and the decision on each request.

mod accept;
mod admission;
mod config;
mod create;
mod error;
mod opening;
mod origin;
mod per_core;
mod remote;
mod request;
mod running;
mod ticket;
mod upgrade;

pub use config::{WSPerCoreConfig, WSServerConfig, WSSpread};
pub use create::{ws_create_server, ws_create_server_on, ws_create_server_without_socket};
pub use error::WSServeError;
#[cfg(any(test, feature = "testkit"))]
pub(crate) use opening::ServerOpening;
pub use origin::WSOriginPolicy;
pub use per_core::{WSServerThreads, ws_serve_per_core};
pub use remote::WSServerRemote;
pub use request::WSUpgradeRequest;
pub use running::WSServer;
pub use ticket::{WSDeferredUpgrade, WSUpgradeTicket};
pub use upgrade::{WSIntoUpgrade, WSUpgradeOutcome, WSUpgradeResponseWithListener};
