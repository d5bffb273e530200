//! TLS: over simulated links, on real sockets, and against peers that speak it by other means.

mod authority;
mod behaviours;
mod closing;
mod ends;
mod faults;
mod flow;
mod half_closed;
mod limits;
mod opening;
mod openssl_faults;
mod panics;
mod peers;
#[cfg(all(feature = "tls-platform-verifier", target_os = "linux"))]
mod platform;
mod proxies;
mod records;
mod redirections;
mod refusal;
mod remote;
mod sockets;
#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "shared with other test targets, each of which uses a part")]
mod support;
#[path = "../support/way.rs"]
#[allow(dead_code, reason = "shared with other test targets, each of which uses a part")]
mod way;
