//! The server: listening, and the decision on each request.

mod create;
mod origin;
mod remote;
mod running;
mod ticket;
mod upgrade;

pub use create::{ws_create_server, ws_create_server_on, ws_create_server_without_socket};
pub use origin::WSOriginPolicy;
pub use remote::WSServerRemote;
pub use running::WSServer;
pub(crate) use ticket::Ticket;
pub use ticket::{WSDeferredUpgrade, WSUpgradeTicket};
pub use upgrade::{WSIntoUpgrade, WSUpgradeOutcome, WSUpgradeResponseWithListener};
