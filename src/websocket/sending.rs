//! Sending: messages, values, events and PINGs, and the sinks.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_sink::Sink;
#[cfg(feature = "json")]
use serde::Serialize;

use crate::handshake::WSUpgradeResponse;
use crate::messages::Message;
use crate::proto::{WSCloseCode, WSMsgType};

use self::sealed::Sealed;
#[cfg(feature = "json")]
use super::JsonMode;
use super::shared::not_accepted;
use super::waiters::Place;
use super::{AcceptOptions, MessageType, Value, WebSocket, WebSocketError};

/// What the application does.
#[derive(Clone, Debug)]
pub enum SendEvent {
    /// Lets the client in.
    Accept(AcceptOptions),
    /// Sends a message.
    Send(Message),
    /// Closes; before `Accept`, refuses with 403.
    Close {
        /// The code.
        code: WSCloseCode,
        /// The reason.
        reason: String,
    },
    /// Refuses with a response of its own, in place of `Accept`.
    HttpResponse(WSUpgradeResponse),
}

impl WebSocket {
    /// Sends a message. Done when the message is queued, which is at once unless more than the high watermark
    /// ([`write_watermarks`](crate::WSTuning::write_watermarks)) waits to be sent already: then first the queue has to sink to the
    /// low one. Tasks that wait are served in the order in which they were first polled.
    ///
    /// Dropped before it is done, it has sent nothing.
    ///
    /// A peer that has ended its half of TCP without CLOSE can still be sent to, until a task
    /// closes or the handler ends, at the latest until the
    /// [`disconnect_timeout`](crate::message::WebSocketConfig::disconnect_timeout).
    ///
    /// # Errors
    /// [`State`](WebSocketError::State) before [`accept`](Self::accept) and after this end has closed;
    /// [`Closed`](WebSocketError::Closed) if the peer has, or the connection is gone, or is closed by whomever while this waits;
    /// [`TooBig`](WebSocketError::TooBig);
    /// [`Dropped`](WebSocketError::Dropped).
    pub fn send(&self, message: impl Into<Message>) -> Sending<'_, Message> {
        let message = message.into();
        self.send_payload(message.msg_type(), message)
    }

    /// Sends a text message. See [`send`](Self::send).
    ///
    /// # Errors
    /// Those of [`send`](Self::send).
    pub fn send_text<T: AsRef<str>>(&self, text: T) -> Sending<'_, Text<T>> {
        self.send_payload(WSMsgType::Text, Text(text))
    }

    /// Sends a binary message. See [`send`](Self::send).
    ///
    /// # Errors
    /// Those of [`send`](Self::send).
    pub fn send_binary<B: AsRef<[u8]>>(&self, bytes: B) -> Sending<'_, B> {
        self.send_payload(WSMsgType::Binary, bytes)
    }

    fn send_payload<P: AsRef<[u8]>>(&self, msg_type: WSMsgType, payload: P) -> Sending<'_, P> {
        Sending { websocket: self, msg_type, payload, place: None }
    }

    /// Sends PING and waits for its PONG; tells how long that took. `None` stands for a payload that no other PING has.
    ///
    /// A PONG answers the PING with its payload and all that were sent before it. PONGs that answer nothing are ignored. Dropped
    /// before it is done, it forgets the payload.
    ///
    /// # Errors
    /// [`InvalidArgument`](WebSocketError::InvalidArgument) if a PING with this payload is on its way,
    /// [`TooBig`](WebSocketError::TooBig) if it is longer than 125 bytes; the others as for
    /// [`send`](Self::send). [`Closed`](WebSocketError::Closed) also if the connection is closed before the
    /// answer is there.
    ///
    /// ```
    /// # use femtows::message::{WebSocket, WebSocketError};
    /// # async fn example(ws: &WebSocket) -> Result<(), WebSocketError> {
    /// let roundtrip = ws.ping(None).await?;
    /// ws.ping(b"are you there?").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn ping<'a>(&'a self, payload: impl PingPayload<'a>) -> Ping<'a> {
        Ping { websocket: self, payload: payload.into_payload(), id: None }
    }

    /// Sends PONG, which nobody has asked for: a heartbeat in one direction (RFC 6455 section 5.5.3).
    ///
    /// # Errors
    /// [`TooBig`](WebSocketError::TooBig) if it is longer than 125 bytes; the others as for [`send`](Self::send).
    pub fn pong(&self, payload: &[u8]) -> Result<(), WebSocketError> {
        self.shared().send_pong(payload)
    }
}

