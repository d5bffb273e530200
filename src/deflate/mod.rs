//! Compression of messages: permessage-deflate (RFC 7692), without I/O.
//!
//! ```text
//! DeflatePreferences --offer-----------> request  --accept_offer--> DeflateParameters of the server, and its response
//! DeflateParameters of the client <--check_response-- response <------'
//! ```
//!
//! What both ends agree on is [`DeflateParameters`]. A [`Deflater`] then makes the payload of a compressed message, which goes on the
//! wire with RSV1 set in its first frame, and an [`Inflater`] takes the payload of a whole one.

mod config;
mod deflater;
mod extensions;
mod inflate;
mod parameters;
mod quick;
#[cfg(test)]
mod tests;

pub use crate::buf::ScratchBuffer;
pub use config::WSDeflateConfig;
pub use deflater::{DeflateSettings, Deflater};
pub use inflate::Inflater;
pub use parameters::{
    DEFLATE_EXTENSION, DeflateDirection, DeflateFault, DeflateParameters, DeflatePreferences,
    DeflateResponse, MAX_WINDOW_BITS, MIN_WINDOW_BITS, accept_offer, check_response, offer,
};

/// What a sync flush ends with: the length of an empty block without compression. Not sent (RFC 7692 section 7.2.1).
const FLUSH_TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];
