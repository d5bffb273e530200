use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use crate::client::WSConnectConfig;
use crate::connection::{Settings, WSConfigError, WSListener, WSTransport};
#[cfg(feature = "deflate")]
use crate::deflate::{self, DEFLATE_EXTENSION, WSDeflateConfig};
#[cfg(feature = "deflate")]
use crate::handshake::WSHeaders;
use crate::handshake::{
    ClientHandshake, ClientHandshakeConfig, WSHandshakeErrorKind, WSRequestHead, WSUpgradeResponse, WSUrl,
};
use crate::runtime::{WSHandshakeFailure, WSLoopHandle, WSPhase, random};

use super::WSConnectError;
use super::dial::{Dial, require_supported};
use super::opening::OpenRequest;
use super::redirect;
use super::report::Journey;

/// Connects to `url` and gives the connection to `listener`.
///
/// Done when the opening handshake is (RFC 6455 section 4.1) and `on_ws_connected` has returned. Nothing happens before the future is
/// first polled; dropping it abandons the attempt.
///
/// The name of the host is looked up on another thread, or by the
/// [`resolver`](WSConnectConfig::resolver); `localhost` and names below it are the loopback
/// addresses, IPv4 first. The addresses are raced as in RFC 8305: the families take turns, and each
/// attempt gets 250 ms before the next one starts beside it. Redirections are followed as far as
/// [`max_redirects`](WSConnectConfig::max_redirects) goes, except from `wss` to `ws`; only the
/// headers that [`redirect_headers`](WSConnectConfig::redirect_headers) describes follow to another
/// origin. User name and password in the URL become Basic authentication (RFC 7617), unless the
/// extra headers contain `Authorization`. All of it together is bounded by
/// [`handshake_timeout`](WSConnectConfig::handshake_timeout). After a refusal, the response body is
/// read for at most one second and attached to the error.
///
/// [`WSTransport::connect_report`] tells what each phase took.
///
/// # Errors
/// - [`WSConnectError::Config`]: the arguments, and what was configured;
/// - [`WSConnectError::Resolve`], [`WSConnectError::Io`], [`WSConnectError::Proxy`], [`WSConnectError::Timeout`]: the way to the server;
/// - `WSConnectError::Tls` (feature `tls`): the server's certificate, or TLS itself;
/// - [`WSConnectError::Handshake`]: the server's answer, which the error carries;
/// - [`WSConnectError::Gone`]: the loop is gone.
pub fn ws_connect<L: WSListener + 'static>(
    handle: &WSLoopHandle,
    listener: L,
    url: &str,
    config: WSConnectConfig,
) -> impl Future<Output = Result<WSTransport, WSConnectError>> + use<L> {
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
) -> impl Future<Output = Result<WSTransport, WSConnectError>> + use<F, L>
where
    F: FnOnce(&WSRequestHead, &WSUpgradeResponse) -> L + 'static,
    L: WSListener + 'static,
{
    let handle = handle.clone();
    let url = WSUrl::parse(url);
    async move {
        let url = url.map_err(WSConfigError::from)?;
        if handle.core().is_closed() {
            return Err(WSConnectError::Gone);
        }
        require_supported(&url, config.proxy.as_ref())?;
        config.connection.check()?;
        let timeout = config.connection.handshake_timeout;
        let journey = RefCell::new(Journey::new(url.clone(), handle.now()));
        let open = open(&handle, factory, url, config, &journey);
        within_opening_time(&handle, timeout, || journey.borrow().phase(), open).await
    }
}

/// The result of an opening, unless it takes longer than `timeout`; then `phase` tells what was under way.
pub(crate) async fn within_opening_time(
    handle: &WSLoopHandle,
    timeout: Option<Duration>,
    phase: impl Fn() -> WSPhase,
    open: impl Future<Output = Result<WSTransport, WSConnectError>>,
) -> Result<WSTransport, WSConnectError> {
    let result = match timeout {
        None => open.await,
        Some(timeout) => {
            let result = handle.timeout(timeout, open).await;
            result.unwrap_or_else(|_| Err(WSConnectError::Timeout { phase: phase(), timeout }))
        }
    };
    if let Err(error) = &result {
        count_failure(handle, error);
    }
    result
}

