use std::time::Duration;

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
