//! Receiving: messages, values and events, one by one or as streams.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use futures_core::{FusedStream, Stream};
#[cfg(feature = "json")]
use serde::de::DeserializeOwned;

use crate::messages::{Message, MessageInfo};

#[cfg(feature = "json")]
use super::JsonMode;
use super::shared::Shared;
use super::typed::value_of;
use super::waiters::Place;
use super::{CloseReason, SideState, Value, WebSocket, WebSocketError, WebSocketSender};

/// What the peer has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReceiveEvent {
    /// It asks to be let in.
    Connect,
    /// It has sent a message.
    Receive(Message),
    /// It has closed, or is gone.
    Disconnect(CloseReason),
}

impl WebSocket {
    /// Waits for the next message. `None` once the connection has been closed by either side with
    /// 1000, 1001 or no code, and the messages before that are received.
    ///
    /// ```
    /// # use femtows::message::{WebSocket, WebSocketError};
    /// async fn echo(ws: WebSocket) -> Result<(), WebSocketError> {
    ///     while let Some(message) = ws.recv().await? {
    ///         ws.send(message).await?;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// Several tasks may wait. They are served in the order in which they were first polled, and each
    /// message goes to one of them. If one is dropped, its message goes to the next one, which may
    /// have received a later one already.
    ///
    /// # Errors
    /// [`Closed`](WebSocketError::Closed) after any other end, with its code: 1006 if there was no
    /// CLOSE frame. [`State`](WebSocketError::State) before [`accept`](Self::accept).
    pub fn recv(&self) -> Recv<'_> {
        Recv(GetMessage { websocket: self, place: None })
    }

    /// Waits for the next message as [`recv`](Self::recv) does, and returns it with what is known of it:
    /// when and how it arrived.
    ///
    /// # Errors
    /// Those of [`recv`](Self::recv).
    ///
    /// ```
    /// # use femtows::message::{WebSocket, WebSocketError};
    /// # async fn example(ws: &WebSocket) -> Result<(), WebSocketError> {
    /// while let Some((message, info)) = ws.recv_with_info().await? {
    ///     println!("{} bytes, {} on the wire", message.len(), info.wire_len);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn recv_with_info(&self) -> Result<Option<(Message, MessageInfo)>, WebSocketError> {
        // Gives up its place when it is dropped.
        let mut next = GetMessage { websocket: self, place: None };
        poll_fn(|cx| self.shared().poll_with_info(&mut next.place, cx.waker())).await
    }

    /// Drops the queued messages, and from now on reads and drops the messages that arrive. For a
    /// handler that only sends: a message that no task receives stops delivery, and PING, CLOSE and
    /// the end of the stream behind it are not seen.
    ///
    /// A receive after this, or already waiting, is done when the connection is closed. Messages must
    /// still be well-formed and within the limits. It cannot be undone.
    pub fn discard_incoming(&self) {
        self.shared().discard_incoming();
    }

    /// Returns two handles, one to send and one to receive, for two tasks.
    pub fn split(self) -> (WebSocketSender, WebSocketReceiver) {
        let receiver = WebSocketReceiver { websocket: self.clone() };
        (WebSocketSender::new(self), receiver)
    }
}

