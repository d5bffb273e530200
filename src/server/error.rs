//! Errors of starting a server and of what is handed to it.

use std::io;
use std::sync::Arc;

use crate::connection::WSConfigError;
use crate::net::ListenError;
use crate::runtime::WSError;

/// A server was not started, or does not take what it was given. `?` converts it into a [`WSError`].
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WSServeError {
    /// The configuration. Nothing was bound, or nothing has changed. Blame: the caller.
    #[error(transparent)]
    Config(#[from] WSConfigError),
    /// An address cannot be bound, or a socket cannot be used. Blame: the environment.
    #[error("{context}: {source}")]
    Io {
        /// What was tried, with the address.
        context: Box<str>,
        /// The error of the system.
        source: Arc<io::Error>,
    },
    /// The server has no room for a further connection
    /// ([`max_connections`](crate::WSServerConfig::max_connections) and its like).
    #[error("the server has no room for a further connection")]
    Full,
    /// The loop is gone, or the server has stopped accepting.
    #[error("the loop or the server is gone")]
    Gone,
}

impl WSServeError {
    pub(super) fn io(context: impl Into<Box<str>>, source: io::Error) -> Self {
        Self::Io { context: context.into(), source: Arc::new(source) }
    }
}

impl From<ListenError> for WSServeError {
    fn from(failed: ListenError) -> Self {
        match failed.addr {
            Some(addr) => Self::io(format!("cannot listen on {addr}"), failed.error),
            None => Self::io("cannot listen", failed.error),
        }
    }
}

impl From<WSServeError> for WSError {
    fn from(error: WSServeError) -> Self {
        match error {
            WSServeError::Config(error) => error.into(),
            WSServeError::Io { context, source } => Self::Io { context, source },
            error @ WSServeError::Full => {
                Self::io("cannot take over the connection", io::Error::other(error))
            }
            WSServeError::Gone => Self::Disconnected,
        }
    }
}