/// Counts an attempt that failed for another reason than the caller's own.
fn count_failure(handle: &WSLoopHandle, error: &WSConnectError) {
    let kind = match error {
        WSConnectError::Timeout { .. } => WSHandshakeFailure::Timeout,
        WSConnectError::Handshake(error) if matches!(error.kind, WSHandshakeErrorKind::InvalidStatus(_)) => {
            WSHandshakeFailure::Refused
        }
        WSConnectError::Handshake(_) => WSHandshakeFailure::Invalid,
        #[cfg(feature = "tls")]
        WSConnectError::Tls(_) => WSHandshakeFailure::Tls,
        WSConnectError::Listener(_) => WSHandshakeFailure::Internal,
        WSConnectError::Io { .. } | WSConnectError::Resolve { .. } | WSConnectError::Proxy(_) => {
            WSHandshakeFailure::Io
        }
        _ => return,
    };
    handle.core().metrics().handshake_failed(kind);
}

/// Connects and asks; again elsewhere while the answer is a redirection.
async fn open<F, L>(
    handle: &WSLoopHandle,
    factory: F,
    mut url: WSUrl,
    mut config: WSConnectConfig,
    journey: &RefCell<Journey>,
) -> Result<WSTransport, WSConnectError>
where
    F: FnOnce(&WSRequestHead, &WSUpgradeResponse) -> L + 'static,
    L: WSListener + 'static,
{
    let settings = Settings::new(&config.connection);
    let factory = Rc::new(Cell::new(Some(factory)));
    let mut redirected = false;
    loop {
        let handshake = client_handshake(handle, &url, &config)?;
        let dial = Dial { handle, settings: &settings, config: &config, redirected, journey };
        let opening = dial.connect(&url).await?;
        let factory = Rc::clone(&factory);
        let factory = Box::new(move |request: &_, response: &_| {
            let factory = factory.take().expect("one opening at most is accepted, and it is the last");
            Box::new(factory(request, response)) as Box<dyn WSListener>
        });
        let request = OpenRequest { handshake, journey: journey.borrow().clone(), factory };
        let refused = match opening.open(request).await {
            Err(WSConnectError::Handshake(refused)) => refused,
            result => return result,
        };
        let Some(next) = redirect::follow(&refused, &url, &mut config)? else {
            return Err(WSConnectError::Handshake(refused));
        };
        log::debug!("{url} redirects to {next}");
        redirected |= next.host() != url.host();
        journey.borrow_mut().redirected(next.clone(), handle.now());
        url = next;
    }
}

/// The request that this configuration makes, with a fresh nonce.
pub(crate) fn client_handshake(
    handle: &WSLoopHandle,
    url: &WSUrl,
    config: &WSConnectConfig,
) -> Result<ClientHandshake, WSConfigError> {
    if let Some(invalid) = &config.invalid_header {
        return Err(invalid.clone().into());
    }
    let mut request = ClientHandshakeConfig::new(url.host_header(), url.path_and_query());
    request.extra_headers = config.extra_headers.clone();
    request.subprotocols.clone_from(&config.subprotocols);
    request.limits = config.connection.limits.handshake();
    if let Some(credentials) = url.authorization()
        && !request.extra_headers.contains("authorization")
    {
        request.extra_headers.append("Authorization", &credentials)?;
    }
    #[cfg(feature = "deflate")]
    if let Some(deflate) = &config.connection.deflate {
        offer_deflate(deflate, &mut request.extra_headers)?;
    }
    Ok(ClientHandshake::new(request, random(handle.core()))?)
}

/// Adds the offer of compression to the headers of a request.
#[cfg(feature = "deflate")]
fn offer_deflate(config: &WSDeflateConfig, headers: &mut WSHeaders) -> Result<(), WSConfigError> {
    const EXTENSIONS: &str = "Sec-WebSocket-Extensions";
    let names = |value: &str| value.to_ascii_lowercase().contains(DEFLATE_EXTENSION);
    if headers.get_all(EXTENSIONS).any(names) {
        let reason = "permessage-deflate is offered both by the configuration and among the extra headers";
        return Err(WSConfigError::Argument(reason));
    }
    headers.append(EXTENSIONS, deflate::offer(&config.preferences()))?;
    Ok(())
}
