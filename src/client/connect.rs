use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use crate::config::WSConnectConfig;
use crate::event_loop::{ClientOpening, OpenRequest, Settings, resolve};
use crate::handshake::{ClientHandshake, ClientHandshakeConfig, WSUpgradeRequest, WSUpgradeResponse};
use crate::{WSError, WSListener, WSLoopHandle, WSPhase, WSTransport};

use super::WSUrl;

/// Connects to `url` and gives the connection to `listener`.
///
/// Done when the opening handshake is (RFC 6455 section 4.1) and `on_ws_connected` has returned. Nothing happens before the future is
/// first polled; dropping it abandons the attempt.
///
/// The name of the host is looked up on a thread of its own; its addresses are tried in order. All of it together is bounded by
/// [`handshake_timeout`](WSConnectConfig::handshake_timeout).
///
/// # Errors
/// - [`WSError::InvalidUrl`], [`WSError::InvalidRequest`], [`WSError::TlsUnsupported`]: the arguments;
/// - [`WSError::Resolve`], [`WSError::Io`], [`WSError::Timeout`]: the way to the server;
/// - [`WSError::Handshake`]: the server's answer, which the error carries;
/// - [`WSError::Disconnected`]: the loop is gone.
pub fn ws_connect<L: WSListener + 'static>(
    handle: &WSLoopHandle,
    listener: L,
    url: &str,
    config: WSConnectConfig,
) -> impl Future<Output = Result<WSTransport, WSError>> + use<L> {
    ws_connect_with(handle, |_, _| listener, url, config)
}

/// [`ws_connect`] with a factory, which makes the listener once the server has accepted, from the request and the response.
///
/// # Errors
/// Those of [`ws_connect`].
pub fn ws_connect_with<F, L>(
    handle: &WSLoopHandle,
    factory: F,
    url: &str,
    config: WSConnectConfig,
) -> impl Future<Output = Result<WSTransport, WSError>> + use<F, L>
where
    F: FnOnce(&WSUpgradeRequest, &WSUpgradeResponse) -> L + 'static,
    L: WSListener + 'static,
{
    let handle = handle.clone();
    let url = WSUrl::parse(url);
    async move {
        let url = url?;
        if handle.core().is_closed() {
            return Err(WSError::Disconnected);
        }
        let timeout = config.connection.handshake_timeout;
        let open = open(&handle, factory, &url, config);
        within_opening_time(&handle, timeout, open).await
    }
}

/// The result of an opening, unless it takes longer than `timeout`.
pub(crate) async fn within_opening_time(
    handle: &WSLoopHandle,
    timeout: Option<Duration>,
    open: impl Future<Output = Result<WSTransport, WSError>>,
) -> Result<WSTransport, WSError> {
    let Some(timeout) = timeout else { return open.await };
    let late = WSError::Timeout { phase: WSPhase::Opening, timeout };
    handle.timeout(timeout, open).await.unwrap_or(Err(late))
}

async fn open<F, L>(
    handle: &WSLoopHandle,
    factory: F,
    url: &WSUrl,
    config: WSConnectConfig,
) -> Result<WSTransport, WSError>
where
    F: FnOnce(&WSUpgradeRequest, &WSUpgradeResponse) -> L + 'static,
    L: WSListener + 'static,
{
    if url.is_secure() {
        return Err(WSError::TlsUnsupported);
    }
    let settings = Settings::new(&config.connection);
    let handshake = client_handshake(handle, url, config)?;
    let addrs = resolve(url.host(), url.port()).await?;
    let opening = connect_to_any(handle, &addrs, &settings).await?;
    let factory =
        Box::new(|request: &_, response: &_| Box::new(factory(request, response)) as Box<dyn WSListener>);
    opening.open(OpenRequest { handshake, factory }).await
}

/// The request that this configuration makes, with a fresh nonce.
pub(crate) fn client_handshake(
    handle: &WSLoopHandle,
    url: &WSUrl,
    config: WSConnectConfig,
) -> Result<ClientHandshake, WSError> {
    let mut request = ClientHandshakeConfig::new(url.host_header(), url.path_and_query());
    request.extra_headers = config.extra_headers;
    request.subprotocols = config.subprotocols;
    request.limits = config.connection.limits.handshake();
    if let Some(credentials) = url.authorization()
        && !request.extra_headers.contains("authorization")
    {
        request.extra_headers.append("Authorization", &credentials)?;
    }
    let mut nonce = [0; 16];
    handle.core().keys.borrow_mut().fill(&mut nonce);
    Ok(ClientHandshake::new(request, nonce)?)
}

/// The first address that accepts TCP.
async fn connect_to_any(
    handle: &WSLoopHandle,
    addrs: &[SocketAddr],
    settings: &std::rc::Rc<Settings>,
) -> Result<ClientOpening, WSError> {
    let mut last = WSError::InvalidArgument("the host has no address");
    for &addr in addrs {
        match ClientOpening::connect(handle.core(), addr, settings).await {
            Ok(opening) => return Ok(opening),
            Err(error) => last = error,
        }
    }
    Err(last)
}
