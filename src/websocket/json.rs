//! JSON in messages (RFC 8259).

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::messages::Message;
use crate::proto::WSMsgType;

use super::{WebSocket, WebSocketError};

/// In which type of messages JSON travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum JsonMode {
    /// Text messages.
    #[default]
    Text,
    /// Binary messages.
    Binary,
}

impl WebSocket {
    /// The next message, read as JSON.
    ///
    /// Either type of message is taken. By [`JsonMode::Text`] bytes that are not UTF-8 are left out of a binary message first, as in
    /// [`receive_text`](Self::receive_text).
    ///
    /// # Errors
    /// [`Json`](WebSocketError::Json) if the message is not JSON that makes a `T`; it is used up, and the connection stays open.
    /// Otherwise those of [`get_message`](Self::get_message).
    pub async fn receive_json<T: DeserializeOwned>(&self, mode: JsonMode) -> Result<T, WebSocketError> {
        parse(self.get_message().await?, mode)
    }

    /// Sends a value as compact JSON: no spaces, and no escapes for what is not ASCII.
    ///
    /// # Errors
    /// [`Json`](WebSocketError::Json) if the value cannot become JSON; nothing is sent. Otherwise those of
    /// [`send_message`](Self::send_message); a state that does not allow to send is found before anything is serialized.
    pub async fn send_json<T: Serialize + ?Sized>(
        &self,
        value: &T,
        mode: JsonMode,
    ) -> Result<(), WebSocketError> {
        self.shared().state().check_sendable()?;
        let json = serde_json::to_vec(value)?;
        let msg_type = match mode {
            JsonMode::Text => WSMsgType::Text,
            JsonMode::Binary => WSMsgType::Binary,
        };
        self.send_payload(msg_type, json).await
    }
}

pub(super) fn parse<T: DeserializeOwned>(message: Message, mode: JsonMode) -> Result<T, WebSocketError> {
    match mode {
        JsonMode::Text => Ok(serde_json::from_str(&message.into_text())?),
        JsonMode::Binary => Ok(serde_json::from_slice(message.as_bytes())?),
    }
}
