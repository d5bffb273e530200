//! Errors of connecting.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::connection::WSConfigError;
use crate::handshake::{WSHandshakeError, WSProxyError};
use crate::runtime::{WSError, WSListenerError, WSPhase};
#[cfg(feature = "tls")]
use crate::tls::WSTlsError;

/// No connection was opened.
///
/// After [`Config`](Self::Config) and [`Gone`](Self::Gone) the same call fails again; any other error
/// may pass. `?` converts it into a [`WSError`].
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WSConnectError {
    /// The arguments. Nothing was sent. Blame: the caller.
    #[error(transparent)]
    Config(#[from] WSConfigError),
    /// The name of the host has no address. Blame: the caller or the network.
    #[error("cannot resolve {host}: {source}")]
    Resolve {
        /// The name.
        host: Box<str>,
        /// The error of the system's resolver, or of the configured one.
        source: Arc<io::Error>,
    },
    /// The operating system or the network refused. Blame: the environment.
    #[error("{context}: {source}")]
    Io {
        /// What was tried.
        context: Box<str>,
        /// The error of the system.
        source: Arc<io::Error>,
    },
    /// The proxy did not make a tunnel to the server. Blame: the proxy, the server, or the caller's credentials.
    #[error(transparent)]
    Proxy(#[from] Arc<WSProxyError>),
    /// TLS failed, with the server or with an `https` proxy ([which](WSTlsError::is_from_proxy)). Blame: the peer, the proxy, or
    /// what the client was told to trust.
    #[cfg(feature = "tls")]
    #[error("TLS: {0}")]
    Tls(#[from] WSTlsError),
    /// The server's answer does not open a connection; the error has it. Blame: the server.
    #[error("opening handshake failed: {0}")]
    Handshake(#[source] Arc<WSHandshakeError>),
    /// The connection was not open in time. Blame: the peer or the network.
    #[error("{phase} did not finish within {timeout:?}")]
    Timeout {
        /// What was waited for.
        phase: WSPhase,
        /// The configured timeout.
        timeout: Duration,
    },
    /// The factory of the listener panicked. Blame: the application.
    #[error("listener: {0}")]
    Listener(#[from] WSListenerError),
    /// The loop, or the connection, ended meanwhile.
    #[error("the loop or the connection is gone")]
    Gone,
}

impl WSConnectError {
    pub(crate) fn io(context: impl Into<Box<str>>, source: io::Error) -> Self {
        #[cfg(feature = "tls")]
        if let Some(error) = WSTlsError::in_io(&source) {
            return Self::Tls(error.clone());
        }
        Self::Io { context: context.into(), source: Arc::new(source) }
    }

    /// Returns `true` if the same call will fail again: the arguments are wrong, or the loop is gone.
    pub(super) fn is_final(&self) -> bool {
        matches!(self, Self::Config(_) | Self::Gone)
    }
}

impl From<WSHandshakeError> for WSConnectError {
    fn from(error: WSHandshakeError) -> Self {
        Self::Handshake(Arc::new(error))
    }
}

impl From<WSConnectError> for WSError {
    fn from(error: WSConnectError) -> Self {
        match error {
            WSConnectError::Config(error) => error.into(),
            WSConnectError::Resolve { host, source } => Self::Resolve { host, source },
            WSConnectError::Io { context, source } => Self::Io { context, source },
            WSConnectError::Proxy(error) => Self::Proxy(error),
            #[cfg(feature = "tls")]
            WSConnectError::Tls(error) => Self::Tls(error),
            WSConnectError::Handshake(error) => Self::Handshake(error),
            WSConnectError::Timeout { phase, timeout } => Self::Timeout { phase, timeout },
            WSConnectError::Listener(error) => Self::Listener(error),
            WSConnectError::Gone => Self::Disconnected,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_stay_small() {
        assert!(size_of::<WSConnectError>() <= 56, "{}", size_of::<WSConnectError>());
    }

    #[test]
    fn only_arguments_and_a_loop_that_is_gone_are_final() {
        let io = || io::Error::from(io::ErrorKind::ConnectionRefused);
        assert!(WSConnectError::from(WSConfigError::TlsUnsupported).is_final());
        assert!(WSConnectError::Gone.is_final());
        assert!(!WSConnectError::io("cannot connect", io()).is_final());
        assert!(!WSConnectError::Resolve { host: "h".into(), source: Arc::new(io()) }.is_final());
    }

    #[test]
    fn wserror_has_the_same_text() {
        let error = WSConnectError::io("cannot connect", io::ErrorKind::ConnectionRefused.into());
        assert_eq!(WSError::from(error.clone()).to_string(), error.to_string());
        let error = WSConnectError::from(WSConfigError::Argument("x"));
        assert_eq!(WSError::from(error.clone()).to_string(), error.to_string());
    }
}
