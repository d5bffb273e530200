//! Closed loop with permessage-deflate (RFC 7692).
//!
//! Requests are compressed before the clock starts: the client offers `client_no_context_takeover`, so each of its messages stands by
//! itself and may be sent any number of times, on any connection. What a server answers depends on its compressor; a checked run
//! inflates each answer, in the server's context if it keeps one, and compares it with what was sent. While it measures, the generator
//! reads the header of each answer, which has to be one compressed message in one frame, and counts its bytes.

mod answer;
mod feed;
mod fleet;
mod script;

pub(crate) use feed::TRADE;
pub(crate) use fleet::CompressedFleet;
pub(crate) use script::CompressedScript;