/// Names of other libraries, to be moved to `compat`.
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

    /// The next message, as a value of the [`receive_type`](crate::message::WebSocketConfig::receive_type).
    ///
    /// # Errors
    /// Those of [`get_message`](Self::get_message), and `Json` (feature `json`) if that is the type and the message is none.
    pub async fn receive_value(&self) -> Result<Value, WebSocketError> {
        value_of(self.get_message().await?, self.shared().config().receive_type)
    }

    /// All messages, as values of the [`receive_type`](crate::message::WebSocketConfig::receive_type), until the connection is closed in
    /// a way that [`catch_disconnect`](crate::message::WebSocketConfig::catch_disconnect) names. Of any other end there is one error
    /// first. A message that is not of the type is an error, and not the end.
    pub fn values(&self) -> Values {
        Values { websocket: self.clone(), messages: self.messages() }
    }

    /// The next message, read as JSON.
    ///
    /// Either type of message is taken. By [`JsonMode::Text`] bytes that are not UTF-8 are left out of a binary message first, as in
    /// [`receive_text`](Self::receive_text).
    ///
    /// # Errors
    /// [`Json`](WebSocketError::Json) if the message is not JSON that makes a `T`; it is used up, and the connection stays open.
    /// Otherwise those of [`get_message`](Self::get_message).
    #[cfg(feature = "json")]
    pub async fn receive_json<T: DeserializeOwned>(&self, mode: JsonMode) -> Result<T, WebSocketError> {
        super::typed::parse(self.get_message().await?, mode)
    }

    /// The peer's next event: `Connect` first, at a server; then `Receive` until `Disconnect`.
    ///
    /// # Errors
    /// [`State`](WebSocketError::State) after `Disconnect`.
    pub async fn receive_event(&self) -> Result<ReceiveEvent, WebSocketError> {
        let shared = self.shared();
        if let Some(connect) = shared.take_connect() {
            return Ok(connect);
        }
        if self.client_state() == SideState::Disconnected {
            return Err(WebSocketError::state("the peer has disconnected, and this was received before"));
        }
        let mut waiting = Waiting { shared, place: None, opening: None };
        poll_fn(|cx| waiting.poll(cx.waker())).await
    }

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
    pub fn iter_json<T: DeserializeOwned>(&self, mode: JsonMode) -> IterJson<T> {
        IterJson { messages: self.messages(), mode, value: std::marker::PhantomData }
    }
}

/// The next message, or the end; see [`WebSocket::recv`].
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct Recv<'a>(GetMessage<'a>);

impl Future for Recv<'_> {
    type Output = Result<Option<Message>, WebSocketError>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let GetMessage { websocket, place } = &mut self.0;
        websocket.shared().poll_next(place, cx.waker())
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

/// A task that waits for an event, whether the connection is open or not.
struct Waiting<'a> {
    shared: &'a Shared,
    place: Place,
    opening: Place,
}

impl Waiting<'_> {
    fn poll(&mut self, waker: &Waker) -> Poll<Result<ReceiveEvent, WebSocketError>> {
        if self.shared.transport().is_none() {
            let ended = self.shared.poll_unopened(&mut self.opening, waker);
            return ended.map(|reason| Ok(ReceiveEvent::Disconnect(reason)));
        }
        match self.shared.poll_message(&mut self.place, waker) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(message)) => Poll::Ready(Ok(ReceiveEvent::Receive(message))),
            Poll::Ready(Err(WebSocketError::Closed(closed))) => {
                Poll::Ready(Ok(ReceiveEvent::Disconnect(closed.reason)))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.shared.leave_openers(&mut self.opening);
        self.shared.leave_inbox(&mut self.place);
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
until_closed!([T: DeserializeOwned] IterJson<T>, T, |this| this.messages, |message| {
    super::typed::parse(message, this.mode)
});

/// The half of a connection that receives; see [`WebSocket::split`]. Also a `Stream`, as
/// [`WebSocket`] is.
#[derive(Debug)]
pub struct WebSocketReceiver {
    websocket: WebSocket,
}

impl WebSocketReceiver {
    /// Waits for the next message, as [`WebSocket::recv`] does.
    ///
    /// # Errors
    /// Those of [`WebSocket::recv`].
    pub fn recv(&mut self) -> Recv<'_> {
        self.websocket.recv()
    }

    /// Returns the connection.
    pub fn websocket(&self) -> &WebSocket {
        &self.websocket
    }
}

impl Stream for WebSocketReceiver {
    type Item = Result<Message, WebSocketError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.websocket).poll_next(cx)
    }
}

impl FusedStream for WebSocketReceiver {
    fn is_terminated(&self) -> bool {
        self.websocket.is_terminated()
    }
}

/// All messages until the end, as [`recv`](WebSocket::recv) returns them: an end that is an error
/// comes once, before `None`. Each handle is a stream of its own.
impl Stream for WebSocket {
    type Item = Result<Message, WebSocketError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let places = this.places.get_or_insert_default();
        if places.is_over {
            return Poll::Ready(None);
        }
        let received = ready!(this.shared.poll_next(&mut places.receive, cx.waker()));
        places.is_over = !matches!(received, Ok(Some(_)));
        Poll::Ready(received.transpose())
    }
}

impl FusedStream for WebSocket {
    fn is_terminated(&self) -> bool {
        self.places.as_ref().is_some_and(|places| places.is_over)
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
        let config = &this.websocket.shared().config();
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
