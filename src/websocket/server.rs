//! Servers of [`WebSocket`]s.

use std::net::ToSocketAddrs;
use std::rc::Rc;

use crate::runtime::WSLoopHandle;
use crate::server::{
    WSDeferredUpgrade, WSServeError, WSServer, WSUpgradeOutcome, WSUpgradeRequest, ws_create_server,
};

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
) -> Result<WSServer, WSServeError> {
    let server_config = config.server_config();
    ws_create_server(handle, websocket_factory(handler, config), addr, server_config)
}

/// Returns the factory of [`serve_websocket`], for servers of other kinds: on a Unix domain socket,
/// one loop per core, without a socket. They are to be given [`WebSocketConfig::server_config`].
pub fn websocket_factory<A>(handler: impl IntoRoutes<A>, config: WebSocketConfig) -> WebSocketFactory {
    let (mut routes, config) = (handler.into_routes(), Rc::new(config));
    routes.serve_under(&config);
    Box::new(move |request| routes.decide(request, &config))
}

/// A factory that [`ws_create_server`] and its like take.
pub type WebSocketFactory = Box<dyn FnMut(&WSUpgradeRequest) -> WSUpgradeOutcome>;

/// A connection whose request was not decided on.
pub(super) fn undecided(
    config: &Rc<WebSocketConfig>,
    request: &WSUpgradeRequest,
) -> (WebSocket, WSDeferredUpgrade) {
    let (ticket, later) = WSDeferredUpgrade::new();
    let side = Side::Server(Box::new(ServerSide::new(request.clone())));
    let shared = Shared::new(request.handle().clone(), Rc::clone(config), side);
    let watcher = Rc::downgrade(&shared);
    ticket.on_cancel(move || {
        if let Some(shared) = watcher.upgrade() {
            shared.given_up();
        }
    });
    shared.decides_with(ticket);
    (WebSocket::new(shared), later)
}

/// A [`Handler`] for every path, or [`Routes`]: what [`serve_websocket`] takes.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot serve connections",
    label = "neither a handler nor `Routes`",
    note = "a handler is an `async fn(WebSocket)` or `async fn(WebSocketRequest)` that returns nothing or a `Result<(), E>`, or a `fn(&WSUpgradeRequest)` that returns a listener",
    note = "the argument of a task is owned, not borrowed; the type of a closure's argument has to be written out: `async |ws: WebSocket| {{ .. }}`",
    note = "`E` is any error that converts into `HandlerError`"
)]
pub trait IntoRoutes<Argument> {
    /// The state that the handlers share.
    type State: 'static;

    /// Returns the routes.
    fn into_routes(self) -> Routes<Self::State>;
}

impl<S: 'static> IntoRoutes<()> for Routes<S> {
    type State = S;

    fn into_routes(self) -> Self {
        self
    }
}

impl<A, H: Handler<A>> IntoRoutes<(A,)> for H {
    type State = ();

    fn into_routes(self) -> Routes {
        Routes::everywhere(self)
    }
}
