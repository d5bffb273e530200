//! Connections over streams that are there already.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use crate::client::ws_connect_over;
use crate::handshake::WSUpgradeResponse;
use crate::net::WSSocket;
use crate::runtime::{WSLoopHandle, wake};
use crate::server::{WSUpgradeRequest, ws_create_server_without_socket};

use super::client::listener;
use super::listener::Under;
use super::server::undecided;
use super::{CloseReason, WebSocket, WebSocketConfig, WebSocketError, WebSocketRequest};

/// The client's opening handshake over a stream that is connected: a socket of any origin, or one end of
/// [`WSSocket::pair`].
///
/// # Errors
/// Those of [`connect_websocket_url`](super::connect_websocket_url).
pub async fn wrap_client_stream(
    handle: &WSLoopHandle,
    stream: impl Into<WSSocket>,
    url: &str,
    config: WebSocketConfig,
) -> Result<WebSocket, WebSocketError> {
    let connect_config = config.connect_config();
    let (listener, pending) = listener(handle, config, Under::new);
    // As in `connect_websocket_url`.
    Box::pin(ws_connect_over(handle, listener, stream, url, connect_config)).await?;
    Ok(pending.opened())
}

/// The server's opening handshake over a stream that is connected: the request, once it is there, to accept or to reject. Dropped before,
/// the request is refused when it comes.
///
/// # Errors
/// [`ConnectionTimeout`](WebSocketError::ConnectionTimeout) if it is not there in time,
/// [`Closed`](WebSocketError::Closed) if the client left before, or what it sent is no such request, which it is told;
/// [`Connect`](WebSocketError::Connect) if the stream cannot be used.
pub async fn wrap_server_stream(
    handle: &WSLoopHandle,
    stream: impl Into<WSSocket>,
    config: WebSocketConfig,
) -> Result<WebSocketRequest, WebSocketError> {
    let arrived = Rc::new(Arrival::default());
    let deadline = config.request_timeout().and_then(|timeout| handle.now().checked_add(timeout));
    let server_config = config.server_config();
    let (config, sender) = (Rc::new(config), Sender(Rc::clone(&arrived)));
    let factory = move |request: &WSUpgradeRequest| {
        if !request.is_upgrade() {
            return Err(WSUpgradeResponse::upgrade_required());
        }
        let (websocket, later) = undecided(&config, request);
        sender.0.arrive(WebSocketRequest::new(websocket));
        Ok(later)
    };
    let server = ws_create_server_without_socket(handle, factory, server_config)?;
    server.adopt(stream)?;
    // From here on the opening alone holds the factory: it goes when the opening does.
    server.close();
    drop(server);
    let awaited = Awaited(arrived);
    match poll_fn(|cx| awaited.0.poll(cx.waker())).await {
        Some(request) => Ok(request),
        None if deadline.is_some_and(|deadline| deadline <= handle.now()) => {
            Err(WebSocketError::ConnectionTimeout)
        }
        None => Err(WebSocketError::closed(CloseReason::abnormal())),
    }
}

/// The request that is waited for.
#[derive(Default)]
struct Arrival {
    request: Cell<Option<WebSocketRequest>>,
    /// None will come any more.
    is_over: Cell<bool>,
    /// Nobody waits any more.
    is_abandoned: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

impl Arrival {
    fn arrive(&self, request: WebSocketRequest) {
        if self.is_abandoned.get() {
            return drop(request);
        }
        self.request.set(Some(request));
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            wake(waker);
        }
    }

    fn poll(&self, waker: &Waker) -> Poll<Option<WebSocketRequest>> {
        let request = self.request.take();
        if request.is_some() || self.is_over.get() {
            return Poll::Ready(request);
        }
        self.waker.set(Some(waker.clone()));
        Poll::Pending
    }
}

/// The waiting end. Whatever comes when it is gone is dropped, which refuses it.
struct Awaited(Rc<Arrival>);

impl Drop for Awaited {
    fn drop(&mut self) {
        self.0.is_abandoned.set(true);
        drop(self.0.request.take());
    }
}

/// The factory's end.
struct Sender(Rc<Arrival>);

impl Drop for Sender {
    fn drop(&mut self) {
        self.0.is_over.set(true);
        self.0.wake();
    }
}
