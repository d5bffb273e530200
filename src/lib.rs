//! femtows: a WebSocket client and server library.

pub mod client;
pub mod handshake;
pub mod mask;
pub mod proto;