/// Names of other libraries, to be moved to `compat`.
impl WebSocket {
    /// Sends a message, as [`send`](Self::send) does.
    ///
    /// # Errors
    /// Those of [`send`](Self::send).
    pub fn send_message(&self, message: impl Into<Message>) -> Sending<'_, Message> {
        self.send(message)
    }

    /// Sends a binary message, as [`send_binary`](Self::send_binary) does.
    ///
    /// # Errors
    /// Those of [`send`](Self::send).
    pub fn send_bytes<B: AsRef<[u8]>>(&self, bytes: B) -> Sending<'_, B> {
        self.send_binary(bytes)
    }

    /// Sends a value of the [`send_type`](crate::message::WebSocketConfig::send_type). Where JSON is to be sent, a string is
    /// JSON too.
    ///
    /// # Errors
    /// [`Type`](WebSocketError::Type) if it is of another type; otherwise those of [`send`](Self::send).
    pub async fn send_value(&self, value: impl Into<Value>) -> Result<(), WebSocketError> {
        let (expected, value) = (self.shared().config().send_type, value.into());
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
        self.send(message).await
    }

    /// Sends a value as compact JSON: no spaces, and no escapes for what is not ASCII.
    ///
    /// # Errors
    /// [`Json`](WebSocketError::Json) if the value cannot become JSON; nothing is sent. Otherwise those of
    /// [`send`](Self::send); a state that does not allow to send is found before anything is serialized.
    #[cfg(feature = "json")]
    pub async fn send_json<T: Serialize + ?Sized>(
        &self,
        value: &T,
        mode: JsonMode,
    ) -> Result<(), WebSocketError> {
        self.shared().check_sendable()?;
        let json = serde_json::to_vec(value)?;
        let msg_type = match mode {
            JsonMode::Text => WSMsgType::Text,
            JsonMode::Binary => WSMsgType::Binary,
        };
        self.send_payload(msg_type, json).await
    }

    /// Does one thing: `Accept`, `Close` or `HttpResponse` first, at a server; then `Send` until `Close`.
    ///
    /// The state changes before anything is sent.
    ///
    /// # Errors
    /// [`State`](WebSocketError::State) for any other order, and once this end is `Disconnected`; otherwise those of [`accept_with`](Self::accept_with),
    /// [`send`](Self::send), [`close`](Self::close) and [`reject`](Self::reject).
    pub async fn send_event(&self, event: SendEvent) -> Result<(), WebSocketError> {
        match event {
            SendEvent::Accept(options) => self.accept_with(options).await,
            SendEvent::Send(message) => {
                self.shared().check_not_over()?;
                self.send(message).await
            }
            SendEvent::Close { code, reason } => self.close(code, &reason),
            SendEvent::HttpResponse(response) => self.reject(response),
        }
    }
}

/// A text as the payload of a message.
#[derive(Debug)]
pub struct Text<T>(T);

impl<T: AsRef<str>> AsRef<[u8]> for Text<T> {
    fn as_ref(&self) -> &[u8] {
        self.0.as_ref().as_bytes()
    }
}

/// A message that is being sent; see [`WebSocket::send`].
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct Sending<'a, P> {
    websocket: &'a WebSocket,
    msg_type: WSMsgType,
    payload: P,
    place: Place,
}

// The payload is never pinned.
impl<P> Unpin for Sending<'_, P> {}

impl<P: AsRef<[u8]>> Future for Sending<'_, P> {
    type Output = Result<(), WebSocketError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let (shared, payload) = (this.websocket.shared(), this.payload.as_ref());
        // Nearly all messages: nobody waits, and the frame is gathered.
        if this.place.is_none() && shared.gather(this.msg_type, payload) {
            return Poll::Ready(Ok(()));
        }
        shared.poll_send(&mut this.place, cx.waker(), this.msg_type, payload)
    }
}

impl<P> Drop for Sending<'_, P> {
    fn drop(&mut self) {
        if self.place.is_some() {
            self.websocket.shared().leave_writers(&mut self.place);
        }
    }
}

/// What [`WebSocket::ping`] takes: bytes, such as `b"mine"`, `"mine"` or `&vec`, or `None`.
pub trait PingPayload<'a>: Sealed {
    #[doc(hidden)]
    fn into_payload(self) -> Option<&'a [u8]>;
}

impl<'a, T: AsRef<[u8]> + ?Sized> PingPayload<'a> for &'a T {
    fn into_payload(self) -> Option<&'a [u8]> {
        Some(self.as_ref())
    }
}

impl<'a> PingPayload<'a> for Option<&'a [u8]> {
    fn into_payload(self) -> Option<&'a [u8]> {
        self
    }
}

mod sealed {
    pub trait Sealed {}

    impl<T: AsRef<[u8]> + ?Sized> Sealed for &T {}

    impl Sealed for Option<&[u8]> {}
}

/// A PING on its way; see [`WebSocket::ping`].
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct Ping<'a> {
    websocket: &'a WebSocket,
    payload: Option<&'a [u8]>,
    /// Its number, once it is sent.
    id: Option<u64>,
}

impl Future for Ping<'_> {
    type Output = Result<Duration, WebSocketError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.id.is_none() {
            self.id = Some(self.websocket.shared().send_ping(self.payload)?);
        }
        let Some(id) = self.id else { return Poll::Pending };
        self.websocket.shared().poll_pong(id, cx.waker())
    }
}

impl Drop for Ping<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.websocket.shared().forget_ping(id);
        }
    }
}

/// The half of a connection that sends; see [`WebSocket::split`]. Closing the sink closes the connection with 1000.
#[derive(Clone, Debug)]
pub struct WebSocketSender {
    websocket: WebSocket,
}

impl WebSocketSender {
    pub(super) fn new(websocket: WebSocket) -> Self {
        Self { websocket }
    }

    /// Sends a message, as [`WebSocket::send`] does.
    ///
    /// # Errors
    /// Those of [`WebSocket::send`].
    pub fn send(&self, message: impl Into<Message>) -> Sending<'_, Message> {
        self.websocket.send(message)
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

/// Closing the sink closes the connection with 1000.
impl Sink<Message> for WebSocket {
    type Error = WebSocketError;

    /// Ready when a message may be sent: see [`WebSocket::send`].
    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), WebSocketError>> {
        let this = self.get_mut();
        let places = this.places.get_or_insert_default();
        this.shared.poll_turn_to_send(&mut places.send, cx.waker())
    }

    fn start_send(self: Pin<&mut Self>, message: Message) -> Result<(), WebSocketError> {
        self.shared().check_sendable()?;
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
            let websocket = Self::new(Rc::clone(&this.shared));
            Box::pin(async move { websocket.aclose(WSCloseCode::OK, "").await })
        });
        let polled = closing.as_mut().poll(cx);
        if polled.is_ready() {
            places.closing = None;
        }
        polled
    }
}
