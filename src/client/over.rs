use std::future::Future;

use crate::client::WSConnectConfig;
use crate::connection::{Settings, WSConfigError, WSListener, WSTransport, WSUpgraded};
use crate::handshake::WSUrl;
use crate::net::WSSocket;
use crate::proto::Role;
use crate::runtime::{WSLoopHandle, WSPhase};
#[cfg(feature = "tls")]
use crate::tls::TlsPeer;

use super::WSConnectError;
use super::connect::{client_handshake, within_opening_time};
use super::dial::require_supported;
use super::opening::{ClientOpening, OpenRequest};
use super::report::Journey;

/// [`ws_connect`](crate::ws_connect) over a socket that is connected already: a Unix domain socket, one end of a pair, or one with
/// options or a way of its own. `url` gives path and `Host`; nothing is looked up.
///
/// ```no_run
/// # use femtows::*;
/// # use std::os::unix::net::UnixStream;
/// # async fn connect(handle: &WSLoopHandle, listener: impl WSListener + 'static) -> Result<(), Box<dyn std::error::Error>> {
/// let socket = UnixStream::connect("/run/echo.sock")?;
/// let config = WSConnectConfig::default();
/// let transport = ws_connect_over(handle, listener, socket, "ws://localhost/feed", config).await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// Those of [`ws_connect`](crate::ws_connect); [`WSConnectError::Io`] if the socket cannot be used.
pub fn ws_connect_over<L: WSListener + 'static>(
    handle: &WSLoopHandle,
    listener: L,
    socket: impl Into<WSSocket>,
    url: &str,
    config: WSConnectConfig,
) -> impl Future<Output = Result<WSTransport, WSConnectError>> + 'static {
    let (handle, socket, url) = (handle.clone(), socket.into(), WSUrl::parse(url));
    async move {
        let url = url.map_err(WSConfigError::from)?;
        config.connection.check()?;
        let timeout = config.connection.handshake_timeout;
        let open = open(&handle, listener, socket, url, config);
        within_opening_time(&handle, timeout, || WSPhase::Opening, open).await
    }
}

/// Takes over a connection whose opening handshake other code has done, as the client.
///
/// `on_ws_connected` is called when the current callback has returned. What was sent through the
/// transport before stays in order.
///
/// # Errors
/// [`WSConnectError::Io`] if the socket cannot be used, [`WSConnectError::Gone`] if the loop is gone,
/// [`WSConnectError::Config`] as [`ws_connect`](crate::ws_connect).
#[expect(clippy::needless_pass_by_value, reason = "configurations are handed over, as to ws_connect")]
pub fn ws_take_over<L: WSListener + 'static>(
    handle: &WSLoopHandle,
    listener: L,
    upgraded: WSUpgraded,
    config: WSConnectConfig,
) -> Result<WSTransport, WSConnectError> {
    if handle.core().is_closed() {
        return Err(WSConnectError::Gone);
    }
    config.connection.check()?;
    let settings = Settings::new(&config.connection);
    upgraded
        .open(handle.core(), &settings, Role::Client, Box::new(listener), |_| {})
        .map_err(|error| WSConnectError::io("cannot take over the connection", error))
}

async fn open<L: WSListener + 'static>(
    handle: &WSLoopHandle,
    listener: L,
    socket: WSSocket,
    url: WSUrl,
    config: WSConnectConfig,
) -> Result<WSTransport, WSConnectError> {
    if handle.core().is_closed() {
        return Err(WSConnectError::Gone);
    }
    require_supported(&url, None)?;
    let unusable = |error| WSConnectError::io("cannot use the socket", error);
    let settings = Settings::new(&config.connection);
    let handshake = client_handshake(handle, &url, &config)?;
    let mut journey = Journey::new(url.clone(), handle.now());
    if url.is_secure() {
        journey.enter(WSPhase::Tls, handle.now());
    }
    let stream = socket.into_stream().map_err(unusable)?;
    stream.tune(settings.tuning.socket);
    let opening = ClientOpening::connected(handle.core(), stream, &settings).map_err(unusable)?;
    #[cfg(feature = "tls")]
    let opening = if url.is_secure() {
        opening.secure(TlsPeer::Endpoint, url.host(), &config.tls_with(TlsPeer::Endpoint)).await?
    } else {
        opening
    };
    journey.enter(WSPhase::Opening, handle.now());
    let factory = Box::new(|_: &_, _: &_| Box::new(listener) as Box<dyn WSListener>);
    opening.open(OpenRequest { handshake, journey, factory }).await
}
