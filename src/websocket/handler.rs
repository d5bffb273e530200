//! What serves a connection.

use std::any::Any;
use std::error::Error;
use std::future::Future;
use std::panic::{self, AssertUnwindSafe};
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::runtime::{TaskBody, WSListenerError, WSLoopHandle};

use super::lifecycle::failure_in;
use super::{WebSocket, WebSocketRequest};

/// What a handler may fail with: any error.
///
/// One that comes from [`WebSocketError::Closed`](super::WebSocketError::Closed) or [`ConnectionClosed`](super::ConnectionClosed), as its
/// [`source`](Error::source) or that one's, is no failure. A `Box<dyn Error + Send + Sync>` becomes one by
/// `map_err(|error| -> HandlerError { error })`; the standard library has no conversion that `?` could use.
pub type HandlerError = Box<dyn Error>;

/// An `async fn` that serves one connection: of a [`WebSocket`], or of a [`WebSocketRequest`]. Both begin before the request is
/// accepted.
///
/// | outcome | before `accept` | after |
/// |---|---|---|
/// | it returns | refused with 403 | closed with 1000 |
/// | it fails or panics | refused with 500, and logged | closed with 1011, and logged |
/// | it fails because the connection is closed | refused with 403 | nothing: that is no failure |
pub trait Handler<Argument>: 'static {
    /// Begins to serve this connection, as a task of the loop.
    fn start(&self, handle: &WSLoopHandle, websocket: WebSocket);
}

impl<F, Fut> Handler<WebSocket> for F
where
    F: Fn(WebSocket) -> Fut + 'static,
    Fut: Future<Output: IntoHandlerResult> + 'static,
{
    fn start(&self, handle: &WSLoopHandle, websocket: WebSocket) {
        spawn(handle, websocket, self);
    }
}

impl<F, Fut> Handler<WebSocketRequest> for F
where
    F: Fn(WebSocketRequest) -> Fut + 'static,
    Fut: Future<Output: IntoHandlerResult> + 'static,
{
    fn start(&self, handle: &WSLoopHandle, websocket: WebSocket) {
        spawn(handle, websocket, |websocket| self(WebSocketRequest::new(websocket)));
    }
}

/// What a handler may return: nothing, or a `Result` of nothing.
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
fn spawn<Fut>(handle: &WSLoopHandle, websocket: WebSocket, handler: impl FnOnce(WebSocket) -> Fut)
where
    Fut: Future<Output: IntoHandlerResult> + 'static,
{
    match panic::catch_unwind(AssertUnwindSafe(|| handler(websocket.clone()))) {
        Ok(body) => handle.core().tasks().spawn_detached(Serving { websocket, body }),
        Err(panic) => conclude(&websocket, &Err(panicked(&*panic))),
    }
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
