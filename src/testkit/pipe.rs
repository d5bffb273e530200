//! One direction of a simulated link.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::time::{Duration, Instant};

use crate::proto::deadline_after;

/// Bytes on their way from one end to the other.
///
/// ```text
/// write ──▶ flying ──pump──▶ arrived ──▶ read
/// ```
#[derive(Debug)]
pub(super) struct Pipe {
    /// Most bytes in `flying` and `arrived` together: the sender's and the receiver's socket buffer in one.
    pub(super) capacity: usize,
    pub(super) max_write: usize,
    pub(super) max_read: usize,
    pub(super) delay: Duration,
    pub(super) stalled: bool,
    /// What is written from here on vanishes: the reader was shown the end of the stream.
    pub(super) cut: bool,
    /// The end is a reset: the writer was closed before this direction's reader had stopped writing.
    pub(super) ends_in_reset: bool,
    flying: VecDeque<u8>,
    /// The pieces that `flying` consists of; the sum of their lengths is its length.
    segments: VecDeque<Segment>,
    arrived: VecDeque<u8>,
    end: End,
}

#[derive(Debug)]
struct Segment {
    due: Instant,
    len: usize,
}

/// Where the end of the stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Open,
    Flying(Instant),
    Arrived,
}

impl Pipe {
    pub(super) fn new() -> Self {
        Self {
            capacity: 256 * 1024,
            max_write: usize::MAX,
            max_read: usize::MAX,
            delay: Duration::ZERO,
            stalled: false,
            cut: false,
            ends_in_reset: false,
            flying: VecDeque::new(),
            segments: VecDeque::new(),
            arrived: VecDeque::new(),
            end: End::Open,
        }
    }

    pub(super) fn room(&self) -> usize {
        self.capacity.saturating_sub(self.flying.len() + self.arrived.len())
    }

    pub(super) fn in_flight(&self) -> usize {
        self.flying.len()
    }

    pub(super) fn arrived(&self) -> usize {
        self.arrived.len()
    }

    pub(super) fn is_ended(&self) -> bool {
        self.end != End::Open
    }

    /// Whether the reader can see the end, once it has read all that arrived.
    pub(super) fn has_end_arrived(&self) -> bool {
        self.end == End::Arrived
    }

    /// Takes in at most `n` bytes of `slices`. Returns how many.
    pub(super) fn push(&mut self, slices: &[IoSlice<'_>], n: usize, now: Instant) -> usize {
        let mut pushed = 0;
        for slice in slices {
            let part = &slice[..slice.len().min(n - pushed)];
            if !self.cut {
                self.flying.extend(part);
            }
            pushed += part.len();
        }
        if pushed > 0 && !self.cut {
            self.segments.push_back(Segment { due: deadline_after(now, self.delay), len: pushed });
        }
        pushed
    }

    /// The writer has ended the stream: the reader sees it behind all bytes.
    pub(super) fn finish(&mut self, now: Instant) {
        if self.end == End::Open {
            self.end = End::Flying(deadline_after(now, self.delay));
        }
    }

    /// The end is shown to the reader behind what is in flight, and the writer does not know.
    pub(super) fn cut(&mut self, now: Instant) {
        self.finish(now);
        self.cut = true;
    }

    /// Lets arrive what is due, unless the pipe is stalled. Whether the reader has something new to see.
    pub(super) fn pump(&mut self, now: Instant) -> bool {
        if self.stalled {
            return false;
        }
        let due =
            self.segments.iter().take_while(|segment| segment.due <= now).map(|segment| segment.len).sum();
        let moved = self.arrive(due) > 0;
        let ended = self.segments.is_empty() && matches!(self.end, End::Flying(due) if due <= now);
        if ended {
            self.end = End::Arrived;
        }
        moved || ended
    }

    /// Lets the next `n` bytes arrive, due or not. Returns how many there were.
    pub(super) fn arrive(&mut self, n: usize) -> usize {
        let n = n.min(self.flying.len());
        self.arrived.extend(self.flying.drain(..n));
        let mut left = n;
        while left > 0 {
            let Some(front) = self.segments.front_mut() else { break };
            let part = front.len.min(left);
            front.len -= part;
            left -= part;
            if front.len == 0 {
                self.segments.pop_front();
            }
        }
        n
    }

    /// Takes out at most `max` arrived bytes, through `take`, which may be called twice. Returns how many.
    pub(super) fn pull(&mut self, max: usize, mut take: impl FnMut(&[u8])) -> usize {
        let n = max.min(self.arrived.len());
        let (first, second) = self.arrived.as_slices();
        let split = n.min(first.len());
        take(&first[..split]);
        take(&second[..n - split]);
        self.arrived.drain(..n);
        n
    }

    /// Loses what is in flight.
    pub(super) fn lose_flying(&mut self) {
        self.flying.clear();
        self.segments.clear();
    }

    /// Loses what nobody will read.
    pub(super) fn lose_arrived(&mut self) {
        self.arrived.clear();
    }

    /// When the next bytes, or the end, arrive by themselves.
    pub(super) fn next_due(&self) -> Option<Instant> {
        if self.stalled {
            return None;
        }
        match (self.segments.front(), self.end) {
            (Some(front), _) => Some(front.due),
            (None, End::Flying(due)) => Some(due),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(pipe: &mut Pipe, bytes: &[u8], now: Instant) {
        assert_eq!(pipe.push(&[IoSlice::new(bytes)], bytes.len(), now), bytes.len());
    }

    fn read(pipe: &mut Pipe, max: usize) -> Vec<u8> {
        let mut out = Vec::new();
        pipe.pull(max, |part| out.extend_from_slice(part));
        out
    }

    #[test]
    fn bytes_arrive_in_time_and_in_order_and_the_end_last() {
        let start = Instant::now();
        let mut pipe = Pipe::new();
        pipe.delay = Duration::from_secs(1);
        write(&mut pipe, b"ab", start);
        pipe.delay = Duration::ZERO;
        write(&mut pipe, b"cd", start);
        pipe.finish(start);
        assert!(!pipe.pump(start), "later bytes do not overtake");
        assert_eq!(pipe.next_due(), Some(start + Duration::from_secs(1)));
        assert!(pipe.pump(start + Duration::from_secs(1)));
        assert!(pipe.has_end_arrived());
        assert_eq!((read(&mut pipe, 3), read(&mut pipe, 3)), (b"abc".to_vec(), b"d".to_vec()));
        assert_eq!(pipe.next_due(), None);
    }

    #[test]
    fn stalled_bytes_can_be_let_through_one_by_one() {
        let start = Instant::now();
        let mut pipe = Pipe::new();
        pipe.stalled = true;
        pipe.capacity = 4;
        write(&mut pipe, b"abc", start);
        assert_eq!((pipe.pump(start), pipe.room(), pipe.in_flight()), (false, 1, 3));
        assert_eq!(pipe.arrive(2), 2);
        assert_eq!(read(&mut pipe, 9), b"ab");
        pipe.stalled = false;
        assert!(pipe.pump(start));
        assert_eq!(read(&mut pipe, 9), b"c");
    }
}
