//! Receiving messages.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;

use crate::messages::Message;

use super::waiters::Place;
use super::{WebSocket, WebSocketError};

impl WebSocket {
    /// The next message.
    ///
    /// Several tasks may wait: they are served in the order in which they were first polled, each message going to one of them. If
    /// one gives up, its message is the next one's, which may have received a later one already.
    ///
    /// # Errors
    /// [`Closed`](WebSocketError::Closed) once the connection is closed and what came before is received;
    /// [`State`](WebSocketError::State) before [`accept`](Self::accept).
    pub fn get_message(&self) -> GetMessage<'_> {
        GetMessage { websocket: self, place: None }
    }

    /// The next message as text; of a binary message its UTF-8, with the sequences that are not UTF-8 left out.
    ///
    /// # Errors
    /// Those of [`get_message`](Self::get_message).
    pub async fn receive_text(&self) -> Result<String, WebSocketError> {
        Ok(self.get_message().await?.into_text())
    }

    /// The next message as bytes; of a text message its UTF-8.
    ///
    /// # Errors
    /// Those of [`get_message`](Self::get_message).
    pub async fn receive_bytes(&self) -> Result<Bytes, WebSocketError> {
        Ok(self.get_message().await?.into_bytes())
    }

    /// Drops the queued messages, and from now on reads and drops the messages that arrive. For a
    /// handler that only sends: a message that no task receives stops delivery, and PING, CLOSE and
    /// the end of the stream behind it are not seen.
    ///
    /// A receive after this, or already waiting, is done when the connection is closed, with
    /// [`Closed`](WebSocketError::Closed). Messages must still be well-formed and within the
    /// limits. It cannot be undone.
    pub fn discard_incoming(&self) {
        self.shared().discard_incoming();
    }
}

/// The next message; see [`WebSocket::get_message`].
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct GetMessage<'a> {
    websocket: &'a WebSocket,
    place: Place,
}

impl Future for GetMessage<'_> {
    type Output = Result<Message, WebSocketError>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let websocket = self.websocket;
        websocket.shared().poll_message(&mut self.place, cx.waker())
    }
}

impl Drop for GetMessage<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.place.is_some() {
            self.websocket.shared().leave_inbox(&mut self.place);
        }
    }
}
