//! The loop: the only user of mio.
//!
//! | file | what is in it |
//! |---|---|
//! | `run` | the turn: poll, dispatch, sleep, spin |
//! | `core` | what a turn works on; the end of a dispatch (deferred callbacks, tasks, flush) |
//! | `deferred` | user code that runs later |
//! | `slots`, `timers`, `tasks`, `inbox` | its parts |
//! | `accept`, `listening`, `admission`, `server_opening` | from a listening socket to an open connection |
//! | `resolve`, `lookups`, `client_opening`, `tunnelling` | from a name to an open connection |
//! | `connection`, `receiving`, `callbacks`, `sending`, `ending` | an open connection |
//! | `budget` | what may wait on all connections together |
//! | `liveness`, `roundtrip` | pings, idle time-outs, lifetimes; how long a ping takes |
//! | `timed` | how long callbacks take |
//! | `stream`, `tls_stream` | what carries the bytes |
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
mod listening;
mod liveness;
mod looking_ahead;
mod lookups;
mod receiving;
mod remote;
mod resolve;
mod roundtrip;
mod run;
mod sending;
mod server_opening;
mod slots;
mod stream;
mod tasks;
mod timed;
mod timers;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "tls")]
mod tls_stream;
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
pub(crate) use listening::{Listening, cannot_listen};
pub use remote::{WSLoopRemote, WSRemote};
pub(crate) use resolve::resolve;
pub use resolve::{WSResolver, WSResolving};
pub(crate) use roundtrip::measure_roundtrip_time;
pub use run::WSLoop;
#[cfg(any(test, feature = "testkit"))]
pub(crate) use server_opening::ServerOpening;
#[cfg(any(test, feature = "testkit"))]
pub(crate) use slots::Token;
pub(crate) use stream::Stream;
pub use tasks::WSTask;
