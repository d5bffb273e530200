//! Peers that mean harm, on real sockets, over TCP and over TLS: each comes to a clear end, or costs no more than it should, and the
//! other connections of the loop go on.
//!
//! Memory belongs to the whole process, so each test here has the process for itself.

#[cfg(feature = "tls")]
#[path = "../tls/authority.rs"]
#[allow(dead_code, reason = "shared with the tests of TLS, which use all of it")]
mod authority;
mod ends;
mod floods;
mod frames;
#[path = "../support/heap.rs"]
#[allow(dead_code, reason = "shared with another test target, which uses all of it")]
mod heap;
mod openings;
mod proxies;
#[cfg(feature = "tls")]
mod records;
mod scene;
#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "shared with other test targets, each of which uses a part")]
mod support;
#[path = "../support/way.rs"]
#[allow(dead_code, reason = "shared with another test target, which uses the rest")]
mod way;

use std::sync::{Mutex, MutexGuard, PoisonError};

static PROCESS: Mutex<()> = Mutex::new(());

/// The process, until this is dropped.
fn own_process() -> MutexGuard<'static, ()> {
    PROCESS.lock().unwrap_or_else(PoisonError::into_inner)
}
