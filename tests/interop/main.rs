//! The library against independent implementations, in both roles; README.md beside this file describes them.
//!
//! A peer that is not installed is skipped, unless `FEMTOWS_INTEROP=require` is set.

#[cfg(feature = "tls")]
#[path = "../tls/authority.rs"]
#[allow(dead_code, reason = "shared with the tests of TLS, which use all of it")]
mod authority;
mod client;
mod daemons;
#[cfg(feature = "deflate")]
mod deflate;
mod peers;
mod proxies;
mod server;
#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "shared with other test targets, each of which uses a part")]
mod support;
mod system_proxies;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "tls")]
mod tls_faults;

/// Which of the two ways to receive is tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Api {
    Frames,
    Messages,
}

/// The largest message that the peers send.
const LARGEST: usize = 16 << 20;

/// What both ends of the library allow here.
fn limits() -> femtows::WSLimits {
    femtows::WSLimits::default().max_frame_size(LARGEST).max_message_size(LARGEST).max_outbound(8 * LARGEST)
}
