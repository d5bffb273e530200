//! The open connection: its settings, and how it came to be.

mod report;
mod settings;

pub use report::{WSAttemptOutcome, WSConnectAttempt, WSConnectReport};
pub(crate) use settings::{
    ConnectionConfig, LivenessConfig, ReplyTimeout, connection_setters, liveness_setters,
};
pub use settings::{WSLimits, WSTuning, WSWriteStrategy};
