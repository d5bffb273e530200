//! What a loop counts.

use std::fmt;
use std::iter::Sum;
use std::ops::AddAssign;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::proto::WSCloseCode;

/// Codes that are counted by themselves: 1000 to 1015.
const SINGLE_CODES: usize = 16;
/// Behind them the two open ranges, and whatever else there is.
const CODE_PLACES: usize = SINGLE_CODES + 3;

/// The counters of one loop. Any thread may read them at any time; see [`WSLoopHandle::metrics`](crate::WSLoopHandle::metrics).
///
/// Only the loop's own thread writes, with plain stores: counting costs no locked instruction, and nothing per frame but one addition.
/// A [`snapshot`](Self::snapshot) is not taken at one instant: one of its numbers may be a little newer than another.
// The alignment keeps what the loop writes apart from what other threads write next to it.
#[derive(Default)]
#[repr(align(128))]
pub struct WSMetrics {
    accepted: Counter,
    opened: Counter,
    closed: Counter,
    frames_received: Counter,
    bytes_received: Counter,
    frames_sent: Counter,
    bytes_sent: Counter,
    frames_dropped: Counter,
    bytes_dropped: Counter,
    handshake_failures: [Counter; WSHandshakeFailure::COUNT],
    close_codes: [Counter; CODE_PLACES],
    /// As [`measured`] makes it, like the two below.
    longest_callback: Counter,
    loop_lag: Counter,
    longest_loop_lag: Counter,
}

/// Why an opening handshake came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WSHandshakeFailure {
    /// It took longer than `handshake_timeout`.
    Timeout,
    /// The peer's half of it was not acceptable.
    Invalid,
    /// The server did not want the connection, or answered plain HTTP.
    Refused,
    /// The listener's factory failed.
    Internal,
    /// The peer went away, or TCP failed.
    Io,
    /// TLS failed: a certificate that is not trusted, or bytes that are not TLS.
    Tls,
}

impl WSHandshakeFailure {
    const COUNT: usize = 6;

    /// Every kind.
    pub const ALL: [Self; Self::COUNT] =
        [Self::Timeout, Self::Invalid, Self::Refused, Self::Internal, Self::Io, Self::Tls];
}

/// The counters of a loop at some time. All of them count from the beginning of the loop.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WSMetricsSnapshot {
    /// Connections that servers accepted, whatever became of their opening handshake.
    pub connections_accepted: u64,
    /// Connections whose opening handshake was done, of servers and clients.
    pub connections_opened: u64,
    /// Of these, those that have ended.
    pub connections_closed: u64,
    /// Frames that arrived, control frames included; counted when those that arrived together have been delivered.
    pub frames_received: u64,
    /// Bytes that were read from open connections.
    pub bytes_received: u64,
    /// Frames that were accepted for sending, control frames included; counted when the kernel takes bytes of what they wait in.
    pub frames_sent: u64,
    /// Bytes that the kernel took, including the response to the opening handshake.
    pub bytes_sent: u64,
    /// Frames that were dropped because [`max_outbound`](crate::WSLimits::max_outbound) was reached.
    pub frames_dropped: u64,
    /// Their payload bytes.
    pub bytes_dropped: u64,
    /// The longest time that a callback of a listener took. `None` if none was measured, as for
    /// the two below: [`measure_callbacks`](crate::WSLoopConfig::measure_callbacks) is off, or
    /// there was no callback yet.
    pub longest_callback: Option<Duration>,
    /// The time that the last iteration of the loop took: events behind its beginning waited for
    /// its end.
    pub loop_lag: Option<Duration>,
    /// The longest time that an iteration took.
    pub longest_loop_lag: Option<Duration>,
    handshake_failures: [u64; WSHandshakeFailure::COUNT],
    close_codes: [u64; CODE_PLACES],
}

/// What waits on a loop, and what its budget cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WSOutbound {
    /// Bytes that kernels have refused and that wait, over all connections. Zero without a budget: nothing is counted then.
    pub waiting: usize,
    /// Connections aborted so far.
    pub aborted: u64,
    /// Frames dropped so far.
    pub dropped: u64,
}

impl WSMetricsSnapshot {
    /// Connections that are open.
    pub fn connections_open(&self) -> u64 {
        self.connections_opened.saturating_sub(self.connections_closed)
    }

