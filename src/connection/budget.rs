//! How much may wait on all connections of a loop together.

use std::cell::Cell;
use std::rc::Rc;

use crate::proto::{SendOptions, WSDisconnectCause, WSDropReason, WSMsgType};
use crate::runtime::{PerLoop, WSBudgetPolicy, WSLoopConfig, WSLoopHandle, WSOutbound};

use super::conn::{Conn, Flags};

/// Counts the bytes that kernels have refused. What is only gathered leaves when the dispatch ends, and costs nothing here.
///
/// # Invariants
/// - Without a limit nothing is counted.
/// - `waiting` is the sum over the connections with [`Flags::ACCOUNTED`] of what each has told.
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

    fn is_limited(&self) -> bool {
        self.limit.get() < usize::MAX
    }

    fn is_exceeded(&self) -> bool {
        self.waiting.get() > self.limit.get()
    }
}

impl Conn {
    /// Tells the budget how many bytes wait here that the kernel refused. May end this connection, or others.
    #[cold]
    pub(super) fn account(self: &Rc<Self>, waiting: usize) {
        let budget = self.core.local::<Budget>();
        if !budget.is_limited() {
            return;
        }
        let before = {
            let mut extras = self.extras.borrow_mut();
            std::mem::replace(&mut extras.get_or_insert_default().accounted, waiting)
        };
        if waiting > 0 {
            self.flags.set(Flags::ACCOUNTED);
        } else {
            self.flags.clear(Flags::ACCOUNTED);
        }
        budget.waiting.set(budget.waiting.get() - before + waiting);
        if waiting > before && budget.is_exceeded() {
            self.exceed_budget(&budget);
        }
    }

    /// Whether the budget has room for a frame on a connection whose kernel refuses bytes; if not, the frame is counted as dropped.
    #[cold]
    pub(super) fn fits_budget(
        &self,
        msg_type: WSMsgType,
        options: SendOptions,
        payload_len: usize,
    ) -> Result<(), WSDropReason> {
        let budget = self.core.local::<Budget>();
        let fits = budget.policy != WSBudgetPolicy::DropNew
            || payload_len <= budget.limit.get().saturating_sub(budget.waiting.get())
            // These are small, and their peers wait for them.
            || msg_type.is_control()
            // Why it cannot be sent is something else.
            || self.proto.borrow().is_close_sent()
            || self.ending.get().is_some();
        if fits {
            return Ok(());
        }
        budget.dropped.set(budget.dropped.get() + 1);
        self.proto.borrow_mut().drop_frame(msg_type, options, payload_len);
        Err(WSDropReason::Overflow)
    }

    #[cold]
    fn exceed_budget(self: &Rc<Self>, budget: &Budget) {
        match budget.policy {
            WSBudgetPolicy::CloseSlowest => self.abort_slowest(budget),
            WSBudgetPolicy::Close => self.abort_for_budget(budget),
            WSBudgetPolicy::DropNew => {}
        }
    }

    fn abort_for_budget(self: &Rc<Self>, budget: &Budget) {
        budget.aborted.set(budget.aborted.get() + 1);
        self.abort(WSDisconnectCause::Overflow);
    }

    fn accounted(&self) -> usize {
        self.extras.borrow().as_ref().map_or(0, |extras| extras.accounted)
    }

    /// Ends the connections on which most waits, until the rest is within the budget.
    fn abort_slowest(&self, budget: &Budget) {
        let mut waiting = self.core.sources(|conn: &Self| conn.flags.has(Flags::ACCOUNTED));
        waiting.sort_unstable_by_key(|conn| conn.accounted());
        while budget.is_exceeded()
            && let Some(slowest) = waiting.pop()
        {
            slowest.abort_for_budget(budget);
        }
    }
}

impl WSLoopHandle {
    /// What waits on all connections together, and what [the budget](crate::WSLoopConfig::outbound_budget) for that has cost.
    pub fn outbound(&self) -> WSOutbound {
        self.core().local::<Budget>().counters()
    }
}
