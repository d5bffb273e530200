//! How much may wait on all connections of a loop together.

use std::cell::Cell;
use std::rc::Rc;

use crate::proto::WSDisconnectCause;
use crate::runtime::{LoopCore, PerLoop, WSBudgetPolicy, WSLoopConfig, WSLoopHandle, WSOutbound};

use super::conn::Conn;

/// Counts the bytes that kernels have refused. What is only gathered leaves when the dispatch ends, and costs nothing here.
///
/// # Invariants
/// - Without a limit nothing is counted.
/// - `waiting` is the sum of what each connection has told.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: Cell<usize>,
    /// The loop's configuration has set the limit.
    is_configured: bool,
    policy: WSBudgetPolicy,
    waiting: Cell<usize>,
    aborted: Cell<u64>,
    dropped: Cell<u64>,
}

impl PerLoop for Budget {
    fn new(config: &WSLoopConfig) -> Self {
        Self {
            limit: Cell::new(config.outbound_budget.unwrap_or(usize::MAX)),
            is_configured: config.outbound_budget.is_some(),
            policy: config.budget_policy,
            waiting: Cell::new(0),
            aborted: Cell::new(0),
            dropped: Cell::new(0),
        }
    }
}

impl Budget {
    /// Sets the limit unless the loop's configuration did. Connections that were not counted so far
    /// count from their next change on.
    pub(crate) fn set_default_limit(&self, bytes: usize) {
        if !self.is_configured {
            self.limit.set(bytes);
        }
    }

    fn counters(&self) -> WSOutbound {
        WSOutbound { waiting: self.waiting.get(), aborted: self.aborted.get(), dropped: self.dropped.get() }
    }

    pub(super) fn is_limited(&self) -> bool {
        self.limit.get() < usize::MAX
    }

    fn is_exceeded(&self) -> bool {
        self.waiting.get() > self.limit.get()
    }
}

impl Budget {
    /// Notes that `waiting` bytes wait on a connection, where `before` were told. May end that
    /// connection, or others.
    #[cold]
    pub(super) fn account(&self, conn: &Rc<Conn>, before: usize, waiting: usize, core: &LoopCore) {
        self.waiting.set(self.waiting.get() - before + waiting);
        if waiting <= before || !self.is_exceeded() {
            return;
        }
        match self.policy {
            WSBudgetPolicy::CloseSlowest => self.abort_slowest(core),
            WSBudgetPolicy::Close => self.abort(conn),
            WSBudgetPolicy::DropNew => {}
        }
    }

    /// Returns `true` if there is room for a frame on a connection whose kernel refuses bytes. If
    /// not, the frame counts as dropped.
    pub(super) fn admits(&self, payload_len: usize) -> bool {
        let admits = self.policy != WSBudgetPolicy::DropNew
            || payload_len <= self.limit.get().saturating_sub(self.waiting.get());
        if !admits {
            self.dropped.set(self.dropped.get() + 1);
        }
        admits
    }

    fn abort(&self, conn: &Rc<Conn>) {
        self.aborted.set(self.aborted.get() + 1);
        conn.abort(WSDisconnectCause::Overflow);
    }

    /// Ends the connections on which most waits, until the rest is within the budget.
    fn abort_slowest(&self, core: &LoopCore) {
        let mut waiting = core.sources(|conn: &Conn| conn.rare().accounted() > 0);
        waiting.sort_unstable_by_key(|conn| conn.rare().accounted());
        while self.is_exceeded()
            && let Some(slowest) = waiting.pop()
        {
            self.abort(&slowest);
        }
    }
}

impl WSLoopHandle {
    /// What waits on all connections together, and what [the budget](crate::WSLoopConfig::outbound_budget) for that has cost.
    pub fn outbound(&self) -> WSOutbound {
        self.core().local::<Budget>().counters()
    }
}
