//! What serves a connection.

use std::any::Any;
use std::error::Error;
use std::future::Future;
use std::panic::{self, AssertUnwindSafe};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use crate::runtime::{TaskBody, WSListenerError};
use crate::server::{WSIntoUpgrade, WSUpgradeOutcome, WSUpgradeRequest};

use super::lifecycle::failure_in;
use super::server::undecided;
use super::{WebSocket, WebSocketConfig, WebSocketRequest};

/// What a handler may fail with: any error.
///
/// One that comes from [`WebSocketError::Closed`](super::WebSocketError::Closed) or [`ConnectionClosed`](super::ConnectionClosed), as its
/// [`source`](Error::source) or that one's, is no failure. A `Box<dyn Error + Send + Sync>` becomes one by
/// `map_err(|error| -> HandlerError { error })`; the standard library has no conversion that `?` could use.
pub type HandlerError = Box<dyn Error>;

/// The end of a route: a task or a listener for each connection.
///
/// | handler | serves by |
/// |---|---|
/// | `async fn(WebSocket)`, `async fn(WebSocketRequest)` | a task; both begin before the request is accepted |
/// | `async fn(WebSocket, S)`, `async fn(WebSocketRequest, S)` | the same, with a clone of the [state](super::Routes::with_state) |
/// | `fn(&WSUpgradeRequest)`, `fn(&WSUpgradeRequest, &S)` | a listener, or anything else that is [`WSIntoUpgrade`] |
///
/// The parameters of a closure need their types, as one bound stands for six signatures.
///
/// A task ends its connection by its outcome:
///
/// | outcome | before `accept` | after |
/// |---|---|---|
/// | it returns | refused with 403 | closed with 1000 |
/// | it fails or panics | refused with 500, and logged | closed with 1011, and logged |
/// | it fails because the connection is closed | refused with 403 | nothing: that is no failure |
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot serve a connection",
    label = "not a handler",
    note = "a handler is an `async fn(WebSocket)` or `async fn(WebSocketRequest)` that returns nothing or a `Result<(), E>`, or a `fn(&WSUpgradeRequest)` that returns a listener",
    note = "the argument of a task is owned, not borrowed; the type of a closure's argument has to be written out: `async |ws: WebSocket| {{ .. }}`",
    note = "`E` is any error that converts into `HandlerError`"
)]
pub trait Handler<Argument, State = ()>: 'static {
    /// Begins to serve a request.
    #[doc(hidden)]
    fn decide(
        &self,
        request: &WSUpgradeRequest,
        state: &State,
        config: &Rc<WebSocketConfig>,
    ) -> WSUpgradeOutcome;
}

impl<S, F, Fut> Handler<WebSocket, S> for F
where
    F: Fn(WebSocket) -> Fut + 'static,
    Fut: Future<Output: IntoHandlerResult> + 'static,
{
    fn decide(&self, request: &WSUpgradeRequest, _: &S, config: &Rc<WebSocketConfig>) -> WSUpgradeOutcome {
        spawn(request, config, self)
    }
}

impl<S, F, Fut> Handler<WebSocketRequest, S> for F
where
    F: Fn(WebSocketRequest) -> Fut + 'static,
    Fut: Future<Output: IntoHandlerResult> + 'static,
{
    fn decide(&self, request: &WSUpgradeRequest, _: &S, config: &Rc<WebSocketConfig>) -> WSUpgradeOutcome {
        spawn(request, config, |websocket| self(WebSocketRequest::new(websocket)))
    }
}

impl<S, F, Fut> Handler<(WebSocket, S), S> for F
where
    S: Clone,
    F: Fn(WebSocket, S) -> Fut + 'static,
    Fut: Future<Output: IntoHandlerResult> + 'static,
{
    fn decide(
        &self,
        request: &WSUpgradeRequest,
        state: &S,
        config: &Rc<WebSocketConfig>,
    ) -> WSUpgradeOutcome {
        spawn(request, config, |websocket| self(websocket, state.clone()))
    }
}