    /// Opening handshakes that failed in this way.
    pub fn handshake_failures(&self, kind: WSHandshakeFailure) -> u64 {
        self.handshake_failures[kind as usize]
    }

    /// Connections that ended with this code, as [`WSDisconnectInfo::code`](crate::WSDisconnectInfo::code) tells it: 1006 without any CLOSE.
    ///
    /// 1000 to 1015 are counted each; 3000 to 3999, and 4000 to 4999, together; and so are all others.
    pub fn closed_with(&self, code: WSCloseCode) -> u64 {
        self.close_codes[code_place(code)]
    }

    /// Adds the counters of another loop; of times, the longer counts.
    pub fn merge(&mut self, other: &Self) {
        let counters = [
            (&mut self.connections_accepted, other.connections_accepted),
            (&mut self.connections_opened, other.connections_opened),
            (&mut self.connections_closed, other.connections_closed),
            (&mut self.frames_received, other.frames_received),
            (&mut self.bytes_received, other.bytes_received),
            (&mut self.frames_sent, other.frames_sent),
            (&mut self.bytes_sent, other.bytes_sent),
            (&mut self.frames_dropped, other.frames_dropped),
            (&mut self.bytes_dropped, other.bytes_dropped),
        ];
        let failures = self.handshake_failures.iter_mut().zip(other.handshake_failures);
        let codes = self.close_codes.iter_mut().zip(other.close_codes);
        for (sum, more) in counters.into_iter().chain(failures).chain(codes) {
            *sum += more;
        }
        self.longest_callback = self.longest_callback.max(other.longest_callback);
        self.loop_lag = self.loop_lag.max(other.loop_lag);
        self.longest_loop_lag = self.longest_loop_lag.max(other.longest_loop_lag);
    }
}

/// [`merge`](WSMetricsSnapshot::merge).
impl AddAssign<&Self> for WSMetricsSnapshot {
    fn add_assign(&mut self, other: &Self) {
        self.merge(other);
    }
}

/// Merges the snapshots of several loops.
impl Sum for WSMetricsSnapshot {
    fn sum<I: Iterator<Item = Self>>(snapshots: I) -> Self {
        snapshots.fold(Self::default(), |mut sum, snapshot| {
            sum += &snapshot;
            sum
        })
    }
}

impl WSMetrics {
    /// The counters as they are now.
    pub fn snapshot(&self) -> WSMetricsSnapshot {
        WSMetricsSnapshot {
            connections_accepted: self.accepted.get(),
            connections_opened: self.opened.get(),
            connections_closed: self.closed.get(),
            frames_received: self.frames_received.get(),
            bytes_received: self.bytes_received.get(),
            frames_sent: self.frames_sent.get(),
            bytes_sent: self.bytes_sent.get(),
            frames_dropped: self.frames_dropped.get(),
            bytes_dropped: self.bytes_dropped.get(),
            longest_callback: self.longest_callback.time(),
            loop_lag: self.loop_lag.time(),
            longest_loop_lag: self.longest_loop_lag.time(),
            handshake_failures: self.handshake_failures.each_ref().map(Counter::get),
            close_codes: self.close_codes.each_ref().map(Counter::get),
        }
    }

    pub(crate) fn accepted(&self) {
        self.accepted.add(1);
    }

    pub(crate) fn opened(&self) {
        self.opened.add(1);
    }

    pub(crate) fn closed(&self, code: WSCloseCode) {
        self.closed.add(1);
        self.close_codes[code_place(code)].add(1);
    }

    pub(crate) fn handshake_failed(&self, kind: WSHandshakeFailure) {
        self.handshake_failures[kind as usize].add(1);
    }

    #[inline]
    pub(crate) fn bytes_received(&self, bytes: usize) {
        self.bytes_received.add(bytes as u64);
    }

    /// How many frames were received since the beginning.
    #[inline]
    pub(super) fn frames_received(&self, frames: u64) {
        self.frames_received.set(frames);
    }

    #[inline]
    pub(crate) fn sent(&self, frames: u32, bytes: usize) {
        self.frames_sent.add(frames.into());
        self.bytes_sent.add(bytes as u64);
    }

    pub(crate) fn dropped(&self, frames: u64, bytes: u64) {
        self.frames_dropped.add(frames);
        self.bytes_dropped.add(bytes);
    }

    pub(crate) fn callback_took(&self, time: Duration) {
        self.longest_callback.raise(measured(time));
    }

