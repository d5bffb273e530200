//! A body between accept and close.

use std::error::Error;

use crate::handshake::WSUpgradeResponse;
use crate::proto::WSCloseCode;

use super::{CloseReason, ConnectionClosed, HandlerError, SideState, WebSocket, code_of_drop};

impl WebSocket {
    /// Accepts if that was not done yet, runs `body`, and closes in any case: with 1000 if the body succeeds, with 1011 if it fails;
    /// not at all if it has closed by itself, or the peer has. Dropped before the body is done, it closes with 1000, or 1011 in a
    /// panic.
    ///
    /// `None` if the body failed because the connection was closed, with a code that
    /// [`catch_disconnect`](crate::message::WebSocketConfig::catch_disconnect) names.
    ///
    /// ```no_run
    /// # use femtows::message::*;
    /// async fn greet(ws: WebSocket) -> Result<(), HandlerError> {
    ///     ws.with(async |ws| {
    ///         let name = ws.receive_text().await?;
    ///         ws.send_text(format!("Hello, {name}")).await?;
    ///         Ok(())
    ///     })
    ///     .await?;
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// The body's, unless it is caught; those of [`accept`](Self::accept).
    pub async fn with<T>(
        &self,
        body: impl AsyncFnOnce(WebSocket) -> Result<T, HandlerError>,
    ) -> Result<Option<T>, HandlerError> {
        if self.application_state() == SideState::Connecting {
            self.accept().await?;
        }
        let _block = Block(self);
        let result = body(self.clone()).await;
        self.finish(&result);
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) => match disconnect_in(&*error) {
                Some(reason) if self.shared().config.catch_disconnect.catches(reason.code) => Ok(None),
                _ => Err(error),
            },
        }
    }

    /// Closes as the outcome of a handler asks for; refuses, if the request was not decided on.
    pub(super) fn finish<T>(&self, result: &Result<T, HandlerError>) {
        // In each case an error says only that it is closed already.
        let _ = match failure_in(result) {
            None => self.close(WSCloseCode::OK, ""),
            Some(_) if self.application_state() == SideState::Connecting => {
                self.reject(WSUpgradeResponse::internal_error())
            }
            Some(error) => {
                let exposed = self.shared().config.expose_errors.then(|| error.to_string());
                self.close(WSCloseCode::INTERNAL_ERROR, &exposed.unwrap_or_default())
            }
        };
    }
}

/// A connection that is closed when this is dropped, if it was not before: its block was left half-way.
pub(super) struct Block<'a>(pub(super) &'a WebSocket);

impl Drop for Block<'_> {
    fn drop(&mut self) {
        // Mostly it is closed already.
        let _ = self.0.close(code_of_drop(), "");
    }
}

/// Why a handler failed, if it did: that the connection is closed is no failure.
pub(super) fn failure_in<T>(result: &Result<T, HandlerError>) -> Option<&HandlerError> {
    result.as_ref().err().filter(|error| disconnect_in(&***error).is_none())
}

/// The reason of the end, if the error, or what it came from, says that the connection was closed.
fn disconnect_in<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e CloseReason> {
    // `WebSocketError::Closed` has it as its source.
    let mut causes = std::iter::successors(Some(error), |&error| error.source());
    causes.find_map(|cause| cause.downcast_ref::<ConnectionClosed>()).map(|closed| &closed.reason)
}
