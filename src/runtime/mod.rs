//! The event loop: the only user of mio's poll.
//!
//! It depends on what lives in its slots by one trait, [`Source`], and on what upper layers keep per
//! loop by another, [`PerLoop`]. It imports nothing of servers, clients, connections and messages.
//!
//! | file | content |
//! |---|---|
//! | `run` | the iteration: poll, dispatch, sleep, spin |
//! | `core` | the state of the loop; the end of a dispatch (deferred callbacks, tasks, `drive`) |
//! | `source` | the interface of what lives in a slot |
//! | `per_loop` | state of upper layers, one of each type per loop |
//! | `any_map` | values of the application, one of each type |
//! | `deferred` | calls that run later |
//! | `buffers` | the receive buffer of the loop, the pool |
//! | `slots`, `timers`, `tasks`, `inbox` | the parts of the loop |
//! | `handle`, `remote` | what the application holds |
//! | `config`, `error`, `metrics` | configuration, errors, counters |

mod any_map;
mod buffers;
mod config;
mod core;
mod deferred;
mod error;
mod handle;
mod inbox;
mod metrics;
mod per_loop;
mod remote;
mod run;
mod slots;
mod source;
mod tasks;
mod timers;

pub(crate) use any_map::AnyMap;
pub use config::{WSBudgetPolicy, WSBusyPoll, WSLoopConfig};
pub(crate) use core::{LoopCore, guard, random, wake};
pub use error::{WSError, WSListenerError, WSPhase};
pub use handle::{WSLoopHandle, WSSleep, WSTimer};
pub use inbox::WSRemoteError;
pub(crate) use inbox::{Bound, Once};
pub use metrics::{WSHandshakeFailure, WSMetrics, WSMetricsSnapshot, WSOutbound};
pub(crate) use per_loop::PerLoop;
pub use remote::WSLoopRemote;
pub use run::{WSLoop, run};
#[cfg(test)]
pub(crate) use slots::Slots;
pub(crate) use slots::Token;
pub(crate) use source::{Command, Readiness, Shutdown, Source, TimerKind};
pub(crate) use tasks::{Sleeper, TaskBody, TaskGroup, TaskId};
pub use tasks::{WSTask, WSTaskScope};
pub(crate) use timers::TimerId;
