//! Deadlines that never overflow the clock.

use std::time::{Duration, Instant};

/// Stands for a duration that leads beyond the last time of the clock.
const NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// Returns the time `duration` after `now`, or in a hundred years if the clock has no such time.
///
/// For every duration that a user chooses: `+` panics with [`Duration::MAX`].
pub(crate) fn deadline_after(now: Instant, duration: Duration) -> Instant {
    now.checked_add(duration).unwrap_or_else(|| now + NEVER)
}
