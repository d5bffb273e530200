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

pub use config::WSDeflateConfig;
pub(crate) use deflater::{DeflateSettings, Deflater};
pub(crate) use inflate::Inflater;
pub(crate) use parameters::{DEFLATE_EXTENSION, DeflateDirection, MAX_WINDOW_BITS, MIN_WINDOW_BITS};
pub use parameters::{
    DeflateFault, DeflateParameters, DeflatePreferences, DeflateResponse, accept_offer, check_response, offer,
};

/// For the tests and fuzz targets of this repository. Not part of the API.
#[doc(hidden)]
pub mod internal {
    pub use super::deflater::{DeflateSettings, Deflater};
    pub use super::inflate::Inflater;
    pub use super::parameters::DeflateDirection;
    pub use crate::buf::internal::ScratchBuffer;
}

/// What a sync flush ends with: the length of an empty block without compression. Not sent (RFC 7692 section 7.2.1).
const FLUSH_TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];
