//! Whole messages on top of frames.

mod inbound;
mod listener;

pub use listener::{WSMessage, WSMessageAdapter, WSMessageListener};
