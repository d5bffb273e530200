//! The open connection, and the settings for it.
//!
//! | file | content |
//! |---|---|
//! | `conn`, `conn/input`, `conn/output` | an open connection: its state and end, the way in, the way out |
//! | `conn/failing`, `conn/lent` | callbacks that fail; the stream while the application has it |
//! | `wire` | the protocol of a connection over its stream |
//! | `leftover`, `flags`, `rare` | bytes between reads, facts, what few connections need |
//! | `pulling` | messages that tasks take straight from a read |
//! | `waiting` | tasks that wait for the end, or for the answer to a ping |
//! | `deflate`, `compressors` | compression of messages |
//! | `attached` | what an application attaches to a connection |
//! | `backlog` | what handles on other threads know of a connection |
//! | `budget` | the limit on what may wait on all connections of a loop together |
//! | `listener`, `transport`, `remote` | what the application implements and holds |
//! | `timed` | how long callbacks take, warnings of slow ones |
//! | `config`, `settings` | what can be configured, and the form that connections share |
//! | `report` | how a connection came to be |
//! | `upgraded` | connections whose opening handshake other code has done |

mod attached;
mod backlog;
mod budget;
#[cfg(feature = "deflate")]
mod compressors;
mod config;
mod conn;
#[cfg(feature = "deflate")]
mod deflate;
mod flags;
mod leftover;
mod listener;
mod pulling;
mod rare;
mod remote;
mod report;
mod settings;
mod timed;
#[cfg(feature = "tls")]
mod tls;
mod transport;
mod upgraded;
mod waiting;
mod wire;

pub(crate) use budget::Budget;
pub(crate) use config::{
    ConnectionConfig, LivenessConfig, ReplyTimeout, connection_setters, liveness_setters,
};
pub use config::{WSConfigError, WSLimits, WSTuning, WSWriteStrategy};
pub(crate) use conn::Conn;
#[cfg(feature = "deflate")]
pub(crate) use deflate::{accept_deflate, check_deflate};
pub(crate) use listener::log_error;
pub use listener::{WSListener, WSResult};
pub(crate) use pulling::{Offer, Receivers};
pub use remote::WSRemote;
pub(crate) use report::Handshake;
pub use report::{WSAttemptOutcome, WSConnectAttempt, WSConnectReport};
pub(crate) use settings::Settings;
pub use transport::{WSDropped, WSMessageOptions, WSSendStatus, WSTransport};
pub(crate) use upgraded::Opening;
pub use upgraded::WSUpgraded;
pub(crate) use waiting::measure_roundtrip_time;
