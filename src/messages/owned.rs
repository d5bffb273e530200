//! Messages that the application owns.

use std::time::SystemTime;

use bytes::Bytes;

use crate::proto::{WSFrame, WSMsgType};

use super::WSMessage;

/// A whole message, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Bytes),
}

/// What is known of a message beside its type and payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MessageInfo {
    /// When the kernel received the end of the message: see
    /// [`WSFrame::received_at`](crate::WSFrame::received_at).
    pub received_at: Option<SystemTime>,
    /// Bytes on the wire, with the headers of all frames.
    pub wire_len: usize,
    /// Whether the message was compressed on the wire.
    pub is_compressed: bool,
    /// Whether the receive buffer had no whole frame behind the message when it was parsed.
    pub last_in_buffer: bool,
    /// Bytes in the receive buffer behind the message when it was parsed.
    pub tail_size: usize,
}

impl MessageInfo {
    /// Returns that of a message whose last frame this is. `earlier`: the bytes that the frames before had
    /// on the wire.
    pub(crate) fn of_frame(last: &WSFrame<'_>, earlier: usize) -> Self {
        Self {
            received_at: last.received_at(),
            wire_len: earlier + last.wire_len(),
            is_compressed: last.is_compressed(),
            last_in_buffer: last.last_in_buffer(),
            tail_size: last.tail_size(),
        }
    }
}

impl Message {
    /// Makes a message of a [long](crate::proto::FrameHeader::is_long) frame, which may be masked.
    pub(crate) fn from_long(frame: &WSFrame<'_>) -> Self {
        Self::Binary(frame.unmasked_copy().into())
    }

    /// The type that a frame with this message has.
    #[inline]
    pub fn msg_type(&self) -> WSMsgType {
        match self {
            Self::Text(_) => WSMsgType::Text,
            Self::Binary(_) => WSMsgType::Binary,
        }
    }

    /// Whether this is a text message.
    pub fn is_text(&self) -> bool {
        matches!(self, Self::Text(_))
    }

    /// The payload.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }

    /// Length of the payload, in bytes.
    pub fn len(&self) -> usize {
        self.as_bytes().len()
    }

    /// Whether the payload is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The message as text; of a binary message its UTF-8, with the sequences that are not UTF-8 left out.
    pub fn into_text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Binary(bytes) => match String::from_utf8(bytes.into()) {
                Ok(text) => text,
                Err(error) => error.as_bytes().utf8_chunks().map(|chunk| chunk.valid()).collect(),
            },
        }
    }

    /// The message as bytes; of a text message its UTF-8. Nothing is copied.
    pub fn into_bytes(self) -> Bytes {
        match self {
            Self::Text(text) => text.into(),
            Self::Binary(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for Message {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl From<WSMessage<'_>> for Message {
    fn from(message: WSMessage<'_>) -> Self {
        match message.as_text() {
            Some(text) => Self::Text(text.to_owned()),
            None => Self::Binary(Bytes::copy_from_slice(message.as_bytes())),
        }
    }
}

impl From<String> for Message {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<Bytes> for Message {
    fn from(bytes: Bytes) -> Self {
        Self::Binary(bytes)
    }
}

impl From<Vec<u8>> for Message {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Binary(bytes.into())
    }
}

impl From<&[u8]> for Message {
    fn from(bytes: &[u8]) -> Self {
        Self::Binary(Bytes::copy_from_slice(bytes))
    }
}

impl<const N: usize> From<&[u8; N]> for Message {
    fn from(bytes: &[u8; N]) -> Self {
        Self::from(bytes.as_slice())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_read_as_text_lose_what_is_not_utf8() {
        assert_eq!(Message::from(b"a\xffb").into_text(), "ab");
        assert_eq!(Message::from("a\u{fc}".as_bytes()).into_text(), "a\u{fc}");
        assert_eq!(Message::from(b"\xe2\x82").into_text(), "");
        assert_eq!(Message::from("\u{fc}").into_bytes(), "\u{fc}".as_bytes());
    }
}
