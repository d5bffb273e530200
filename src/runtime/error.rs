//! Errors, split by who is to blame.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::handshake::{
    WSHandshakeError, WSInvalidHeader, WSInvalidProxy, WSInvalidRequest, WSInvalidResponse, WSInvalidUrl,
    WSProxyError,
};
use crate::proto::WSProtocolError;
use crate::sys::panic_message;

/// Anything that can go wrong.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WSError {
    /// The peer's half of the opening handshake is not acceptable. Blame: the peer.
    #[error("opening handshake failed: {0}")]
    Handshake(#[source] Arc<WSHandshakeError>),
    /// The peer broke RFC 6455 or a limit after the opening. Blame: the peer.
    #[error("protocol error: {0}")]
    Protocol(#[from] WSProtocolError),
    /// The caller's URL is not one of a WebSocket. Blame: the caller.
    #[error(transparent)]
    InvalidUrl(#[from] WSInvalidUrl),
    /// A request that the caller asked for must not be sent. Blame: the caller.
    #[error(transparent)]
    InvalidRequest(#[from] WSInvalidRequest),
    /// A header that the caller asked for must not be sent. Blame: the caller.
    #[error(transparent)]
    InvalidHeader(#[from] WSInvalidHeader),
    /// A response that the caller asked for must not be sent. Blame: the caller.
    #[error(transparent)]
    InvalidResponse(#[from] WSInvalidResponse),
    /// An argument is out of its range. Blame: the caller.
    #[error("invalid argument: {0}")]
    InvalidArgument(&'static str),
    /// `wss` was asked for, and this build has no TLS (feature `tls`). Blame: the caller.
    #[error("TLS is not supported by this build: enable the feature `tls` of the crate femtows")]
    TlsUnsupported,
    /// TLS failed, with the server or with an `https` proxy ([which](crate::tls::WSTlsError::is_from_proxy)). Blame: the peer, the proxy, or
    /// what this end was told to trust.
    #[cfg(feature = "tls")]
    #[error("TLS: {0}")]
    Tls(#[from] crate::tls::WSTlsError),
    /// Certificates or keys that were configured cannot be used. Blame: the caller.
    #[cfg(feature = "tls")]
    #[error("TLS configuration: {0}")]
    TlsConfig(#[source] Arc<crate::tls::WSTlsConfigError>),
    /// An operation did not end in time. Blame: the peer or the network.
    #[error("{phase} did not finish within {timeout:?}")]
    Timeout {
        /// What was waited for.
        phase: WSPhase,
        /// For how long.
        timeout: Duration,
    },
    /// The name of the host has no address. Blame: the caller or the network.
    #[error("cannot resolve {host}: {source}")]
    Resolve {
        /// The name.
        host: Box<str>,
        /// The error of the system's resolver, or of the configured one.
        source: Arc<io::Error>,
    },
    /// The caller's URL is not one of a proxy. Blame: the caller.
    #[error(transparent)]
    InvalidProxy(#[from] WSInvalidProxy),
    /// The proxy did not make a tunnel to the server. Blame: the proxy, the server, or the caller's credentials.
    #[error(transparent)]
    Proxy(#[from] Arc<WSProxyError>),
    /// The operating system refused. Blame: the environment.
    #[error("{context}: {source}")]
    Io {
        /// What was tried.
        context: Box<str>,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// A callback of the listener failed or panicked. Blame: the application.
    #[error("listener: {0}")]
    Listener(#[from] WSListenerError),
    /// The connection, or the loop, is gone. Nobody is to blame.
    #[error("disconnected")]
    Disconnected,
}

impl WSError {
    pub(crate) fn io(context: impl Into<Box<str>>, source: io::Error) -> Self {
        #[cfg(feature = "tls")]
        if let Some(error) = crate::tls::WSTlsError::in_io(&source) {
            return Self::Tls(error.clone());
        }
        Self::Io { context: context.into(), source: Arc::new(source) }
    }
}

impl From<WSHandshakeError> for WSError {
    fn from(error: WSHandshakeError) -> Self {
        Self::Handshake(Arc::new(error))
    }
}

#[cfg(feature = "tls")]
impl From<crate::tls::WSTlsConfigError> for WSError {
    fn from(error: crate::tls::WSTlsConfigError) -> Self {
        Self::TlsConfig(Arc::new(error))
    }
}

/// A part of a connection's life that has a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WSPhase {
    /// The look-up of a name, at a client.
    Resolve,
    /// TCP, at a client.
    Connect,
    /// The proxy's tunnel, at a client.
    Proxy,
    /// The TLS handshake with an `https` proxy, at a client.
    ProxyTls,
    /// The TLS handshake with the server, at a client.
    Tls,
    /// The opening handshake; at a server, from the accept on, TLS included.
    Opening,
    /// A caller's own [`timeout`](crate::WSLoopHandle::timeout).
    Operation,
}

impl fmt::Display for WSPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resolve => "the look-up of the name",
            Self::Connect => "the TCP connect",
            Self::Proxy => "the proxy's tunnel",
            Self::ProxyTls => "the TLS handshake with the proxy",
            Self::Tls => "the TLS handshake",
            Self::Opening => "the opening handshake",
            Self::Operation => "the operation",
        })
    }
}

/// What a callback returned, or the message of its panic.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct WSListenerError(Arc<dyn std::error::Error + Send + Sync>);

impl WSListenerError {
    pub(crate) fn new(error: Box<dyn std::error::Error + Send + Sync>) -> Self {
        Self(error.into())
    }

    pub(crate) fn from_panic(panic: &(dyn std::any::Any + Send)) -> Self {
        Self::new(format!("panic: {}", panic_message(panic)).into())
    }

    /// The error as the callback returned it.
    pub fn get_ref(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
        &*self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_tls_names_the_feature_to_enable() {
        let told = WSError::TlsUnsupported.to_string();
        assert!(told.contains("feature `tls`"), "{told}");
    }

    #[test]
    fn errors_stay_small() {
        assert!(size_of::<WSError>() <= 48, "{}", size_of::<WSError>());
        assert!(size_of::<Result<(), WSError>>() <= 48);
    }
}
