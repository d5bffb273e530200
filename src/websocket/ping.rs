//! PING and PONG.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::runtime::random;

use self::sealed::Sealed;
use super::shared::not_accepted;
use super::{WebSocket, WebSocketError};

/// Longest payload of a PING or PONG, in bytes (RFC 6455 section 5.5).
const MAX_PAYLOAD: usize = 125;

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

impl WebSocket {
    /// Sends PING and waits for its PONG; tells how long that took. `None` stands for a payload that no other PING has.
    ///
    /// A PONG answers the PING with its payload and all that were sent before it. PONGs that answer nothing are ignored. Dropped
    /// before it is done, it forgets the payload.
    ///
    /// # Errors
    /// [`InvalidArgument`](WebSocketError::InvalidArgument) if a PING with this payload is on its way,
    /// [`TooBig`](WebSocketError::TooBig) if it is longer than 125 bytes; the others as for
    /// [`send_message`](Self::send_message). [`Closed`](WebSocketError::Closed) also if the connection is closed before the
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
    /// [`TooBig`](WebSocketError::TooBig) if it is longer than 125 bytes; the others as for [`send_message`](Self::send_message).
    pub fn pong(&self, payload: &[u8]) -> Result<(), WebSocketError> {
        check_length(payload)?;
        let shared = self.shared();
        shared.state().check_sendable()?;
        let transport = shared.transport().ok_or_else(not_accepted)?;
        shared.outcome(transport, transport.send_pong(payload)?)
    }

    /// Sends the PING; its number.
    fn send_ping(&self, payload: Option<&[u8]>) -> Result<u64, WebSocketError> {
        let shared = self.shared();
        let unique: [u8; 8];
        let payload = if let Some(payload) = payload {
            payload
        } else {
            unique = random(shared.handle.core());
            &unique
        };
        check_length(payload)?;
        shared.state().check_sendable()?;
        // A peer that has ended its half of TCP can be sent to, but cannot answer.
        if let Some(closed) = shared.state().closed() {
            return Err(closed.into());
        }
        let transport = shared.transport().ok_or_else(not_accepted)?;
        if shared.state().rare.pings.is_in_flight(payload) {
            return Err(WebSocketError::argument("a PING with this payload is on its way"));
        }
        shared.outcome(transport, transport.send_ping(payload)?)?;
        let id = shared.state().rare.pings.sent(payload, shared.handle.core().clock());
        Ok(id)
    }
}

fn check_length(payload: &[u8]) -> Result<(), WebSocketError> {
    if payload.len() > MAX_PAYLOAD {
        return Err(WebSocketError::TooBig { size: payload.len(), limit: MAX_PAYLOAD });
    }
    Ok(())
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
            self.id = Some(self.websocket.send_ping(self.payload)?);
        }
        let Some(id) = self.id else { return Poll::Pending };
        let mut state = self.websocket.shared().state();
        if let Some(took) = state.rare.pings.took(id) {
            return Poll::Ready(Ok(took));
        }
        if let Some(closed) = state.closed() {
            return Poll::Ready(Err(closed.into()));
        }
        let old = state.rare.pings.wait(id, cx.waker());
        drop(state);
        drop(old);
        Poll::Pending
    }
}

impl Drop for Ping<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            let left = self.websocket.shared().state().rare.pings.forget(id);
            drop(left);
        }
    }
}
