//! The server: listening, and the decision on each request.

mod create;
mod ticket;
mod upgrade;

pub use create::{WSServer, ws_create_server};
pub(crate) use ticket::Ticket;
pub use ticket::{WSDeferredUpgrade, WSUpgradeTicket};
pub use upgrade::{WSIntoUpgrade, WSUpgradeOutcome, WSUpgradeResponseWithListener};
