use std::error::Error;
use std::fmt::Display;

use crate::connection::WSListener;
use crate::handshake::{WSInvalidHeader, WSInvalidResponse, WSUpgradeResponse};

use super::WSDeferredUpgrade;

/// What is to become of a request.
#[non_exhaustive]
pub enum WSUpgradeOutcome {
    /// 101, and this listener gets the connection.
    Accept(Box<dyn WSListener>),
    /// This 101 response, and its listener gets the connection.
    AcceptWith(WSUpgradeResponseWithListener),
    /// This response, which is not 101; then the connection is closed.
    Reject(WSUpgradeResponse),
    /// The decision comes later.
    Deferred(WSDeferredUpgrade),
}

/// A 101 response with headers of its own, and the listener of the connection that it opens.
pub struct WSUpgradeResponseWithListener {
    pub(crate) response: WSUpgradeResponse,
    pub(crate) listener: Box<dyn WSListener>,
}

impl WSUpgradeResponseWithListener {
    /// Pairs the two.
    ///
    /// # Errors
    /// If the response is not 101: only 101 opens a connection. Return any other response by itself.
    pub fn new(
        response: WSUpgradeResponse,
        listener: impl WSListener + 'static,
    ) -> Result<Self, WSInvalidResponse> {
        if response.status() == 101 {
            Ok(Self { response, listener: Box::new(listener) })
        } else {
            Err(WSInvalidResponse::needs_101(response.status()))
        }
    }
}

/// What the factory of [`ws_create_server`](crate::ws_create_server) may return.
///
/// | returned | sent |
/// |---|---|
/// | a listener | 101 |
/// | [`WSUpgradeResponseWithListener`] | its 101 |
/// | `None` | 404, `404 Not Found` |
/// | [`WSUpgradeResponse`] | it, unless it is 101, which without a listener becomes 500 |
/// | `Err(error)` | the response that `error` becomes by [`Into`] |
/// | [`WSDeferredUpgrade`] | what its ticket decides |
///
/// These errors become a response:
///
/// | error | response |
/// |---|---|
/// | [`WSUpgradeResponse`] | itself |
/// | [`WSInvalidHeader`], [`WSInvalidResponse`], `Box<dyn Error + Send + Sync>` | 500 without the error's text, which is logged |
/// | an error of the application's own | what its `impl From<MyError> for WSUpgradeResponse` makes |
///
/// So `?` works on them in a factory that fails with a response:
///
/// ```
/// use femtows::{WSListener, WSUpgradeRequest, WSUpgradeResponse};
///
/// fn decide<L: WSListener>(request: &WSUpgradeRequest, listener: L) -> Result<L, WSUpgradeResponse> {
///     match request.header("authorization") {
///         Some(_) => Ok(listener),
///         None => Err(WSUpgradeResponse::unauthorized("Bearer")?),
///     }
/// }
/// ```
///
/// A request that is not an upgrade
/// ([`WSRequestHead::is_upgrade`](crate::WSRequestHead::is_upgrade)) can be answered with a
/// response; a listener for it becomes 426. HEAD reaches the factory like GET, and its answer is
/// sent with the `Content-Length` of the body and without the body (RFC 9110 section 9.3.2). Other
/// methods are refused with 405 before the factory is called.
#[diagnostic::on_unimplemented(
    message = "a factory cannot return `{Self}`",
    label = "neither a listener nor a response",
    note = "return a `WSListener`, an `Option` or a `Result` of one, a `WSUpgradeResponse` or a `WSDeferredUpgrade`",
    note = "if it implements `WSMessageListener`, wrap it: `WSMessageAdapter::new(..)`"
)]
pub trait WSIntoUpgrade {
    /// The decision.
    fn into_upgrade(self) -> WSUpgradeOutcome;
}

impl WSIntoUpgrade for WSUpgradeOutcome {
    fn into_upgrade(self) -> WSUpgradeOutcome {
        match self {
            Self::Reject(response) => response.into_upgrade(),
            outcome => outcome,
        }
    }
}

impl<L: WSListener + 'static> WSIntoUpgrade for L {
    fn into_upgrade(self) -> WSUpgradeOutcome {
        WSUpgradeOutcome::Accept(Box::new(self))
    }
}

impl WSIntoUpgrade for WSUpgradeResponseWithListener {
    fn into_upgrade(self) -> WSUpgradeOutcome {
        WSUpgradeOutcome::AcceptWith(self)
    }
}

impl WSIntoUpgrade for WSUpgradeResponse {
    fn into_upgrade(self) -> WSUpgradeOutcome {
        if self.status() == 101 {
            error_limited!("the listener factory returned a 101 response without a listener");
            return WSUpgradeOutcome::Reject(Self::internal_error());
        }
        WSUpgradeOutcome::Reject(self)
    }
}

impl WSIntoUpgrade for WSDeferredUpgrade {
    fn into_upgrade(self) -> WSUpgradeOutcome {
        WSUpgradeOutcome::Deferred(self)
    }
}

impl<T: WSIntoUpgrade> WSIntoUpgrade for Option<T> {
    fn into_upgrade(self) -> WSUpgradeOutcome {
        match self {
            Some(accepted) => accepted.into_upgrade(),
            None => WSUpgradeOutcome::Reject(WSUpgradeResponse::not_found()),
        }
    }
}

impl<T: WSIntoUpgrade, E: Into<WSUpgradeResponse>> WSIntoUpgrade for Result<T, E> {
    fn into_upgrade(self) -> WSUpgradeOutcome {
        match self {
            Ok(accepted) => accepted.into_upgrade(),
            Err(error) => error.into().into_upgrade(),
        }
    }
}

/// A 500 without the text of the error, which is logged.
impl From<WSInvalidHeader> for WSUpgradeResponse {
    fn from(error: WSInvalidHeader) -> Self {
        concealed(&error)
    }
}

/// A 500 without the text of the error, which is logged.
impl From<WSInvalidResponse> for WSUpgradeResponse {
    fn from(error: WSInvalidResponse) -> Self {
        concealed(&error)
    }
}

/// A 500 without the text of the error, which is logged.
impl From<Box<dyn Error + Send + Sync>> for WSUpgradeResponse {
    fn from(error: Box<dyn Error + Send + Sync>) -> Self {
        concealed(&error)
    }
}

/// Returns a 500 for an error whose text is not for the peer.
fn concealed(error: &dyn Display) -> WSUpgradeResponse {
    error_limited!("the listener factory failed: {error}");
    WSUpgradeResponse::internal_error()
}
