//! Configuration of pings, idle time-outs and lifetimes.

use std::time::Duration;

use crate::proto::{AutoPing, KeepAliveRules, WSAutoPingStrategy};

use super::WSConfigError;

/// What the setters below set. The default is that of a client.
#[derive(Clone, Debug)]
pub(crate) struct LivenessConfig {
    pub(crate) enable_auto_ping: bool,
    pub(crate) ping_strategy: WSAutoPingStrategy,
    pub(crate) ping_idle_timeout: Duration,
    pub(crate) ping_reply_timeout: ReplyTimeout,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) max_connection_lifetime: Option<Duration>,
}

/// Time for the answer to a ping.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ReplyTimeout {
    /// The role's default, or the idle timeout if that is shorter.
    Default(Duration),
    Set(Duration),
}

impl Default for LivenessConfig {
    fn default() -> Self {
        Self::with_ping_timeouts(Duration::from_secs(10))
    }
}

impl LivenessConfig {
    pub(crate) fn of_server() -> Self {
        Self::with_ping_timeouts(Duration::from_secs(20))
    }

    fn with_ping_timeouts(timeout: Duration) -> Self {
        Self {
            enable_auto_ping: false,
            ping_strategy: WSAutoPingStrategy::default(),
            ping_idle_timeout: timeout,
            ping_reply_timeout: ReplyTimeout::Default(timeout),
            idle_timeout: None,
            max_connection_lifetime: None,
        }
    }

    pub(crate) fn rules(&self) -> KeepAliveRules {
        KeepAliveRules {
            auto_ping: self.enable_auto_ping.then(|| self.auto_ping()),
            idle_timeout: self.idle_timeout,
            max_lifetime: self.max_connection_lifetime,
        }
    }

    fn auto_ping(&self) -> AutoPing {
        let reply_timeout = match self.ping_reply_timeout {
            ReplyTimeout::Default(timeout) => timeout.min(self.ping_idle_timeout),
            ReplyTimeout::Set(timeout) => timeout,
        };
        AutoPing { strategy: self.ping_strategy, idle_timeout: self.ping_idle_timeout, reply_timeout }
    }

    /// What cannot be kept is the caller's fault, and told before anything is opened.
    pub(crate) fn check(&self) -> Result<(), WSConfigError> {
        let ping = self.auto_ping();
        let wrong = if !self.enable_auto_ping {
            None
        } else if ping.idle_timeout.is_zero() || ping.reply_timeout.is_zero() {
            Some("auto_ping_idle_timeout and auto_ping_reply_timeout must be more than zero")
        } else if ping.reply_timeout > ping.idle_timeout {
            Some("auto_ping_reply_timeout must not be more than auto_ping_idle_timeout")
        } else {
            None
        };
        wrong.map_or(Ok(()), |wrong| Err(WSConfigError::Argument(wrong)))
    }
}

/// The setters of liveness that `WSServerConfig` and `WSConnectConfig` share.
macro_rules! liveness_setters {
    () => {
        /// Whether a silent peer is pinged, and the connection ended if no answer comes: the peer is told 1001, and TCP is closed
        /// without waiting for it. Default false.
        ///
        /// What is sent, and what counts as the answer, is up to
        /// [`WSListener::send_user_specific_ping`](crate::WSListener::send_user_specific_ping) and
        /// [`is_user_specific_pong`](crate::WSListener::is_user_specific_pong): PING and PONG unless they say otherwise. While reading
        /// is paused, or bytes that have arrived are not read yet, no peer is given up on.
        #[must_use]
        pub fn enable_auto_ping(mut self, on: bool) -> Self {
            self.connection.liveness.enable_auto_ping = on;
            self
        }

        /// After how long a ping is due: see [`WSAutoPingStrategy`](crate::WSAutoPingStrategy). More than zero. Default 20 s for a
        /// server, 10 s for a client.
        #[must_use]
        pub fn auto_ping_idle_timeout(mut self, timeout: Duration) -> Self {
            self.connection.liveness.ping_idle_timeout = timeout;
            self
        }

        /// Sets how long the answer to a ping may take; data that arrives meanwhile is no answer.
        /// More than zero. More than [`auto_ping_idle_timeout`](Self::auto_ping_idle_timeout) is an
        /// error when the server is made or the client connects. Default 20 s for a server and 10 s
        /// for a client, or the idle timeout if that is shorter.
        #[must_use]
        pub fn auto_ping_reply_timeout(mut self, timeout: Duration) -> Self {
            self.connection.liveness.ping_reply_timeout = $crate::connection::ReplyTimeout::Set(timeout);
            self
        }

        /// What pings go by. Default [`PingWhenIdle`](crate::WSAutoPingStrategy::PingWhenIdle).
        #[must_use]
        pub fn auto_ping_strategy(mut self, strategy: $crate::proto::WSAutoPingStrategy) -> Self {
            self.connection.liveness.ping_strategy = strategy;
            self
        }

        /// Closes the connection with 1001 when no byte has arrived for this long, be it that of a PONG. `None`: never. Default
        /// never. Time in which reading was paused does not count.
        #[must_use]
        pub fn idle_timeout(mut self, timeout: Option<Duration>) -> Self {
            self.connection.liveness.idle_timeout = timeout;
            self
        }

        /// Closes the connection with 1001 when it has been open for this long, so that clients spread anew over servers. `None`:
        /// never. Default never.
        #[must_use]
        pub fn max_connection_lifetime(mut self, lifetime: Option<Duration>) -> Self {
            self.connection.liveness.max_connection_lifetime = lifetime;
            self
        }
    };
}

pub(crate) use liveness_setters;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_outs_that_cannot_be_kept_are_refused_if_pings_are_on() {
        let seconds = Duration::from_secs;
        for (idle, reply, good) in [(10, 10, true), (10, 11, false), (0, 0, false), (10, 0, false)] {
            let mut config = LivenessConfig {
                ping_idle_timeout: seconds(idle),
                ping_reply_timeout: ReplyTimeout::Set(seconds(reply)),
                ..LivenessConfig::default()
            };
            assert!(config.check().is_ok(), "auto-ping is off");
            config.enable_auto_ping = true;
            assert_eq!(config.check().is_ok(), good, "{idle} {reply}");
        }
    }
}