    pub(super) fn turn_took(&self, time: Duration) {
        self.loop_lag.set(measured(time));
        self.longest_loop_lag.raise(measured(time));
    }
}

impl fmt::Debug for WSMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.snapshot().fmt(f)
    }
}

/// A number that one thread writes and any may read.
#[derive(Default)]
struct Counter(AtomicU64);

impl Counter {
    #[inline]
    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    #[inline]
    fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    #[inline]
    fn add(&self, more: u64) {
        self.set(self.get().wrapping_add(more));
    }

    /// Returns the time that [`measured`] made a number of; `None` if there was none.
    fn time(&self) -> Option<Duration> {
        self.get().checked_sub(1).map(Duration::from_nanos)
    }

    fn raise(&self, value: u64) {
        if value > self.get() {
            self.set(value);
        }
    }
}

/// Makes a number of a time: nanoseconds and one more, as 0 stands for no measurement.
fn measured(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).saturating_add(1)
}

fn code_place(code: WSCloseCode) -> usize {
    match code.0 {
        1000..=1015 => usize::from(code.0 - 1000),
        3000..=3999 => SINGLE_CODES,
        4000..=4999 => SINGLE_CODES + 1,
        _ => SINGLE_CODES + 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_counted_each_or_by_range() {
        let metrics = WSMetrics::default();
        for code in [1000, 1006, 1006, 1015, 3000, 3999, 4000, 999, 5000] {
            metrics.closed(WSCloseCode(code));
        }
        let snapshot = metrics.snapshot();
        let counts =
            [1000, 1001, 1006, 1015, 3500, 4999, 0].map(|code| snapshot.closed_with(WSCloseCode(code)));
        assert_eq!(counts, [1, 0, 2, 1, 2, 1, 2]);
        assert_eq!(snapshot.connections_closed, 9);
    }

    #[test]
    fn loops_add_up() {
        let (one, two) = (WSMetrics::default(), WSMetrics::default());
        for (metrics, n) in [(&one, 1), (&two, 10)] {
            metrics.opened();
            metrics.accepted();
            metrics.closed(WSCloseCode(1000));
            metrics.frames_received(n);
            metrics.bytes_received(n as usize);
            metrics.sent(n as u32, n as usize);
            metrics.dropped(n, 2 * n);
            for kind in WSHandshakeFailure::ALL {
                metrics.handshake_failed(kind);
            }
            metrics.turn_took(Duration::from_secs(n));
            metrics.callback_took(Duration::from_secs(20 - n));
        }
        two.turn_took(Duration::from_secs(2));
        let mut sum = one.snapshot();
        sum += &two.snapshot();
        assert_eq!([&one, &two].map(WSMetrics::snapshot).into_iter().sum::<WSMetricsSnapshot>(), sum);
        assert_eq!((sum.connections_accepted, sum.connections_opened, sum.connections_closed), (2, 2, 2));
        assert_eq!(
            (sum.frames_received, sum.bytes_received, sum.frames_sent, sum.bytes_sent),
            (11, 11, 11, 11)
        );
        assert_eq!((sum.frames_dropped, sum.bytes_dropped), (11, 22));
        assert_eq!(
            WSHandshakeFailure::ALL.map(|kind| sum.handshake_failures(kind)),
            [2; WSHandshakeFailure::COUNT]
        );
        assert_eq!((sum.closed_with(WSCloseCode(1000)), sum.connections_open()), (2, 0));
        let times = [sum.longest_callback, sum.loop_lag, sum.longest_loop_lag];
        assert_eq!(times, [19, 2, 10].map(|seconds| Some(Duration::from_secs(seconds))));
    }

    #[test]
    fn times_are_none_until_one_was_measured() {
        let metrics = WSMetrics::default();
        let times = |seen: WSMetricsSnapshot| [seen.longest_callback, seen.loop_lag, seen.longest_loop_lag];
        assert_eq!(times(metrics.snapshot()), [None; 3]);
        metrics.callback_took(Duration::ZERO);
        metrics.turn_took(Duration::ZERO);
        assert_eq!(times(metrics.snapshot()), [Some(Duration::ZERO); 3]);
        let mut sum = WSMetricsSnapshot::default();
        sum.merge(&metrics.snapshot());
        assert_eq!(times(sum), [Some(Duration::ZERO); 3]);
    }
}
