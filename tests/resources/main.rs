//! What the library does with memory, descriptors, CPU time and signals.
//!
//! All of it belongs to the whole process, so each test here has the process for itself.

mod allocations;
#[cfg(feature = "tls")]
#[path = "../tls/authority.rs"]
#[allow(dead_code, reason = "shared with the tests of TLS, which use all of it")]
mod authority;
#[cfg(target_os = "linux")]
mod busy_poll;
mod churn;
mod descriptors;
#[path = "../support/heap.rs"]
#[allow(dead_code, reason = "shared with another test target, which uses the rest")]
mod heap;
mod inbox;
#[cfg(all(target_os = "linux", target_endian = "little"))]
mod refusals;
mod signals;
#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "shared with other test targets, each of which uses a part")]
mod support;
#[path = "../support/way.rs"]
#[allow(dead_code, reason = "shared with another test target, which uses all of it")]
mod way;

use std::sync::{Mutex, MutexGuard, PoisonError};

static PROCESS: Mutex<()> = Mutex::new(());

/// The process, until this is dropped.
fn own_process() -> MutexGuard<'static, ()> {
    PROCESS.lock().unwrap_or_else(PoisonError::into_inner)
}
