//! Tasks that end together.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::rc::Rc;

use super::super::core::LoopCore;
use super::{Executor, TaskId, WSTask};

/// Tasks with the same owner, which ends them.
#[derive(Default)]
pub(crate) struct TaskGroup {
    /// Some of them may have ended: their tokens name no other task.
    tasks: Vec<TaskId>,
    /// Number of entries from which on those that have ended are removed.
    limit: usize,
}

impl TaskGroup {
    /// Adds a task. Removes those that have ended each time the group has doubled, so that this
    /// takes constant time on average and the group is at most twice as long as it has to be.
    pub(crate) fn add(&mut self, task: TaskId, executor: &Executor) {
        if self.tasks.len() >= self.limit {
            self.tasks.retain(|&task| executor.has(task));
            self.limit = (2 * self.tasks.len()).max(4);
        }
        self.tasks.push(task);
    }

    /// Ends all tasks. Not under a borrow, as dropping their futures runs user code.
    pub(crate) fn end(self, executor: &Executor) {
        self.tasks.into_iter().for_each(|task| executor.end_now(task));
    }
}

/// Tasks that end when this is dropped; see [`WSLoopHandle::task_scope`].
///
/// ```
/// # use femtows::{WSLoop, WSLoopConfig};
/// # use std::time::Duration;
/// # let mut event_loop = WSLoop::new(WSLoopConfig::default())?;
/// # let handle = event_loop.handle();
/// # event_loop.block_on(async move {
/// let scope = handle.task_scope();
/// let ticker = scope.spawn(handle.sleep(Duration::from_secs(3600)));
/// drop(scope);
/// assert!(ticker.is_finished());
/// # })?;
/// # Ok::<(), femtows::WSError>(())
/// ```
///
/// [`WSLoopHandle::task_scope`]: crate::WSLoopHandle::task_scope
#[must_use = "dropping the scope ends its tasks"]
pub struct WSTaskScope {
    core: Rc<LoopCore>,
    group: RefCell<TaskGroup>,
}

impl WSTaskScope {
    pub(in super::super) fn new(core: Rc<LoopCore>) -> Self {
        Self { core, group: RefCell::default() }
    }

    /// Runs a future on the loop, as [`WSLoopHandle::spawn`](crate::WSLoopHandle::spawn) does,
    /// until this scope is dropped at the latest.
    ///
    /// Dropping the returned handle lets the task run on within the scope.
    pub fn spawn<F>(&self, future: F) -> WSTask<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        let add = |task, executor: &Executor| self.group.borrow_mut().add(task, executor);
        self.core.tasks().spawn_in(add, future)
    }
}

impl Drop for WSTaskScope {
    /// Drops the futures of all tasks that have not ended, in the order in which they were
    /// spawned. A task that drops its own scope ends when its current poll returns.
    fn drop(&mut self) {
        self.group.take().end(self.core.tasks());
    }
}

impl fmt::Debug for WSTaskScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WSTaskScope").finish_non_exhaustive()
    }
}
