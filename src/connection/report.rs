//! How a connection came to be.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use crate::handshake::{WSRequestHead, WSUpgradeResponse, WSUrl};

/// The opening handshake, for those who ask for it later.
#[derive(Debug)]
pub(crate) struct Handshake {
    pub(crate) request: WSRequestHead,
    pub(crate) response: WSUpgradeResponse,
}

/// How a client's connection came to be: what each phase took, and which addresses were tried.
///
/// Times are those of the loop, which reads the clock once per turn. After redirections the phases are those of the last URL.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WSConnectReport {
    /// The URL that opened.
    pub url: WSUrl,
    /// The URLs that redirected, in order.
    pub redirected: Vec<WSUrl>,
    /// Look-up of the name of the server or of the proxy, and of the server if the proxy has to be given its address. Zero for a
    /// literal address and for `localhost`.
    pub resolve: Duration,
    /// TCP, to the server or to the proxy: from the first attempt to the one that won.
    pub tcp: Duration,
    /// The proxy's tunnel; `None` without a proxy.
    pub proxy: Option<Duration>,
    /// TLS with the proxy; `None` unless it is an `https` proxy.
    pub proxy_tls: Option<Duration>,
    /// TLS with the server; `None` without it.
    pub tls: Option<Duration>,
    /// From the request to the answer (RFC 6455 section 4.1).
    pub upgrade: Duration,
    /// All of it, redirections included.
    pub total: Duration,
    /// Attempts to connect TCP, in the order of their start. Empty if a socket factory made the socket.
    pub attempts: Vec<WSConnectAttempt>,
}

impl WSConnectReport {
    /// The address that won.
    pub fn winner(&self) -> Option<SocketAddr> {
        let won = |attempt: &&WSConnectAttempt| matches!(attempt.outcome, WSAttemptOutcome::Won);
        self.attempts.iter().find(won).map(|attempt| attempt.addr)
    }
}

impl fmt::Display for WSConnectReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {:?}: look-up {:?}, TCP {:?}", self.url, self.total, self.resolve, self.tcp)?;
        if let Some(tls) = self.proxy_tls {
            write!(f, ", TLS with the proxy {tls:?}")?;
        }
        if let Some(proxy) = self.proxy {
            write!(f, ", proxy {proxy:?}")?;
        }
        if let Some(tls) = self.tls {
            write!(f, ", TLS {tls:?}")?;
        }
        write!(f, ", upgrade {:?}", self.upgrade)?;
        for attempt in &self.attempts {
            write!(f, "; {attempt}")?;
        }
        Ok(())
    }
}

/// An attempt to connect TCP to one address.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WSConnectAttempt {
    /// The address.
    pub addr: SocketAddr,
    /// When it started, counted from the start of the first attempt.
    pub started: Duration,
    /// How long it took, or until it was given up.
    pub took: Duration,
    /// What came of it.
    pub outcome: WSAttemptOutcome,
}

/// What came of an attempt.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum WSAttemptOutcome {
    /// It connected, and its connection was used.
    Won,
    /// The system's error.
    Failed(Arc<io::Error>),
    /// Another one was faster.
    GivenUp,
}

impl fmt::Display for WSConnectAttempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { addr, started, took, outcome } = self;
        write!(f, "{addr} started at {started:?} ")?;
        match outcome {
            WSAttemptOutcome::Won => write!(f, "won after {took:?}"),
            WSAttemptOutcome::Failed(error) => write!(f, "failed after {took:?} ({error})"),
            WSAttemptOutcome::GivenUp => write!(f, "was given up after {took:?}"),
        }
    }
}
