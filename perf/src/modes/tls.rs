//! Over TLS: work of the other modes, at a few sizes, and the opening as a row of its own.

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::{Placement, Row, Settings, echo, idle};
use crate::generator::TlsStream;
use crate::results::{Figures, Metric};
use crate::strace::Syscall;
use crate::subject::Session;

/// One kind of work over TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TlsWork {
    /// One connection, one message at a time, both ends on one core.
    Latency {
        /// Payload in bytes.
        size: usize,
    },
    /// Connections in closed loop.
    Load {
        /// How many.
        connections: usize,
        /// Messages in flight on each.
        depth: usize,
        /// Payload in bytes.
        size: usize,
    },
    /// Connections that are opened: accept, full handshake of TLS, upgrade.
    Opening {
        /// How many.
        connections: usize,
    },
    /// Connections that do nothing.
    Idle {
        /// How many.
        connections: usize,
    },
}

impl TlsWork {
    /// Name of the row.
    pub(super) fn title(self) -> String {
        match self {
            Self::Opening { connections } => format!("TLS opening, {connections} connections"),
            _ => format!("TLS {}", self.plain().title()),
        }
    }

    /// Returns the figures that ratios are made of.
    pub(super) fn compared(self) -> &'static [Metric] {
        match self {
            Self::Opening { .. } => &[Metric::OpeningCpu],
            _ => self.plain().compared(),
        }
    }

    /// The figures of the row in the order of the table.
    pub(super) fn metrics(self) -> &'static [Metric] {
        match self {
            Self::Opening { .. } => &[Metric::OpeningCpu],
            Self::Idle { .. } => &[Metric::Memory],
            _ => self.plain().metrics(),
        }
    }

    /// One round.
    pub(super) fn measure(self, session: Session, settings: &Settings) -> Result<Figures> {
        match self {
            Self::Opening { connections } | Self::Idle { connections } => {
                idle::measure::<TlsStream>(session, connections)
            }
            _ => echo::measure::<TlsStream>(&session, &self.plain(), settings),
        }
    }

    /// System calls per message.
    pub(super) fn count_syscalls(self, session: &Session) -> Result<Vec<Syscall>> {
        echo::count_syscalls::<TlsStream>(session, &self.plain())
    }

    /// The same without TLS.
    pub(crate) fn plain(self) -> Row {
        match self {
            Self::Latency { size } => Row::Latency { size, placement: Placement::SameCore },
            Self::Load { connections, depth, size } => Row::Load { connections, depth, size },
            Self::Opening { connections } | Self::Idle { connections } => Row::Idle { connections },
        }
    }
}
