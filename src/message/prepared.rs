#[cfg(feature = "deflate")]
use std::sync::{Arc, OnceLock};

use crate::{WSMsgType, WSPreparedFrame};

/// A message that was encoded once, to be sent to any number of connections, on any number of loops, compressed or not as each has
/// agreed to: [`WSTransport::send_prepared_message`](crate::WSTransport::send_prepared_message).
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
