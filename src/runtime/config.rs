//! Configuration of a loop.

use std::time::Duration;

/// Configuration of a [`WSLoop`](crate::WSLoop).
#[derive(Clone, Debug)]
pub struct WSLoopConfig {
    pub(crate) spin: Option<Duration>,
    pub(crate) busy_poll: Option<WSBusyPoll>,
    pub(crate) read_buffer_size: usize,
    pub(super) retained_memory: usize,
    pub(super) events_per_turn: usize,
    pub(crate) reads_per_turn: usize,
    pub(super) inbox_limit: usize,
    /// `None`: not set, so that a server's preset may set it.
    pub(crate) outbound_budget: Option<usize>,
    pub(crate) budget_policy: WSBudgetPolicy,
    pub(crate) measure_callbacks: bool,
    pub(crate) slow_callback: Option<Duration>,
    #[cfg(feature = "tls")]
    pub(crate) tls_handshakes_per_turn: usize,
}

impl Default for WSLoopConfig {
    fn default() -> Self {
        Self {
            spin: None,
            busy_poll: None,
            read_buffer_size: 256 * 1024,
            retained_memory: 8 << 20,
            events_per_turn: 1024,
            reads_per_turn: 4,
            inbox_limit: 64 << 20,
            outbound_budget: None,
            budget_policy: WSBudgetPolicy::default(),
            measure_callbacks: false,
            slow_callback: cfg!(debug_assertions).then_some(Duration::from_millis(100)),
            #[cfg(feature = "tls")]
            tls_handshakes_per_turn: 4,
        }
    }
}

impl WSLoopConfig {
    /// Polls without blocking for this long after the last event before going to sleep. `None`: sleeps
    /// at once. Default `None`.
    ///
    /// A spinning loop pays no wake-up, at the price of a busy core. `Duration::MAX` never sleeps.
    #[must_use]
    pub fn spin(mut self, duration: Option<Duration>) -> Self {
        self.spin = duration;
        self
    }

    /// Sets how the kernel polls network cards for a loop that waits for events, in place of
    /// sleeping until an interrupt (Linux 6.9, `EPIOCSPARAMS` on the loop's epoll instance). Saves
    /// the latency of the interrupt, at the price of CPU time. Default `None`: as the system is set
    /// up (`net.core.busy_poll`).
    ///
    /// The kernel polls one queue of one card per loop, that of the socket on which it last
    /// reported an event: it works best if the connections of a loop come from one queue
    /// (`SO_INCOMING_NAPI_ID`). The loopback interface has no queue. On older kernels and on other
    /// systems it has no effect, which is logged at debug.
    #[must_use]
    pub fn busy_poll(mut self, busy_poll: impl Into<Option<WSBusyPoll>>) -> Self {
        self.busy_poll = busy_poll.into();
        self
    }

    /// Size of the loop's one receive buffer, in bytes; at least 4 KiB. Default 256 KiB.
    ///
    /// A larger one makes fewer system calls under load and falls out of the cache sooner.
    #[must_use]
    pub fn read_buffer_size(mut self, bytes: usize) -> Self {
        self.read_buffer_size = bytes.max(4096);
        self
    }

    /// Most memory that the loop keeps for reuse once connections gave it back, in bytes. Default 8 MiB.
    #[must_use]
    pub fn retained_memory(mut self, bytes: usize) -> Self {
        self.retained_memory = bytes;
        self
    }

    /// Most readiness events taken from the kernel per turn; at least 1. Default 1024.
    #[must_use]
    pub fn events_per_turn(mut self, events: usize) -> Self {
        self.events_per_turn = events.max(1);
        self
    }

    /// Most reads of one connection per turn, so that one busy peer cannot starve the others; at least 1. Default 4.
    #[must_use]
    pub fn reads_per_turn(mut self, reads: usize) -> Self {
        self.reads_per_turn = reads.max(1);
        self
    }

    /// Sets the most memory, in bytes, for requests from other threads that the loop has not
    /// carried out. Default 64 MiB. A further request fails with
    /// [`WSRemoteError::InboxFull`](crate::WSRemoteError::InboxFull).
    ///
    /// Each request counts with its entry in the queue (less than 100 bytes), with its payload or
    /// the captures of a posted closure, and with 32 bytes for the allocation of these. A payload
    /// that several requests share counts in each of them. Memory that a closure only points to is
    /// not counted.
    ///
    /// CLOSE, disconnect, sockets to adopt, new settings of TLS and the end of accepting count, but
    /// are never refused: sockets are bounded by the process's descriptors, and of the others one
    /// of a kind is queued per connection or server. Waking a task,
    /// [`stop`](crate::WSLoopRemote::stop) and [`shutdown`](crate::WSServerThreads::shutdown) need
    /// no room.
    #[must_use]
    pub fn inbox_limit(mut self, bytes: usize) -> Self {
        self.inbox_limit = bytes;
        self
    }

