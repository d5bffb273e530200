//! What a seed decides before its schedule begins.

use std::time::Duration;

use femtows::testkit::{LinkDirection, Random, SimLink};
use femtows::*;

use crate::model::MAX_PAYLOAD;

/// Longest answer that a server sends to an opening request here, in bytes.
const MAX_HEAD: usize = 256;

/// Control frames may use this much beyond the outbound limit, a CLOSE frame the rest.
const CONTROL_RESERVE: usize = 1024 + 131;

/// How one end is configured.
#[derive(Clone, Debug)]
pub(crate) struct EndPlan {
    pub(crate) auto_pong: bool,
    pub(crate) auto_close: bool,
    pub(crate) messages: bool,
    pub(crate) fragments: bool,
    pub(crate) max_len: usize,
    pub(crate) answers_close: bool,
    disconnect_on_error: bool,
    validate_utf8: bool,
    max_outbound: usize,
    policy: WSOverflowPolicy,
    strategy: WSWriteStrategy,
    no_copy_threshold: usize,
    pub(crate) watermarks: (usize, usize),
    close_timeout: Duration,
    handshake_timeout: Duration,
    /// A server holds data behind a backlog. If the client did so, too, they could wait for each
    /// other.
    pub(crate) pause_on_backlog: bool,
}

impl EndPlan {
    pub(crate) fn new(random: &mut Random, gentle: bool, max_len: usize) -> Self {
        let max_outbound = random.pick(&[300, 2000, 20_000, 1 << 20, 16 << 20]);
        let close_timeout = if gentle { 10_000 } else { random.pick(&[1, 100, 1000, 10_000]) };
        let policy =
            if gentle || random.chance(50) { WSOverflowPolicy::DropNew } else { WSOverflowPolicy::Close };
        Self {
            auto_pong: random.chance(75),
            auto_close: random.chance(75),
            messages: random.chance(40),
            // A fragment that does not fit ends the connection.
            fragments: !gentle || max_outbound == 16 << 20,
            max_len,
            answers_close: gentle || random.chance(80),
            disconnect_on_error: random.chance(70),
            validate_utf8: random.chance(30),
            max_outbound,
            policy,
            strategy: random.pick(&[WSWriteStrategy::Cork, WSWriteStrategy::Immediate]),
            no_copy_threshold: random.pick(&[0, 64, 1000, 16 * 1024]),
            watermarks: random.pick(&[(0, 0), (0, 100), (100, 1000), (16 * 1024, 64 * 1024)]),
            close_timeout: Duration::from_millis(close_timeout),
            handshake_timeout: Duration::from_secs(5),
            pause_on_backlog: random.chance(50),
        }
    }

    /// Most bytes that may ever wait.
    pub(crate) fn outbound_bound(&self) -> usize {
        self.max_outbound.max(MAX_HEAD) + CONTROL_RESERVE
    }

    fn limits(&self) -> WSLimits {
        WSLimits::default().max_outbound(self.max_outbound).overflow_policy(self.policy)
    }

    fn tuning(&self) -> WSTuning {
        let (low, high) = self.watermarks;
        WSTuning::default()
            .write_strategy(self.strategy)
            .no_copy_threshold(self.no_copy_threshold)
            .write_watermarks(low, high)
    }

    pub(crate) fn server_config(&self) -> WSServerConfig {
        WSServerConfig::default()
            .limits(self.limits())
            .tuning(self.tuning())
            .pause_reading_on_backlog(self.pause_on_backlog)
            .handshake_timeout(Some(self.handshake_timeout))
            .close_timeout(self.close_timeout)
            .disconnect_on_error(self.disconnect_on_error)
            .enable_auto_pong(self.auto_pong)
            .enable_auto_close(self.auto_close)
            .validate_utf8(self.validate_utf8)
    }

    pub(crate) fn connect_config(&self) -> WSConnectConfig {
        WSConnectConfig::default()
            .limits(self.limits())
            .tuning(self.tuning())
            .handshake_timeout(Some(self.handshake_timeout))
            .close_timeout(self.close_timeout)
            .disconnect_on_error(self.disconnect_on_error)
            .enable_auto_pong(self.auto_pong)
            .enable_auto_close(self.auto_close)
            .validate_utf8(self.validate_utf8)
    }
}

pub(crate) fn loop_config(random: &mut Random) -> WSLoopConfig {
    WSLoopConfig::default()
        .read_buffer_size(random.pick(&[4096, 4096, 5000, 64 * 1024]))
        .reads_per_turn(random.pick(&[1, 2, 4]))
        .retained_memory(random.pick(&[0, 10_000, 8 << 20]))
}

/// How a link treats its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LinkPlan {
    capacity: [usize; 2],
    max_write: [usize; 2],
    max_read: [usize; 2],
    delay: Duration,
    late_arrivals: usize,
}

impl LinkPlan {
    pub(crate) fn new(random: &mut Random, gentle: bool) -> Self {
        let capacities = [1, 7, 100, 3000, 70_000, 1 << 20, 1 << 20];
        let limits = [1, 3, 100, 5000, usize::MAX, usize::MAX];
        let delays = if gentle { &[0, 0, 1, 10][..] } else { &[0, 0, 1, 10, 900, 2500][..] };
        Self {
            capacity: [random.pick(&capacities), random.pick(&capacities)],
            max_write: [random.pick(&limits), random.pick(&limits)],
            max_read: [random.pick(&limits), random.pick(&limits)],
            delay: Duration::from_millis(random.pick(delays)),
            late_arrivals: random.pick(&[0, 20]),
        }
    }

    /// Payloads beyond this would make the schedule all of one frame.
    pub(crate) fn max_len(&self) -> usize {
        let narrowest = self.capacity.iter().chain(&self.max_write).chain(&self.max_read).min();
        narrowest.copied().unwrap_or(usize::MAX).saturating_mul(100).min(MAX_PAYLOAD)
    }

    pub(crate) fn apply(&self, link: &SimLink) {
        link.late_arrivals(self.late_arrivals);
        let set = |direction: &LinkDirection, i: usize| {
            direction.capacity(self.capacity[i]).max_write(self.max_write[i]).max_read(self.max_read[i]);
            direction.delay(self.delay);
        };
        set(&link.to_server(), 0);
        set(&link.to_client(), 1);
    }
}
