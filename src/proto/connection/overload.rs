//! A send queue that is too slow to leave.

/// The state of a queue that is, or was, too slow to leave: the kernel refuses bytes, or the queue
/// was full.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Overload {
    dropped: Drops,
    /// Of `dropped`, what was reported already.
    reported: Drops,
    ping: Option<KeptPing>,
    left_since_refusal: u64,
    overflowed: bool,
}

/// Frames and payload bytes.
type Drops = (u64, u64);

/// The newest ping that there was no room to answer, or that came while the kernel refused bytes.
#[derive(Debug, PartialEq, Eq)]
struct KeptPing {
    payload: Vec<u8>,
    /// Queued bytes that leave before the answer is queued.
    ahead: usize,
}

impl Overload {
    /// Keeps a ping to be answered later, in place of the one that was kept before. The first one
    /// that is kept is answered behind the `ahead` bytes that are queued.
    pub(super) fn keep_ping(&mut self, payload: &[u8], ahead: usize) {
        // If newer pings moved `ahead`, or the answer waited for an empty queue, a producer that
        // keeps the queue filled would hold it back for ever.
        let kept = self.ping.get_or_insert(KeptPing { payload: Vec::new(), ahead });
        kept.payload.clear();
        kept.payload.extend_from_slice(payload);
    }

    /// Forgets the ping that is kept.
    pub(super) fn forget_ping(&mut self) {
        self.ping = None;
    }

    /// Returns the length of the kept ping in bytes, if what was queued before it has left.
    pub(super) fn ping_due(&self) -> Option<usize> {
        self.ping.as_ref().filter(|ping| ping.ahead == 0).map(|ping| ping.payload.len())
    }

    /// Takes the payload of the ping that is kept.
    pub(super) fn take_ping(&mut self) -> Vec<u8> {
        self.ping.take().map(|ping| ping.payload).unwrap_or_default()
    }

    /// Notes that `n` queued bytes have left.
    pub(super) fn left(&mut self, n: usize) {
        self.left_since_refusal += n as u64;
        if let Some(ping) = &mut self.ping {
            ping.ahead = ping.ahead.saturating_sub(n);
        }
    }

    /// Notes that the kernel has begun, or ceased, to refuse bytes.
    pub(super) fn refusal_changed(&mut self) {
        self.left_since_refusal = 0;
    }

    /// Returns how many queued bytes have left since the kernel began to refuse bytes.
    pub(super) fn left_since_refusal(&self) -> u64 {
        self.left_since_refusal
    }

    /// Counts a frame that was dropped.
    pub(super) fn count_drop(&mut self, len: usize) {
        self.dropped.0 += 1;
        self.dropped.1 += len as u64;
    }

    /// Returns the frames and payload bytes that were dropped.
    pub(super) fn dropped(&self) -> Drops {
        self.dropped
    }

    /// Returns what was dropped since this was last called.
    pub(super) fn take_new_drops(&mut self) -> Drops {
        let before = std::mem::replace(&mut self.reported, self.dropped);
        (self.dropped.0 - before.0, self.dropped.1 - before.1)
    }

    /// Notes that the connection cannot go on: a dropped frame tore a message, or the rules say so.
    pub(super) fn overflow(&mut self) {
        self.overflowed = true;
    }

    pub(super) fn is_overflowed(&self) -> bool {
        self.overflowed
    }

    /// Returns `true` if there is nothing to remember.
    pub(super) fn is_unused(&self) -> bool {
        *self == Self::default()
    }
}
