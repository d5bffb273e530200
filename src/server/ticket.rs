//! Deciding on a request later.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;

use crate::connection::WSListener;
use crate::handshake::WSUpgradeResponse;

use super::{WSIntoUpgrade, WSUpgradeOutcome, WSUpgradeResponseWithListener};

/// What a factory returns to decide later; its [`WSUpgradeTicket`] decides.
///
/// Until then the peer waits, for [`decision_timeout`](crate::WSServerConfig::decision_timeout) at most; then it is refused with 503.
/// Frames that it sends early stay unread.
///
/// ```no_run
/// # use femtows::*;
/// # struct Echo;
/// # impl WSListener for Echo {
/// #     fn on_ws_frame(&mut self, _: &WSTransport, _: &mut WSFrame<'_>) -> WSResult { Ok(()) }
/// # }
/// # async fn is_allowed(request: WSUpgradeRequest) -> bool { true }
/// # fn serve(handle: WSLoopHandle) -> Result<(), WSError> {
/// let tasks = handle.clone();
/// ws_create_server(
///     &handle,
///     move |request: &WSUpgradeRequest| {
///         let (ticket, later) = WSDeferredUpgrade::new();
///         let request = request.clone();
///         tasks.spawn(async move {
///             if is_allowed(request).await {
///                 ticket.accept(Echo);
///             } // a ticket that is dropped refuses with 500
///         }).detach();
///         later
///     },
///     "127.0.0.1:9001",
///     WSServerConfig::default(),
/// )?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct WSDeferredUpgrade {
    pub(super) ticket: Rc<Ticket>,
}

impl WSDeferredUpgrade {
    /// The two halves: this is returned from the factory, the ticket is kept.
    pub fn new() -> (WSUpgradeTicket, Self) {
        let ticket = Rc::new(Ticket::default());
        (WSUpgradeTicket { ticket: Rc::clone(&ticket) }, Self { ticket })
    }
}

/// The right to decide on one request, from a task, a timer or another connection's callback.
///
/// Dropped undecided, it refuses with 500.
#[derive(Debug)]
pub struct WSUpgradeTicket {
    ticket: Rc<Ticket>,
}

impl WSUpgradeTicket {
    /// 101; `listener` gets the connection.
    pub fn accept(self, listener: impl WSListener + 'static) {
        self.ticket.decide(listener.into_upgrade());
    }

    /// 101 with headers; its listener gets the connection.
    pub fn accept_with(self, accepted: WSUpgradeResponseWithListener) {
        self.ticket.decide(accepted.into_upgrade());
    }

    /// This response, which must not be 101; then the connection is closed.
    pub fn reject(self, response: WSUpgradeResponse) {
        self.ticket.decide(response.into_upgrade());
    }

    /// Whether the peer has gone meanwhile, or the loop, or the time for a decision. A decision then has no effect.
    pub fn is_cancelled(&self) -> bool {
        self.ticket.cancelled.get()
    }

    /// Calls `watcher` when nobody waits for the decision any more.
    pub(crate) fn on_cancel(&self, watcher: impl Fn() + 'static) {
        self.ticket.cancel_watcher.replace(Some(Box::new(watcher)));
    }
}

impl Drop for WSUpgradeTicket {
    fn drop(&mut self) {
        if !self.ticket.decided.get() {
            self.ticket.decide(WSUpgradeOutcome::Reject(WSUpgradeResponse::internal_error()));
        }
    }
}

/// What the two halves share.
#[derive(Default)]
pub(super) struct Ticket {
    decision: Cell<Option<WSUpgradeOutcome>>,
    decided: Cell<bool>,
    cancelled: Cell<bool>,
    watcher: RefCell<Option<Box<dyn Fn()>>>,
    cancel_watcher: RefCell<Option<Box<dyn Fn()>>>,
}

impl Ticket {
    /// Calls `watcher` when the decision comes. True if it has come already: then it is not called.
    pub(super) fn watch(&self, watcher: impl Fn() + 'static) -> bool {
        if !self.decided.get() {
            self.watcher.replace(Some(Box::new(watcher)));
        }
        self.decided.get()
    }

    pub(super) fn take_decision(&self) -> Option<WSUpgradeOutcome> {
        self.decision.take()
    }

    /// Nobody waits for the decision any more.
    pub(super) fn cancel(&self) {
        self.cancelled.set(true);
        self.watcher.take();
        if let Some(watcher) = self.cancel_watcher.take() {
            watcher();
        }
    }

    fn decide(&self, outcome: WSUpgradeOutcome) {
        self.decided.set(true);
        if self.cancelled.get() {
            return;
        }
        self.decision.set(Some(outcome));
        if let Some(watcher) = self.watcher.take() {
            watcher();
        }
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket")
            .field("decided", &self.decided.get())
            .field("cancelled", &self.cancelled.get())
            .finish_non_exhaustive()
    }
}
