//! A request that was not decided on.

use std::ops::Deref;

use crate::handshake::WSUpgradeResponse;

use super::{AcceptOptions, WebSocket, WebSocketError};

/// A [`WebSocket`] before [`accept`](Self::accept): what a server's handler is given to look at the request, and to decide.
///
/// Everything that is known of a connection can be asked of it: path, headers, subprotocols, session. Dropped undecided, it refuses with
/// 403.
#[derive(Debug)]
pub struct WebSocketRequest {
    websocket: WebSocket,
}

impl WebSocketRequest {
    pub(super) fn new(websocket: WebSocket) -> Self {
        Self { websocket }
    }

    /// Accepts; the connection, once it is open.
    ///
    /// # Errors
    /// Those of [`WebSocket::accept`].
    pub async fn accept(&self) -> Result<WebSocket, WebSocketError> {
        self.accept_with(AcceptOptions::new()).await
    }

    /// Accepts with a subprotocol, headers or a session.
    ///
    /// # Errors
    /// Those of [`WebSocket::accept_with`].
    pub async fn accept_with(&self, options: AcceptOptions) -> Result<WebSocket, WebSocketError> {
        self.websocket.accept_with(options).await?;
        Ok(self.websocket.clone())
    }

    /// Refuses with this response.
    ///
    /// # Errors
    /// Those of [`WebSocket::reject`].
    pub fn reject(&self, response: WSUpgradeResponse) -> Result<(), WebSocketError> {
        self.websocket.reject(response)
    }

    /// The connection, undecided as it is.
    pub fn into_websocket(self) -> WebSocket {
        self.websocket
    }
}

impl Deref for WebSocketRequest {
    type Target = WebSocket;

    fn deref(&self) -> &WebSocket {
        &self.websocket
    }
}
