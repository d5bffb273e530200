//! Makes the report of how a connection came to be.

use std::time::{Duration, Instant};

use crate::connection::{WSConnectAttempt, WSConnectReport};
use crate::handshake::WSUrl;
use crate::runtime::WSPhase;

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
