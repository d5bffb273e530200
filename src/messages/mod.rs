//! Whole messages, for callbacks and for tasks.

mod inbound;
mod listener;
mod owned;

pub(crate) use inbound::MessageReader;
pub use listener::{WSMessage, WSMessageAdapter, WSMessageListener};
pub use owned::{Message, MessageInfo};
