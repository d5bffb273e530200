//! Sockets.

mod socket;

pub use socket::{WSListeningSocket, WSSocket};
