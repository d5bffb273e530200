#[cfg(feature = "deflate")]
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::header::FrameHeader;
use super::{SendOptions, WSMsgType};

/// A frame that was encoded once, to be sent to any number of connections, on any number of loops.
///
/// Clones share the memory. A server connection sends the encoded bytes as they are; a client connection has to mask a copy
/// with a key of its own (RFC 6455 section 5.3).
#[derive(Clone, Debug)]
pub struct WSPreparedFrame {
    /// Header without a mask, then the payload.
    encoded: Bytes,
    header_len: u8,
    msg_type: WSMsgType,
    options: SendOptions,
}

impl WSPreparedFrame {
    /// Encodes a whole message of type TEXT or BINARY, or a PING or PONG.
    ///
    /// ```
    /// use femtows::{WSMsgType, WSPreparedFrame};
    /// let frame = WSPreparedFrame::new(WSMsgType::Text, "tick");
    /// assert_eq!(frame.payload(), b"tick");
    /// ```
    pub fn new(msg_type: WSMsgType, payload: impl AsRef<[u8]>) -> Self {
        Self::with_options(msg_type, payload, SendOptions::default())
    }

    /// Encodes a frame with chosen bits.
    pub fn with_options(msg_type: WSMsgType, payload: impl AsRef<[u8]>, options: SendOptions) -> Self {
        let payload = payload.as_ref();
        let header = FrameHeader::new(msg_type, options, None, payload.len()).encode();
        let mut encoded = Vec::with_capacity(header.len() + payload.len());
        encoded.extend_from_slice(&header);
        encoded.extend_from_slice(payload);
        Self { encoded: encoded.into(), header_len: header.len() as u8, msg_type, options }
    }

    /// Message type.
    pub fn msg_type(&self) -> WSMsgType {
        self.msg_type
    }

    /// The bits it was encoded with.
    pub fn options(&self) -> SendOptions {
        self.options
    }

    /// The payload.
    pub fn payload(&self) -> &[u8] {
        &self.encoded[usize::from(self.header_len)..]
    }

    /// The frame as a server sends it.
    pub fn encoded(&self) -> &Bytes {
        &self.encoded
    }
}

/// A message that was encoded once, to be sent to any number of connections, on any number of loops, compressed or not as each has
/// agreed to: [`WSTransport::send_prepared`](crate::WSTransport::send_prepared).
///
/// Clones share the memory. The compressed form is made once, for the first connection that wants it; it refers to nothing outside of
/// the message, so that it is right for all.
#[derive(Clone, Debug)]
pub struct WSPreparedMessage {
    plain: WSPreparedFrame,
    /// The inner `None`: the message does not get shorter.
    #[cfg(feature = "deflate")]
    compressed: Arc<OnceLock<Option<WSPreparedFrame>>>,
}

impl WSPreparedMessage {
    /// Encodes a whole message of type TEXT or BINARY. TEXT must be UTF-8; that is the caller's word and is not checked.
    ///
    /// ```
    /// use femtows::{WSMsgType, WSPreparedMessage};
    /// let message = WSPreparedMessage::new(WSMsgType::Text, "tick");
    /// assert_eq!(message.payload(), b"tick");
    /// ```
    pub fn new(msg_type: WSMsgType, payload: impl AsRef<[u8]>) -> Self {
        Self {
            plain: WSPreparedFrame::new(msg_type, payload),
            #[cfg(feature = "deflate")]
            compressed: Arc::default(),
        }
    }

    /// Message type.
    pub fn msg_type(&self) -> WSMsgType {
        self.plain.msg_type()
    }

    /// The payload, not compressed.
    pub fn payload(&self) -> &[u8] {
        self.plain.payload()
    }

    /// The frame for connections without compression.
    pub(crate) fn plain(&self) -> &WSPreparedFrame {
        &self.plain
    }

    /// The frame for connections with compression; `None` if there is none that is shorter.
    #[cfg(feature = "deflate")]
    pub(crate) fn compressed_or_make(
        &self,
        make: impl FnOnce() -> Option<WSPreparedFrame>,
    ) -> Option<&WSPreparedFrame> {
        self.compressed.get_or_init(make).as_ref()
    }
}
