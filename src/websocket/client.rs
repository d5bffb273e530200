//! Clients.

use std::rc::Rc;

use crate::client::ws_connect;
use crate::connection::WSListener;
use crate::runtime::WSLoopHandle;

use super::lifecycle::Block;
use super::listener::Under;
use super::shared::{Shared, Side};
use super::{WebSocket, WebSocketConfig, WebSocketError};

/// Connects to `url`, runs `body` with the connection, and closes it with 1000 in any case; waits until TCP is closed. Dropped before
/// the body is done, it closes and does not wait.
///
/// # Errors
/// Those of [`connect_websocket_url`]; [`DisconnectionTimeout`](WebSocketError::DisconnectionTimeout) if the closing handshake did not
/// end in time, in which case the result of the body is lost.
pub async fn open_websocket_url<T>(
    handle: &WSLoopHandle,
    url: &str,
    config: WebSocketConfig,
    body: impl AsyncFnOnce(WebSocket) -> T,
) -> Result<T, WebSocketError> {
    let websocket = connect_websocket_url(handle, url, config).await?;
    let _block = Block(&websocket);
    let result = body(websocket.clone()).await;
    websocket.aclose(crate::proto::WSCloseCode::OK, "").await?;
    Ok(result)
}

/// [`open_websocket_url`] with the URL in parts: `host` is a name or an address, `resource` path and query, which may lack its first
/// slash; [`use_tls`](WebSocketConfig::use_tls) says whether it is `wss`.
///
/// # Errors
/// Those of [`open_websocket_url`].
pub async fn open_websocket<T>(
    handle: &WSLoopHandle,
    host: &str,
    port: u16,
    resource: &str,
    config: WebSocketConfig,
    body: impl AsyncFnOnce(WebSocket) -> T,
) -> Result<T, WebSocketError> {
    let url = url_of(host, port, resource, config.use_tls);
    open_websocket_url(handle, &url, config, body).await
}

/// Connects to `url`. The connection is closed when the last handle to it is dropped, or by [`WebSocket::aclose`].
///
/// # Errors
/// - [`ConnectionTimeout`](WebSocketError::ConnectionTimeout) after the
///   [`connect_timeout`](WebSocketConfig::connect_timeout);
/// - [`Rejected`](WebSocketError::Rejected) if the server answers otherwise than with 101;
/// - [`Connect`](WebSocketError::Connect) with what [`ws_connect`] may fail with besides.
pub async fn connect_websocket_url(
    handle: &WSLoopHandle,
    url: &str,
    config: WebSocketConfig,
) -> Result<WebSocket, WebSocketError> {
    let connect_config = config.connect_config();
    let (listener, pending) = listener(handle, config, Under::new);
    // A future of many kilobytes, which nobody should have to carry about.
    Box::pin(ws_connect(handle, listener, url, connect_config)).await?;
    Ok(pending.opened())
}

/// [`connect_websocket_url`] with the URL in parts, as for [`open_websocket`].
///
/// # Errors
/// Those of [`connect_websocket_url`].
pub async fn connect_websocket(
    handle: &WSLoopHandle,
    host: &str,
    port: u16,
    resource: &str,
    config: WebSocketConfig,
) -> Result<WebSocket, WebSocketError> {
    let url = url_of(host, port, resource, config.use_tls);
    connect_websocket_url(handle, &url, config).await
}

fn url_of(host: &str, port: u16, resource: &str, use_tls: bool) -> String {
    let scheme = if use_tls { "wss" } else { "ws" };
    // An IPv6 address stands in brackets (RFC 3986 section 3.2.2).
    let host =
        if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() };
    let slash = if resource.starts_with('/') { "" } else { "/" };
    format!("{scheme}://{host}:{port}{slash}{resource}")
}

/// The listener of a client's [`WebSocket`], for connections that are made in other ways: by [`ws_connect_over`](crate::ws_connect_over),
/// or again and again by [`WSReconnect`](crate::WSReconnect). They are to be given [`WebSocketConfig::connect_config`].
///
/// The listener may be wrapped in another one, which then sees every frame. So its messages are queued
/// before a task takes them, and a `WebSocket` made by [`connect_websocket`] or
/// [`wrap_client_stream`](super::wrap_client_stream) is served faster.
///
/// ```no_run
/// # use femtows::*;
/// # use femtows::message::*;
/// # async fn connect(handle: &WSLoopHandle, socket: std::net::TcpStream) -> Result<(), Box<dyn std::error::Error>> {
/// let config = WebSocketConfig::default();
/// let (listener, pending) = websocket_listener(handle, config.clone());
/// ws_connect_over(handle, listener, socket, "ws://localhost/", config.connect_config()).await?;
/// let ws = pending.opened();
/// # Ok(())
/// # }
/// ```
pub fn websocket_listener(
    handle: &WSLoopHandle,
    config: WebSocketConfig,
) -> (impl WSListener + 'static, PendingWebSocket) {
    listener(handle, config, Under::exposed)
}

/// Returns the listener that `under` makes, and its `WebSocket`.
pub(super) fn listener(
    handle: &WSLoopHandle,
    config: WebSocketConfig,
    under: fn(Rc<Shared>) -> Under,
) -> (Under, PendingWebSocket) {
    let shared = Shared::new(handle.clone(), Rc::new(config), Side::Client);
    (under(Rc::clone(&shared)), PendingWebSocket { websocket: WebSocket::new(shared) })
}

/// A client's connection that is being opened; see [`websocket_listener`]. Dropped, it closes the connection.
#[derive(Debug)]
#[must_use = "dropping it closes the connection"]
pub struct PendingWebSocket {
    websocket: WebSocket,
}

impl PendingWebSocket {
    /// The connection, once the connect has succeeded. Asked for earlier, or after a connect that failed, it gives one that can
    /// neither receive nor send.
    pub fn opened(self) -> WebSocket {
        self.websocket
    }
}

#[cfg(test)]
mod tests {
    use super::url_of;

    #[test]
    fn parts_make_a_url() {
        assert_eq!(url_of("host", 80, "", false), "ws://host:80/");
        assert_eq!(url_of("host", 80, "a?b", true), "wss://host:80/a?b");
        assert_eq!(url_of("127.0.0.1", 1, "/", false), "ws://127.0.0.1:1/");
        assert_eq!(url_of("::1", 1, "/", false), "ws://[::1]:1/");
        assert_eq!(url_of("[::1]", 1, "?b", false), "ws://[::1]:1/?b");
    }
}
