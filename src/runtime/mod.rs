//! The loop: configuration, errors and counters.

mod config;
mod error;
mod metrics;

pub use config::{WSBudgetPolicy, WSBusyPoll, WSLoopConfig};
pub use error::{WSError, WSListenerError, WSPhase};
pub use metrics::{WSHandshakeFailure, WSMetrics, WSMetricsSnapshot, WSOutbound};
