//! When the bytes that are being delivered arrived.
//!
//! It is the thread's and not the frame's: only connections that ask for timestamps are to pay for them, and a frame is made for each
//! delivery. The loop sets it for a delivery and clears it after.

use std::cell::Cell;
use std::time::SystemTime;

thread_local! {
    static RECEIVED_AT: Cell<Option<SystemTime>> = const { Cell::new(None) };
}

pub(crate) fn get() -> Option<SystemTime> {
    RECEIVED_AT.get()
}

/// Makes the frames on this thread tell another time; returns what they told before.
pub(crate) fn replace(at: Option<SystemTime>) -> Option<SystemTime> {
    RECEIVED_AT.replace(at)
}
