//! Values of the type that a connection is set to.

use bytes::Bytes;

use crate::message::{Message, MessageType, WebSocketError};

use super::WebSocket;

/// What [`WebSocket::receive`] gives and [`WebSocket::send`] takes.
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

impl WebSocket {
    /// The next message, as a value of the [`receive_type`](crate::message::WebSocketConfig::receive_type).
    ///
    /// # Errors
    /// Those of [`get_message`](Self::get_message), and `Json` (feature `json`) if that is the type and the message is none.
    pub async fn receive(&self) -> Result<Value, WebSocketError> {
        match self.shared().config.receive_type {
            MessageType::Text => Ok(Value::Text(self.receive_text().await?)),
            MessageType::Bytes => Ok(Value::Bytes(self.receive_bytes().await?)),
            #[cfg(feature = "json")]
            MessageType::Json => Ok(Value::Json(self.receive_json(super::JsonMode::Text).await?)),
        }
    }

    /// Sends a value of the [`send_type`](crate::message::WebSocketConfig::send_type). Where JSON is to be sent, a string is
    /// JSON too.
    ///
    /// # Errors
    /// [`Type`](WebSocketError::Type) if it is of another type; otherwise those of [`send_message`](Self::send_message).
    pub async fn send(&self, value: impl Into<Value>) -> Result<(), WebSocketError> {
        let (expected, value) = (self.shared().config.send_type, value.into());
        let message = match (expected, value) {
            (MessageType::Text, Value::Text(text)) => Message::Text(text),
            (MessageType::Bytes, Value::Bytes(bytes)) => Message::Binary(bytes),
            #[cfg(feature = "json")]
            (MessageType::Json, Value::Json(value)) => Message::Text(value.to_string()),
            #[cfg(feature = "json")]
            (MessageType::Json, Value::Text(text)) => {
                Message::Text(serde_json::Value::String(text).to_string())
            }
            (expected, value) => return Err(WebSocketError::Type { expected, value: value.message_type() }),
        };
        self.send_message(message).await
    }
}
