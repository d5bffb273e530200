//! Errors of configurations.

#[cfg(feature = "tls")]
use std::sync::Arc;

use crate::handshake::{WSInvalidHeader, WSInvalidRequest, WSInvalidUrl};
use crate::runtime::WSError;
#[cfg(feature = "tls")]
use crate::tls::WSTlsConfigError;

/// A configuration or an argument that cannot be used: the caller's mistake. It is found before
/// anything is sent, and trying again cannot help.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WSConfigError {
    /// The URL is not one of a WebSocket.
    #[error(transparent)]
    Url(#[from] WSInvalidUrl),
    /// The request must not be sent, such as one that offers a subprotocol twice.
    #[error(transparent)]
    Request(#[from] WSInvalidRequest),
    /// A header must not be sent.
    #[error(transparent)]
    Header(#[from] WSInvalidHeader),
    /// Certificates or keys cannot be used.
    #[cfg(feature = "tls")]
    #[error("TLS configuration: {0}")]
    Tls(#[source] Arc<WSTlsConfigError>),
    /// `wss` was asked for, and this build has no TLS (feature `tls`).
    #[error("TLS is not supported by this build: enable the feature `tls` of the crate femtows")]
    TlsUnsupported,
    /// An argument or a setting is out of its range, or contradicts another.
    #[error("invalid argument: {0}")]
    Argument(&'static str),
}

#[cfg(feature = "tls")]
impl From<WSTlsConfigError> for WSConfigError {
    fn from(error: WSTlsConfigError) -> Self {
        Self::Tls(Arc::new(error))
    }
}

impl From<WSConfigError> for WSError {
    fn from(error: WSConfigError) -> Self {
        match error {
            WSConfigError::Url(error) => Self::InvalidUrl(error),
            WSConfigError::Request(error) => Self::InvalidRequest(error),
            WSConfigError::Header(error) => Self::InvalidHeader(error),
            #[cfg(feature = "tls")]
            WSConfigError::Tls(error) => Self::TlsConfig(error),
            WSConfigError::TlsUnsupported => Self::TlsUnsupported,
            WSConfigError::Argument(reason) => Self::InvalidArgument(reason),
        }
    }
}