    /// Bounds the bytes that may wait on all connections together because their kernels refuse
    /// them; `usize::MAX` for no limit. Default no limit, and 64 MiB from the moment that a server
    /// with [`WSServerConfig::public`](crate::WSServerConfig::public) starts on the loop.
    ///
    /// [`max_outbound`](crate::WSLimits::max_outbound) bounds one slow connection; this bounds what many
    /// of them cost. A value set here takes precedence over that of a server.
    #[must_use]
    pub fn outbound_budget(mut self, bytes: usize) -> Self {
        self.outbound_budget = Some(bytes);
        self
    }

    /// What happens beyond [`outbound_budget`](Self::outbound_budget). Default: the slowest connections are closed.
    #[must_use]
    pub fn budget_policy(mut self, policy: WSBudgetPolicy) -> Self {
        self.budget_policy = policy;
        self
    }

    /// Measures the longest callback and the lag of the loop for [`WSMetrics`](crate::WSMetrics),
    /// which has `None` for them otherwise. It costs two readings of the clock per callback and one
    /// per iteration. Default false.
    #[must_use]
    pub fn measure_callbacks(mut self, on: bool) -> Self {
        self.measure_callbacks = on;
        self
    }

    /// Logs a warning with the id of the connection when a callback of a listener takes this long in
    /// real time, since all other connections of the loop wait meanwhile; at most one per connection
    /// and minute, and one per second in all. Default: 100 ms in builds with debug assertions, `None`
    /// (off) in others.
    ///
    /// It costs two readings of the clock per callback; off, nothing. Tasks are not watched.
    #[must_use]
    pub fn slow_callback(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.slow_callback = limit.into();
        self
    }

    /// Most TLS handshakes that servers of this loop answer in one turn; at least 1. Each costs this thread a signature, some tens
    /// to hundreds of microseconds, in which open connections wait; further ones wait for the next turn instead. Default 4.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls_handshakes_per_turn(mut self, handshakes: usize) -> Self {
        self.tls_handshakes_per_turn = handshakes.max(1);
        self
    }
}

/// Polling of network cards by a loop that waits for events, for
/// [`WSLoopConfig::busy_poll`](crate::WSLoopConfig::busy_poll).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WSBusyPoll {
    pub(crate) duration: Duration,
    pub(crate) budget: u16,
    pub(crate) prefer: bool,
}

impl WSBusyPoll {
    /// Polls for at most this long before each sleep, in microseconds, rounded up. Zero: does not
    /// poll, but passes on the other settings.
    pub fn new(duration: Duration) -> Self {
        Self { duration, budget: 0, prefer: false }
    }

    /// Sets the most packets taken from a card at once. Default 0, the kernel's own number, 8. More
    /// than 64 takes `CAP_NET_ADMIN`.
    #[must_use]
    pub fn budget(mut self, packets: u16) -> Self {
        self.budget = packets;
        self
    }

    /// Sets whether the interrupts of a card stay masked while the loop comes back in time. Needs
    /// `napi_defer_hard_irqs` and `gro_flush_timeout` on the card's interface. Default false.
    #[must_use]
    pub fn prefer(mut self, on: bool) -> Self {
        self.prefer = on;
        self
    }

    /// Returns the duration as the kernel takes it: at most `i32::MAX` microseconds.
    pub(crate) fn micros(&self) -> u32 {
        let micros = self.duration.as_nanos().div_ceil(1000);
        micros.min(i32::MAX.cast_unsigned().into()) as u32
    }
}

/// What happens when more bytes wait on a loop than [`outbound_budget`](crate::WSLoopConfig::outbound_budget) allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum WSBudgetPolicy {
    /// The connection on which most bytes wait is aborted, then the next, until the rest is within the budget: who reads slowest pays,
    /// whoever is sent to.
    #[default]
    CloseSlowest,
    /// The connection that was sent to is aborted.
    Close,
    /// Frames for connections whose kernel refuses bytes are dropped and counted, as with
    /// [`WSOverflowPolicy::DropNew`](crate::WSOverflowPolicy::DropNew); control frames are sent all the same. Frames that a dispatch has
    /// gathered before the kernel refused them stay, so the budget may be exceeded by that much.
    DropNew,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_rounded_up_and_bounded() {
        let micros = |duration| WSBusyPoll::new(duration).micros();
        assert_eq!(micros(Duration::ZERO), 0);
        assert_eq!(micros(Duration::from_nanos(1)), 1);
        assert_eq!(micros(Duration::from_micros(50)), 50);
        assert_eq!(micros(Duration::MAX), i32::MAX.cast_unsigned());
    }
}
