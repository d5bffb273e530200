//! Values of the type that a connection is set to.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_core::Stream;

use crate::messages::Message;

use super::{MessageType, Messages, WebSocket, WebSocketError};

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
        value_of(self.get_message().await?, self.shared().config.receive_type)
    }

    /// All messages, as values of the [`receive_type`](crate::message::WebSocketConfig::receive_type), until the connection is closed in
    /// a way that [`catch_disconnect`](crate::message::WebSocketConfig::catch_disconnect) names. Of any other end there is one error
    /// first. A message that is not of the type is an error, and not the end.
    pub fn values(&self) -> Values {
        Values { websocket: self.clone(), messages: self.messages() }
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

/// All messages, as values; see [`WebSocket::values`]. Also a `Stream`.
#[derive(Debug)]
pub struct Values {
    websocket: WebSocket,
    messages: Messages,
}

impl Values {
    /// The next one; `None` when the connection is closed.
    pub async fn next(&mut self) -> Option<Result<Value, WebSocketError>> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

impl Stream for Values {
    type Item = Result<Value, WebSocketError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let config = &this.websocket.shared().config;
        Poll::Ready(match ready!(Pin::new(&mut this.messages).poll_next(cx)) {
            Some(Ok(message)) => Some(value_of(message, config.receive_type)),
            Some(Err(WebSocketError::Closed(end))) if config.catch_disconnect.catches(end.reason.code) => {
                None
            }
            Some(Err(error)) => Some(Err(error)),
            None => None,
        })
    }
}

/// The message as a value of this type.
#[cfg_attr(not(feature = "json"), expect(clippy::unnecessary_wraps, reason = "only JSON may be malformed"))]
fn value_of(message: Message, kind: MessageType) -> Result<Value, WebSocketError> {
    match kind {
        MessageType::Text => Ok(Value::Text(message.into_text())),
        MessageType::Bytes => Ok(Value::Bytes(message.into_bytes())),
        #[cfg(feature = "json")]
        MessageType::Json => super::json::parse(message, super::JsonMode::Text).map(Value::Json),
    }
}
