//! Log lines that peers can trigger: at most one per second and kind.
//!
//! A line that is logged carries the number of lines that were left out before it. So a peer cannot
//! fill a disk, and other lines stay visible.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Least time between two lines of a kind.
const INTERVAL: Duration = Duration::from_secs(1);

/// The limiter of this process. It is locked only to log a failure.
static LIMITER: Limiter = Limiter(Mutex::new(Vec::new()));

/// Logs an error, unless one with the same format was logged less than a second ago.
macro_rules! error_limited {
    ($format:literal $($arguments:tt)*) => {
        log_limited!(Error, $format, $format $($arguments)*)
    };
}

/// Logs a warning, unless one with the same format was logged less than a second ago.
macro_rules! warn_limited {
    ($format:literal $($arguments:tt)*) => {
        log_limited!(Warn, $format, $format $($arguments)*)
    };
}

/// Logs a line of a kind, unless one of the same kind was logged less than a second ago.
macro_rules! log_limited {
    ($level:ident, $kind:expr, $($message:tt)+) => {
        if log::log_enabled!(log::Level::$level)
            && let Some(more) = $crate::sys::log_limit::admit($kind)
        {
            log::log!(log::Level::$level, "{}{more}", format_args!($($message)+));
        }
    };
}

/// Returns `None` if no line of this kind is to be logged now.
#[cold]
pub(crate) fn admit(kind: &'static str) -> Option<More> {
    LIMITER.admit(kind, Instant::now())
}

/// The number of lines that were left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct More(u64);

impl fmt::Display for More {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            more => write!(f, " (and {more} more like it before)"),
        }
    }
}

/// Kinds of lines. There are as many as places in this crate that log.
struct Limiter(Mutex<Vec<Kind>>);

struct Kind {
    name: &'static str,
    logged: Instant,
    left_out: u64,
}

impl Limiter {
    fn admit(&self, name: &'static str, now: Instant) -> Option<More> {
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(kind) = kinds.iter_mut().find(|kind| kind.name == name) else {
            kinds.push(Kind { name, logged: now, left_out: 0 });
            return Some(More(0));
        };
        if now.saturating_duration_since(kind.logged) < INTERVAL {
            kind.left_out += 1;
            return None;
        }
        kind.logged = now;
        Some(More(std::mem::take(&mut kind.left_out)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_per_second_and_kind_carries_the_count_of_those_left_out() {
        let limiter = Limiter(Mutex::new(Vec::new()));
        let start = Instant::now();
        let admit = |kind, millis| limiter.admit(kind, start + Duration::from_millis(millis));
        assert_eq!(admit("a", 0), Some(More(0)));
        assert_eq!([admit("a", 0), admit("a", 999)], [None, None]);
        assert_eq!(admit("b", 999), Some(More(0)));
        assert_eq!(admit("a", 1000), Some(More(2)));
        assert_eq!(admit("a", 1500), None);
        assert_eq!(admit("a", 9000), Some(More(1)));
        assert_eq!(admit("a", 10_000), Some(More(0)));
    }

    #[test]
    fn a_count_is_shown_unless_it_is_zero() {
        assert_eq!([More(0), More(7)].map(|more| more.to_string()), ["", " (and 7 more like it before)"]);
    }
}
