use std::fmt;
use std::sync::Arc;

use crate::runtime::WSMetrics;

use super::handle::WSLoopHandle;
use super::inbox::{Bound, Inbox, Mail, Once, WSRemoteError};
use super::slots::Token;
use super::source::Command;

/// What other threads can ask of a loop. `Send` and `Sync`; clones are handles to the same loop.
///
/// Requests are carried out in order, in the next turn of the loop. A batch of them costs one wake-up, and none while the loop is awake.
#[derive(Clone)]
pub struct WSLoopRemote {
    inbox: Arc<Inbox>,
}

impl WSLoopRemote {
    pub(super) fn new(inbox: Arc<Inbox>) -> Self {
        Self { inbox }
    }

    /// Returns `true` if both are handles to the same loop.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inbox, &other.inbox)
    }

    /// Returns the error of every request, once the loop is gone.
    pub(crate) fn refusal(&self) -> Option<WSRemoteError> {
        self.inbox.is_closed().then_some(WSRemoteError::LoopClosed)
    }

    /// Calls `f` on the loop's thread.
    ///
    /// # Errors
    /// [`WSRemoteError::LoopClosed`] and [`WSRemoteError::InboxFull`]; then `f` is dropped.
    pub fn post(&self, f: impl FnOnce(&WSLoopHandle) + Send + 'static) -> Result<(), WSRemoteError> {
        self.post_within(Bound::Limit, f)
    }

    /// Sends a command to a source. Without effect if it has left its slot.
    pub(crate) fn command(&self, to: Token, command: Command) -> Result<(), WSRemoteError> {
        self.inbox.post(Mail::Command(to, command), Bound::Limit)
    }

    /// [`command`](Self::command) however full the inbox is, once per target and kind.
    pub(crate) fn command_once(&self, to: Token, kind: Once, command: Command) -> Result<(), WSRemoteError> {
        self.inbox.post(Mail::Command(to, command), Bound::Once(to, kind))
    }

    /// [`post`](Self::post) within another bound.
    pub(crate) fn post_within(
        &self,
        bound: Bound,
        f: impl FnOnce(&WSLoopHandle) + Send + 'static,
    ) -> Result<(), WSRemoteError> {
        self.inbox.post(Mail::Call(Box::new(f)), bound)
    }

    /// Returns what the loop counts: the same as [`WSLoopHandle::metrics`]. Costs nothing on the
    /// loop, and stays readable when the loop is gone.
    pub fn metrics(&self) -> Arc<WSMetrics> {
        Arc::clone(self.inbox.metrics())
    }

    /// Ends [`WSLoop::run`](crate::WSLoop::run) after the current turn.
    pub fn stop(&self) {
        self.inbox.request_stop();
    }
}

impl fmt::Debug for WSLoopRemote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WSLoopRemote").finish_non_exhaustive()
    }
}
