//! Both ends of the library on real sockets, against peers that know nothing of it.

#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "shared with other test targets, each of which uses a part")]
mod support;

mod admission;
mod adoption;
mod asking;
mod awaited;
mod backlog;
mod backpressure;
mod callbacks;
mod client_opening;
mod closing;
mod connecting;
mod deferred;
mod echo;
mod ending;
mod faults;
mod listening;
mod loops;
mod measuring;
mod messages;
mod options;
mod origins;
mod proxies;
mod reading;
mod redirects;
mod remotes;
mod resolving;
mod sending;
mod server_opening;
mod shutdown;
mod taking_over;
mod threads;
mod values;
mod websockets;
