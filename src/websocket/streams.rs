//! Messages one after the other, as the traits of futures want them.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::{FusedStream, Stream};
use futures_sink::Sink;

use crate::messages::Message;
use crate::proto::WSCloseCode;

#[cfg(feature = "json")]
use super::JsonMode;
use super::shared::not_accepted;
use super::waiters::Place;
use super::{WebSocket, WebSocketError};

impl WebSocket {
    /// All messages; at the end one error that says why, [`Closed`](WebSocketError::Closed) mostly.
    pub fn messages(&self) -> Messages {
        Messages { websocket: self.clone(), place: None, is_over: false }
    }

    /// All messages as text, until the connection is closed, in whichever way.
    pub fn iter_text(&self) -> IterText {
        IterText(self.messages())
    }

    /// All messages as bytes, until the connection is closed, in whichever way.
    pub fn iter_bytes(&self) -> IterBytes {
        IterBytes(self.messages())
    }

    /// All messages as values made of JSON, until the connection is closed, in whichever way. A message that is none is an error,
    /// and not the end.
    #[cfg(feature = "json")]
    pub fn iter_json<T: serde::de::DeserializeOwned>(&self, mode: JsonMode) -> IterJson<T> {
        IterJson { messages: self.messages(), mode, value: std::marker::PhantomData }
    }

    /// Two handles: one to send, one to receive, for two tasks.
    pub fn split(self) -> (WebSocketSender, WebSocketReceiver) {
        let messages = self.messages();
        (WebSocketSender { websocket: self }, WebSocketReceiver { messages })
    }
}

/// All messages; see [`WebSocket::messages`]. Also a `Stream`.
#[derive(Debug)]
pub struct Messages {
    websocket: WebSocket,
    place: Place,
    is_over: bool,
}

impl Messages {
    /// The next message; one error at the end, then `None`.
    pub async fn next(&mut self) -> Option<Result<Message, WebSocketError>> {
        poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Message, WebSocketError>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let polled = self.websocket.shared().poll_message(&mut self.place, cx.waker());
        self.is_over = matches!(polled, Poll::Ready(Err(_)));
        polled.map(Some)
    }

    /// The next message; `None` when the connection is closed.
    fn poll_until_closed(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Message, WebSocketError>>> {
        self.poll(cx).map(|next| next.filter(|next| !matches!(next, Err(WebSocketError::Closed(_)))))
    }
}

impl Drop for Messages {
    fn drop(&mut self) {
        if self.place.is_some() {
            self.websocket.shared().leave_inbox(&mut self.place);
        }
    }
}

impl Stream for Messages {
    type Item = Result<Message, WebSocketError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll(cx)
    }
}

impl FusedStream for Messages {
    fn is_terminated(&self) -> bool {
        self.is_over
    }
}

/// All messages as text; see [`WebSocket::iter_text`]. Also a `Stream`.
#[derive(Debug)]
pub struct IterText(Messages);

/// All messages as bytes; see [`WebSocket::iter_bytes`]. Also a `Stream`.
#[derive(Debug)]
pub struct IterBytes(Messages);

/// All messages as values made of JSON; see [`WebSocket::iter_json`]. Also a `Stream`.
#[cfg(feature = "json")]
#[derive(Debug)]
pub struct IterJson<T> {
    messages: Messages,
    mode: JsonMode,
    value: std::marker::PhantomData<fn() -> T>,
}

/// `next`, and `Stream`, of an iterator over messages that ends with the connection.
macro_rules! until_closed {
    ([$($generics:tt)*] $iterator:ty, $item:ty, |$this:ident| $messages:expr, |$message:ident| $value:expr) => {
        impl<$($generics)*> $iterator {
            /// The next one; `None` when the connection is closed.
            pub async fn next(&mut self) -> Option<Result<$item, WebSocketError>> {
                poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
            }
        }

        impl<$($generics)*> Stream for $iterator {
            type Item = Result<$item, WebSocketError>;

            fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
                let $this = self.get_mut();
                let next = $messages.poll_until_closed(cx);
                next.map(|next| next.map(|next| next.and_then(|$message| $value)))
            }
        }
    };
}

