//! How much may wait on all connections of a loop together.

use std::cell::Cell;
use std::rc::Rc;

use crate::proto::{SendOptions, WSDropReason};
use crate::{WSBudgetPolicy, WSDisconnectCause, WSLoopConfig, WSMsgType, WSOutbound};

use super::connection::{Conn, Flags};
use super::core::LoopCore;

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

impl Budget {
    pub(super) fn new(config: &WSLoopConfig) -> Self {
        Self {
            limit: Cell::new(config.outbound_budget.unwrap_or(usize::MAX)),
            is_configured: config.outbound_budget.is_some(),
            policy: config.budget_policy,
            waiting: Cell::new(0),
            aborted: Cell::new(0),
            dropped: Cell::new(0),
        }
    }

    /// Sets the limit unless the loop's configuration did. Connections that were not counted so far
    /// count from their next change on.
    pub(super) fn set_default_limit(&self, bytes: usize) {
        if !self.is_configured {
            self.limit.set(bytes);
        }
    }

    pub(super) fn counters(&self) -> WSOutbound {
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
        let budget = &self.core.budget;
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
            self.exceed_budget();
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
        let budget = &self.core.budget;
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
    fn exceed_budget(self: &Rc<Self>) {
        match self.core.budget.policy {
            WSBudgetPolicy::CloseSlowest => self.core.abort_slowest(),
            WSBudgetPolicy::Close => self.abort_for_budget(),
            WSBudgetPolicy::DropNew => {}
        }
    }

    fn abort_for_budget(self: &Rc<Self>) {
        let budget = &self.core.budget;
        budget.aborted.set(budget.aborted.get() + 1);
        self.terminate(WSDisconnectCause::Overflow, None);
    }

    fn accounted(&self) -> usize {
        self.extras.borrow().as_ref().map_or(0, |extras| extras.accounted)
    }
}

impl LoopCore {
    /// Ends the connections on which most waits, until the rest is within the budget.
    fn abort_slowest(&self) {
        let mut waiting = self.conns(|conn| conn.flags.has(Flags::ACCOUNTED));
        waiting.sort_unstable_by_key(|conn| conn.accounted());
        while self.budget.is_exceeded()
            && let Some(slowest) = waiting.pop()
        {
            slowest.abort_for_budget();
        }
    }
}
