//! What serves a connection.

use std::any::Any;
use std::error::Error;
use std::future::Future;
use std::panic::{self, AssertUnwindSafe};
use std::pin::Pin;
use std::task::Poll;

use crate::WSListenerError;

use super::{WebSocket, WebSocketRequest};

/// What a handler may fail with: any error.
pub type HandlerError = Box<dyn Error>;

/// An `async fn` that serves one connection: of a [`WebSocket`], or of a [`WebSocketRequest`]. Both begin before the request is
/// accepted.
///
/// | outcome | before `accept` | after |
/// |---|---|---|
/// | it returns | refused with 403 | closed with 1000 |
/// | it fails or panics | refused with 500, and logged | closed with 1011, and logged |
/// | it fails because the connection is closed | | nothing: that is no failure |
pub trait Handler<Argument>: 'static {
    /// Serves this connection.
    fn serve(&self, websocket: WebSocket) -> Serving;
}

/// A handler at work.
pub type Serving = Pin<Box<dyn Future<Output = Result<(), HandlerError>>>>;

impl<F, Fut> Handler<WebSocket> for F
where
    F: Fn(WebSocket) -> Fut + 'static,
    Fut: Future<Output: IntoHandlerResult> + 'static,
{
    fn serve(&self, websocket: WebSocket) -> Serving {
        let serving = self(websocket);
        Box::pin(async move { serving.await.into_result() })
    }
}

impl<F, Fut> Handler<WebSocketRequest> for F
where
    F: Fn(WebSocketRequest) -> Fut + 'static,
    Fut: Future<Output: IntoHandlerResult> + 'static,
{
    fn serve(&self, websocket: WebSocket) -> Serving {
        let serving = self(WebSocketRequest::new(websocket));
        Box::pin(async move { serving.await.into_result() })
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

/// Runs a handler and ends its connection as its outcome asks for.
pub(super) async fn run(websocket: WebSocket, serving: impl FnOnce(WebSocket) -> Serving) {
    let mut body = match panic::catch_unwind(AssertUnwindSafe(|| serving(websocket.clone()))) {
        Ok(body) => body,
        Err(panic) => return websocket.finish::<()>(&Err(panicked(&*panic))),
    };
    let result =
        std::future::poll_fn(|cx| match panic::catch_unwind(AssertUnwindSafe(|| body.as_mut().poll(cx))) {
            Ok(polled) => polled,
            Err(panic) => Poll::Ready(Err(panicked(&*panic))),
        })
        .await;
    websocket.finish(&result);
}

fn panicked(panic: &(dyn Any + Send)) -> HandlerError {
    WSListenerError::from_panic(panic).into()
}
