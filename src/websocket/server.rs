//! Servers of [`WebSocket`]s.

use std::net::ToSocketAddrs;
use std::rc::Rc;

use crate::runtime::{WSError, WSLoopHandle};
use crate::server::{
    WSDeferredUpgrade, WSIntoUpgrade, WSServer, WSUpgradeOutcome, WSUpgradeRequest, ws_create_server,
};

use super::routes::Found;
use super::shared::{ServerSide, Shared, Side};
use super::{Handler, Routes, WebSocket, WebSocketConfig};

/// Listens on `addr` and runs `handler` for each request: an `async fn` of a [`WebSocket`] or a
/// [`WebSocketRequest`](super::WebSocketRequest), for every path; or [`Routes`], for the paths that they name.
///
/// The handler runs as a task of the loop from the parsed request on, and ends with the loop at the latest. What its outcome means is
/// listed at [`Handler`].
///
/// # Errors
/// Those of [`ws_create_server`].
pub fn serve_websocket<A>(
    handle: &WSLoopHandle,
    handler: impl IntoRoutes<A>,
    addr: impl ToSocketAddrs,
    config: WebSocketConfig,
) -> Result<WSServer, WSError> {
    let server_config = config.server_config();
    ws_create_server(handle, websocket_factory(handle, handler, config), addr, server_config)
}

/// The factory of [`serve_websocket`], for servers of other kinds: on a Unix domain socket, one loop per core, without a socket. They
/// are to be given [`WebSocketConfig::server_config`].
pub fn websocket_factory<A>(
    handle: &WSLoopHandle,
    handler: impl IntoRoutes<A>,
    config: WebSocketConfig,
) -> WebSocketFactory {
    let (handle, mut routes, config) = (handle.clone(), handler.into_routes(), Rc::new(config));
    routes.serve_under(&config);
    Box::new(move |request| match routes.find(request) {
        Found::Response(response) => response.into_upgrade(),
        Found::Handler { start, config: own, parameters } => {
            let config = own.as_ref().unwrap_or(&config);
            let (websocket, later) = undecided(&handle, config, request, parameters);
            start(&handle, websocket);
            WSUpgradeOutcome::Deferred(later)
        }
    })
}

/// A factory that [`ws_create_server`] and its like take.
pub type WebSocketFactory = Box<dyn FnMut(&WSUpgradeRequest) -> WSUpgradeOutcome>;

/// A connection whose request was not decided on.
pub(super) fn undecided(
    handle: &WSLoopHandle,
    config: &Rc<WebSocketConfig>,
    request: &WSUpgradeRequest,
    parameters: Vec<(Box<str>, String)>,
) -> (WebSocket, WSDeferredUpgrade) {
    let (ticket, later) = WSDeferredUpgrade::new();
    let side = ServerSide::new(request.clone(), parameters);
    let shared = Shared::new(handle.clone(), Rc::clone(config), Side::Server(Box::new(side)));
    let watcher = Rc::downgrade(&shared);
    ticket.on_cancel(move || {
        if let Some(shared) = watcher.upgrade() {
            shared.given_up();
        }
    });
    shared.decides_with(ticket);
    (WebSocket::new(shared), later)
}

/// What [`serve_websocket`] may be given: a [`Handler`], or [`Routes`].
pub trait IntoRoutes<Argument> {
    /// The routes.
    fn into_routes(self) -> Routes;
}

impl IntoRoutes<()> for Routes {
    fn into_routes(self) -> Routes {
        self
    }
}

impl<A, H: Handler<A>> IntoRoutes<(A,)> for H {
    fn into_routes(self) -> Routes {
        Routes::everywhere(self)
    }
}
