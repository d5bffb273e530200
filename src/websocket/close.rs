//! Closing.

use crate::handshake::WSUpgradeResponse;
use crate::proto::{WSCloseCode, WSDisconnectCause};

use super::shared::Shared;
use super::{SideState, WebSocket, WebSocketError};

impl WebSocket {
    /// Closes the connection, and does not wait for the peer to do its part: sends CLOSE. What was received and not taken is
    /// dropped; tasks that wait for something get [`Closed`](WebSocketError::Closed). TCP is closed when the peer has answered, at
    /// the latest after the [`disconnect_timeout`](crate::message::WebSocketConfig::disconnect_timeout).
    ///
    /// 1005 is sent as CLOSE without a code, 1006 and 1015 as 1000. The reason is cut to 123 bytes at a character boundary.
    ///
    /// Before [`accept`](Self::accept) this refuses the opening handshake, with 403.
    ///
    /// # Errors
    /// [`State`](WebSocketError::State) if this end has closed before;
    /// [`InvalidArgument`](WebSocketError::InvalidArgument) if the code must not be sent (RFC 6455 section 7.4).
    pub fn close(&self, code: impl Into<WSCloseCode>, reason: &str) -> Result<(), WebSocketError> {
        let code = sendable(code.into())?;
        self.shared().close_or_refuse(code, reason)
    }

    /// Closes the connection and waits until the closing handshake is complete. Idempotent: if this
    /// end has closed before, only waits; if the connection is gone, is done.
    ///
    /// A server has then closed TCP. A client leaves that to the server (RFC 6455 section 7.1.1):
    /// if the server does not do it, the client closes TCP in the background, after at most two
    /// seconds.
    ///
    /// Dropped half-way, the connection still ends, as after [`close`](Self::close).
    ///
    /// # Errors
    /// [`DisconnectionTimeout`](WebSocketError::DisconnectionTimeout) if the peer did not do its part in time; TCP is closed all the
    /// same. [`InvalidArgument`](WebSocketError::InvalidArgument) as for [`close`](Self::close).
    pub async fn aclose(&self, code: impl Into<WSCloseCode>, reason: &str) -> Result<(), WebSocketError> {
        let code = sendable(code.into())?;
        let shared = self.shared();
        // Only if it is closed already, which is as good.
        let _ = shared.close_or_refuse(code, reason);
        // It may have been accepted a moment ago.
        let Some(transport) = shared.opening_done().await else { return Ok(()) };
        // The cause of the end does not matter here, but for two cases.
        let _ = transport.conn().closing_done().await;
        match transport.disconnect_info() {
            // Either way the peer did not do its part: it has not answered, or not even read.
            Some(info) => match info.cause {
                WSDisconnectCause::CloseTimeout | WSDisconnectCause::WriteTimeout => {
                    Err(WebSocketError::DisconnectionTimeout)
                }
                _ => Ok(()),
            },
            None => Ok(()),
        }
    }
}

/// The code that goes on the wire.
fn sendable(code: WSCloseCode) -> Result<WSCloseCode, WebSocketError> {
    match code {
        WSCloseCode::NO_INFO => Ok(code),
        WSCloseCode::ABNORMAL_CLOSURE | WSCloseCode::TLS_HANDSHAKE => Ok(WSCloseCode::OK),
        code if code.is_valid_on_wire() => Ok(code),
        code => Err(WebSocketError::argument(format!("{code} must not be sent"))),
    }
}

impl Shared {
    /// Closes; before the decision on the request, refuses it.
    pub(super) fn close_or_refuse(&self, code: WSCloseCode, reason: &str) -> Result<(), WebSocketError> {
        if self.state().application == SideState::Connecting {
            return self.refuse(WSUpgradeResponse::forbidden());
        }
        Ok(self.close(code, reason)?)
    }

    /// The last handle is dropped.
    pub(super) fn abandon(&self, code: WSCloseCode) {
        let _ = match self.state_of_application() {
            SideState::Connecting if code != WSCloseCode::OK => {
                self.refuse(WSUpgradeResponse::internal_error())
            }
            _ => self.close_or_refuse(code, ""),
        };
    }
}
