//! The loop, and what is on it.
//!
//! | file | what is in it |
//! |---|---|
//! | `run` | the turn: poll, dispatch, sleep, spin |
//! | `core` | what a turn works on; the end of a dispatch (deferred callbacks, tasks, flush) |
//! | `deferred` | user code that runs later |
//! | `slots`, `timers`, `tasks`, `inbox` | its parts |
//! | `accept`, `admission`, `server_opening` | from a listening socket to an open connection |
//! | `client_opening`, `tunnelling` | from an address to an open connection |
//! | `connection`, `receiving`, `callbacks`, `sending`, `ending` | an open connection |
//! | `budget` | what may wait on all connections together |
//! | `liveness`, `roundtrip` | pings, idle time-outs, lifetimes; how long a ping takes |
//! | `timed` | how long callbacks take |
//! | `tls` | where TLS begins: on an accepted stream, on a connected one |
//! | `handle`, `remote` | what the application holds |

mod accept;
mod admission;
mod budget;
mod callbacks;
mod client_opening;
#[cfg(feature = "deflate")]
mod compressors;
mod connection;
mod core;
mod deferred;
#[cfg(feature = "deflate")]
mod deflate;
mod ending;
mod handle;
mod holding;
mod inbox;
mod liveness;
mod looking_ahead;
mod receiving;
mod remote;
mod roundtrip;
mod run;
mod sending;
mod server_opening;
mod slots;
mod tasks;
mod timed;
mod timers;
#[cfg(feature = "tls")]
mod tls;
mod tunnelling;
mod write_timeout;

pub(crate) use accept::{Acceptor, AcceptorRemote, Factory};
pub(crate) use client_opening::{ClientOpening, OpenRequest};
pub(crate) use connection::{Conn, Settings};
pub(crate) use core::random;
#[cfg(any(test, feature = "testkit"))]
pub(crate) use core::{LoopCore, Readiness};
pub(crate) use deferred::QueueOwner;
#[cfg(feature = "deflate")]
pub(crate) use deflate::Inflated;
pub use handle::{WSLoopHandle, WSSleep, WSTimer};
pub use inbox::WSRemoteError;
pub use remote::{WSLoopRemote, WSRemote};
pub(crate) use roundtrip::measure_roundtrip_time;
pub use run::WSLoop;
#[cfg(any(test, feature = "testkit"))]
pub(crate) use server_opening::ServerOpening;
#[cfg(any(test, feature = "testkit"))]
pub(crate) use slots::Token;
pub use tasks::WSTask;
