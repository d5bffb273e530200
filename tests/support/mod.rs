//! What the tests on real sockets share.
//!
//! | file | what is in it |
//! |---|---|
//! | `logs` | the warnings of the test's own thread |
//! | `wire` | frames by the letter of the RFC, without the library: the naive twin of its codec |
//! | `peer` | both ends of a connection on a blocking socket, without the library |
//! | `probe` | a listener that tells what it sees |
//! | `secure` | TLS for those peers |
//! | `running` | loops on threads of their own, with a server or a client on them |
//!
//! Two more files are for the targets that name them: `way` runs a test over plain TCP and over TLS, `heap` counts what is allocated.

pub(crate) mod logs;
pub(crate) mod peer;
pub(crate) mod probe;
pub(crate) mod running;
#[cfg(feature = "tls")]
pub(crate) mod secure;
pub(crate) mod wire;

use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up on it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `condition` is true.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "never came true: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Bytes that differ from place to place and from size to size.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    let mut state = len as u32 | 1;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}
