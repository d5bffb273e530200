//! Whole messages on top of frames.

mod listener;

pub use listener::{WSMessage, WSMessageAdapter, WSMessageListener};