impl<S, F, Fut> Handler<(WebSocketRequest, S), S> for F
where
    S: Clone,
    F: Fn(WebSocketRequest, S) -> Fut + 'static,
    Fut: Future<Output: IntoHandlerResult> + 'static,
{
    fn decide(
        &self,
        request: &WSUpgradeRequest,
        state: &S,
        config: &Rc<WebSocketConfig>,
    ) -> WSUpgradeOutcome {
        spawn(request, config, |websocket| self(WebSocketRequest::new(websocket), state.clone()))
    }
}

impl<S, F, R> Handler<fn(&WSUpgradeRequest) -> R, S> for F
where
    F: Fn(&WSUpgradeRequest) -> R + 'static,
    R: WSIntoUpgrade,
{
    fn decide(&self, request: &WSUpgradeRequest, _: &S, _: &Rc<WebSocketConfig>) -> WSUpgradeOutcome {
        self(request).into_upgrade()
    }
}

impl<S, F, R> Handler<fn(&WSUpgradeRequest, &S) -> R, S> for F
where
    F: Fn(&WSUpgradeRequest, &S) -> R + 'static,
    R: WSIntoUpgrade,
{
    fn decide(&self, request: &WSUpgradeRequest, state: &S, _: &Rc<WebSocketConfig>) -> WSUpgradeOutcome {
        self(request, state).into_upgrade()
    }
}

/// What a handler may return: nothing, or a `Result` of nothing.
#[diagnostic::on_unimplemented(
    message = "a handler cannot return `{Self}`",
    label = "neither nothing nor a `Result` of nothing",
    note = "return nothing, or a `Result<(), E>` whose `E` converts into `HandlerError`"
)]
pub trait IntoHandlerResult {
    /// The same, with any error.
    ///
    /// # Errors
    /// The handler's.
    fn into_result(self) -> Result<(), HandlerError>;
}

impl IntoHandlerResult for () {
    fn into_result(self) -> Result<(), HandlerError> {
        Ok(())
    }
}

impl<E: Into<HandlerError>> IntoHandlerResult for Result<(), E> {
    fn into_result(self) -> Result<(), HandlerError> {
        self.map_err(Into::into)
    }
}

/// Runs a handler as a task, and ends its connection as its outcome asks for.
fn spawn<Fut>(
    request: &WSUpgradeRequest,
    config: &Rc<WebSocketConfig>,
    handler: impl FnOnce(WebSocket) -> Fut,
) -> WSUpgradeOutcome
where
    Fut: Future<Output: IntoHandlerResult> + 'static,
{
    let (websocket, later) = undecided(config, request);
    match panic::catch_unwind(AssertUnwindSafe(|| handler(websocket.clone()))) {
        Ok(body) => request.handle().core().tasks().spawn_detached(Serving { websocket, body }),
        Err(panic) => conclude(&websocket, &Err(panicked(&*panic))),
    }
    WSUpgradeOutcome::Deferred(later)
}

pin_project_lite::pin_project! {
    /// A handler at work.
    struct Serving<F> {
        websocket: WebSocket,
        #[pin]
        body: F,
    }
}

impl<F: Future<Output: IntoHandlerResult>> TaskBody for Serving<F> {
    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let Poll::Ready(output) = this.body.poll(cx) else { return Poll::Pending };
        conclude(this.websocket, &output.into_result());
        Poll::Ready(())
    }

    fn failed(self: Pin<&mut Self>, panic: Box<dyn Any + Send>) {
        conclude(&self.websocket, &Err(panicked(&*panic)));
    }
}

fn conclude(websocket: &WebSocket, result: &Result<(), HandlerError>) {
    if let Some(error) = failure_in(result) {
        error_limited!("a handler failed: {error}");
    }
    websocket.finish(result);
}

fn panicked(panic: &(dyn Any + Send)) -> HandlerError {
    WSListenerError::from_panic(panic).into()
}