until_closed!([] IterText, String, |this| this.0, |message| Ok(message.into_text()));
until_closed!([] IterBytes, Bytes, |this| this.0, |message| Ok(message.into_bytes()));
#[cfg(feature = "json")]
until_closed!([T: serde::de::DeserializeOwned] IterJson<T>, T, |this| this.messages, |message| {
    super::json::parse(message, this.mode)
});

/// The half of a connection that receives; see [`WebSocket::split`].
#[derive(Debug)]
pub struct WebSocketReceiver {
    messages: Messages,
}

impl WebSocketReceiver {
    /// The next message; one error at the end, then `None`.
    pub async fn next(&mut self) -> Option<Result<Message, WebSocketError>> {
        self.messages.next().await
    }

    /// The connection.
    pub fn websocket(&self) -> &WebSocket {
        &self.messages.websocket
    }
}

impl Stream for WebSocketReceiver {
    type Item = Result<Message, WebSocketError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.messages.poll(cx)
    }
}

impl FusedStream for WebSocketReceiver {
    fn is_terminated(&self) -> bool {
        self.messages.is_over
    }
}

/// The half of a connection that sends; see [`WebSocket::split`]. Closing the sink closes the connection with 1000.
#[derive(Clone, Debug)]
pub struct WebSocketSender {
    websocket: WebSocket,
}

impl WebSocketSender {
    /// Sends a message. See [`WebSocket::send_message`].
    ///
    /// # Errors
    /// Those of [`WebSocket::send_message`].
    pub async fn send_message(&self, message: impl Into<Message>) -> Result<(), WebSocketError> {
        self.websocket.send_message(message).await
    }

    /// The connection.
    pub fn websocket(&self) -> &WebSocket {
        &self.websocket
    }
}

impl Sink<Message> for WebSocketSender {
    type Error = WebSocketError;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), WebSocketError>> {
        Pin::new(&mut self.websocket).poll_ready(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), WebSocketError> {
        Pin::new(&mut self.websocket).start_send(message)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), WebSocketError>> {
        Pin::new(&mut self.websocket).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), WebSocketError>> {
        Pin::new(&mut self.websocket).poll_close(cx)
    }
}

/// The same as [`messages`](WebSocket::messages): one error at the end, then nothing more. Each handle is a stream of its own.
impl Stream for WebSocket {
    type Item = Result<Message, WebSocketError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let places = this.places.get_or_insert_default();
        if places.is_over {
            return Poll::Ready(None);
        }
        let polled = this.shared.poll_message(&mut places.receive, cx.waker());
        places.is_over = matches!(polled, Poll::Ready(Err(_)));
        polled.map(Some)
    }
}

/// Closing the sink closes the connection with 1000.
impl Sink<Message> for WebSocket {
    type Error = WebSocketError;

    /// Ready when a message may be sent: see [`WebSocket::send_message`].
    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), WebSocketError>> {
        let this = self.get_mut();
        let places = this.places.get_or_insert_default();
        this.shared.poll_turn_to_send(&mut places.send, cx.waker())
    }

    fn start_send(self: Pin<&mut Self>, message: Message) -> Result<(), WebSocketError> {
        self.shared().state().check_sendable()?;
        self.shared().send(message.msg_type(), message.as_bytes())
    }

    /// Hands what is gathered to the kernel; ready unless more than the high watermark is left.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), WebSocketError>> {
        self.shared().transport().ok_or_else(not_accepted)?.flush();
        self.poll_ready(cx)
    }

    /// Closes with 1000 and waits as [`WebSocket::aclose`].
    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), WebSocketError>> {
        let this = self.get_mut();
        let places = this.places.get_or_insert_default();
        let closing = places.closing.get_or_insert_with(|| {
            let websocket = Self::new(std::rc::Rc::clone(&this.shared));
            Box::pin(async move { websocket.aclose(WSCloseCode::OK, "").await })
        });
        let polled = closing.as_mut().poll(cx);
        if polled.is_ready() {
            places.closing = None;
        }
        polled
    }
}
