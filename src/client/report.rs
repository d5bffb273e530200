//! How a connection came to be.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fmt, io};

use crate::error::WSPhase;
use crate::handshake::WSUrl;

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

/// The report while it is being made.
#[derive(Clone, Debug)]
pub(crate) struct Journey {
    report: WSConnectReport,
    begun: Instant,
    phase: WSPhase,
    phase_begun: Instant,
}

impl Journey {
    pub(crate) fn new(url: WSUrl, now: Instant) -> Self {
        let report = WSConnectReport {
            url,
            redirected: Vec::new(),
            resolve: Duration::ZERO,
            tcp: Duration::ZERO,
            proxy: None,
            proxy_tls: None,
            tls: None,
            upgrade: Duration::ZERO,
            total: Duration::ZERO,
            attempts: Vec::new(),
        };
        Self { report, begun: now, phase: WSPhase::Resolve, phase_begun: now }
    }

    /// What is under way.
    pub(crate) fn phase(&self) -> WSPhase {
        self.phase
    }

    /// The phase under way ends here, and this one begins.
    pub(super) fn enter(&mut self, phase: WSPhase, now: Instant) {
        let took = now.saturating_duration_since(self.phase_begun);
        let report = &mut self.report;
        match self.phase {
            WSPhase::Resolve => report.resolve += took,
            WSPhase::Connect => report.tcp += took,
            WSPhase::Proxy => *report.proxy.get_or_insert_default() += took,
            WSPhase::ProxyTls => *report.proxy_tls.get_or_insert_default() += took,
            WSPhase::Tls => *report.tls.get_or_insert_default() += took,
            WSPhase::Opening => report.upgrade += took,
            WSPhase::Operation => {}
        }
        (self.phase, self.phase_begun) = (phase, now);
    }

    pub(super) fn attempts(&mut self, attempts: Vec<WSConnectAttempt>) {
        self.report.attempts = attempts;
    }

    /// Begins anew with another URL.
    pub(super) fn redirected(&mut self, url: WSUrl, now: Instant) {
        let begun = self.begun;
        let mut redirected = std::mem::take(&mut self.report.redirected);
        redirected.push(self.report.url.clone());
        *self = Self::new(url, now);
        self.begun = begun;
        self.report.redirected = redirected;
    }

    /// The connection is open.
    pub(crate) fn arrived(mut self, now: Instant) -> WSConnectReport {
        self.enter(WSPhase::Opening, now);
        self.report.total = now.saturating_duration_since(self.begun);
        self.report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_add_up() {
        let ms = Duration::from_millis;
        let begin = Instant::now();
        let url = |text: &str| WSUrl::parse(text).expect("valid");
        let mut journey = Journey::new(url("ws://a/"), begin);
        journey.enter(WSPhase::Connect, begin + ms(1));
        journey.enter(WSPhase::Opening, begin + ms(3));
        journey.redirected(url("ws://b/"), begin + ms(7));
        journey.enter(WSPhase::Connect, begin + ms(15));
        journey.enter(WSPhase::ProxyTls, begin + ms(31));
        journey.enter(WSPhase::Proxy, begin + ms(63));
        journey.enter(WSPhase::Tls, begin + ms(127));
        journey.enter(WSPhase::Opening, begin + ms(255));
        assert_eq!(journey.phase(), WSPhase::Opening);
        let report = journey.arrived(begin + ms(511));
        assert_eq!((report.resolve, report.tcp, report.proxy_tls), (ms(8), ms(16), Some(ms(32))));
        assert_eq!((report.proxy, report.tls), (Some(ms(64)), Some(ms(128))));
        assert_eq!((report.upgrade, report.total), (ms(256), ms(511)));
        assert_eq!((report.url, report.redirected), (url("ws://b/"), vec![url("ws://a/")]));
    }
}
