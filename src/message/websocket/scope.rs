//! A body between accept and close.

use std::error::Error;

use crate::message::{CloseReason, ConnectionClosed, HandlerError, SideState, WebSocketError};
use crate::{WSCloseCode, WSUpgradeResponse};

use super::WebSocket;

impl WebSocket {
    /// Accepts if that was not done yet, runs `body`, and closes in any case: with 1000 if the body succeeds, with 1011 if it fails;
    /// not at all if it has closed by itself, or the peer has.
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
    pub(in crate::message) fn finish<T>(&self, result: &Result<T, HandlerError>) {
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

/// Why a handler failed, if it did: that the connection is closed is no failure.
pub(in crate::message) fn failure_in<T>(result: &Result<T, HandlerError>) -> Option<&HandlerError> {
    result.as_ref().err().filter(|error| disconnect_in(&***error).is_none())
}

/// The reason of the end, if its error says that the connection was closed.
fn disconnect_in<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e CloseReason> {
    if let Some(closed) = error.downcast_ref::<ConnectionClosed>() {
        return Some(&closed.reason);
    }
    match error.downcast_ref::<WebSocketError>() {
        Some(WebSocketError::Closed(closed)) => Some(&closed.reason),
        _ => None,
    }
}
