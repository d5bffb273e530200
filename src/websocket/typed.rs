//! Values of the type that a connection is set to.

use bytes::Bytes;
#[cfg(feature = "json")]
use serde::de::DeserializeOwned;

use crate::messages::Message;

use super::{MessageType, WebSocketError};

/// What [`WebSocket::receive_value`](super::WebSocket::receive_value) gives and
/// [`WebSocket::send_value`](super::WebSocket::send_value) takes.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// A string.
    Text(String),
    /// Bytes.
    Bytes(Bytes),
    /// Any JSON.
    #[cfg(feature = "json")]
    Json(serde_json::Value),
}

impl Value {
    /// Its type.
    pub fn message_type(&self) -> MessageType {
        match self {
            Self::Text(_) => MessageType::Text,
            Self::Bytes(_) => MessageType::Bytes,
            #[cfg(feature = "json")]
            Self::Json(_) => MessageType::Json,
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Bytes> for Value {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes.into())
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(Bytes::copy_from_slice(bytes))
    }
}

impl<const N: usize> From<&[u8; N]> for Value {
    fn from(bytes: &[u8; N]) -> Self {
        Self::from(bytes.as_slice())
    }
}

#[cfg(feature = "json")]
impl From<serde_json::Value> for Value {
    fn from(value: serde_json::Value) -> Self {
        Self::Json(value)
    }
}

/// In which type of messages JSON travels.
#[cfg(feature = "json")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum JsonMode {
    /// Text messages.
    #[default]
    Text,
    /// Binary messages.
    Binary,
}

/// The message as a value of this type.
#[cfg_attr(not(feature = "json"), expect(clippy::unnecessary_wraps, reason = "only JSON may be malformed"))]
pub(super) fn value_of(message: Message, kind: MessageType) -> Result<Value, WebSocketError> {
    match kind {
        MessageType::Text => Ok(Value::Text(message.into_text())),
        MessageType::Bytes => Ok(Value::Bytes(message.into_bytes())),
        #[cfg(feature = "json")]
        MessageType::Json => parse(message, JsonMode::Text).map(Value::Json),
    }
}

#[cfg(feature = "json")]
pub(super) fn parse<T: DeserializeOwned>(message: Message, mode: JsonMode) -> Result<T, WebSocketError> {
    match mode {
        JsonMode::Text => Ok(serde_json::from_str(&message.into_text())?),
        JsonMode::Binary => Ok(serde_json::from_slice(message.as_bytes())?),
    }
}
