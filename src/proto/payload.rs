//! What is sent, and what sending needs.

use bytes::Bytes;

use crate::buf::{BufferPool, WSBuffer};
use crate::mask::MaskKeys;

use super::WSPreparedFrame;

/// What a frame is made of.
#[derive(Debug)]
pub enum Payload<'a> {
    /// Copied; a client masks the copy.
    Borrowed(&'a [u8]),
    /// The payload is `.0[.1..]`. The header goes in front of it, so `.1` is at least
    /// [`WS_HEADROOM`](crate::buf::WS_HEADROOM). A client masks in place.
    InPlace(&'a mut [u8], usize),
    /// Queued with its memory. A client masks in place.
    Owned(WSBuffer),
    /// Queued by reference, unless it is short or has to be masked: then it is copied.
    Shared(&'a Bytes),
    /// Queued by reference as it was encoded. A client masks a copy. Behind other frames, a short
    /// one is copied.
    Prepared(&'a WSPreparedFrame),
}

impl Payload<'_> {
    /// Returns the payload, which is not masked.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Borrowed(payload) => payload,
            Self::InPlace(buffer, start) => &buffer[*start..],
            Self::Owned(buffer) => buffer.payload(),
            Self::Shared(payload) => payload,
            Self::Prepared(frame) => frame.payload(),
        }
    }

    /// Returns the length of the payload in bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.as_bytes().len()
    }

    /// Returns `true` if the payload has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Why a frame was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WSDropReason {
    /// A CLOSE frame was sent before; nothing may follow it (RFC 6455 section 5.5.1).
    CloseSent,
    /// The connection is gone, or was told to go.
    Disconnected,
    /// The outbound limit is reached.
    Overflow,
    /// CLOSE frames are sent with `close` only.
    IsClose,
    /// A control frame over 125 bytes or without FIN (RFC 6455 section 5.5).
    InvalidControl,
}

/// What sending borrows from the loop.
#[derive(Debug)]
pub struct SendContext<'a> {
    /// Where buffers come from and go to.
    pub pool: &'a mut BufferPool,
    /// Masking keys; a server uses none.
    pub keys: &'a mut MaskKeys,
}
