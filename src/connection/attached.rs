//! What an application attaches to a connection: tasks, handles for other threads.

use std::cell::{OnceCell, RefCell};
use std::future::Future;
use std::sync::Arc;

use crate::connection::WSTransport;
use crate::runtime::{LoopCore, TaskGroup, WSTask};

use super::backlog::Backlog;

/// Few connections have any of this.
#[derive(Default)]
pub(super) struct Attached {
    /// Tasks that do not outlive the connection.
    tasks: RefCell<TaskGroup>,
    /// What the handles on other threads share.
    backlog: OnceCell<Arc<Backlog>>,
}

impl Attached {
    /// Ends the tasks that must not outlive the connection. Runs user code.
    pub(super) fn end_tasks(&self, core: &LoopCore) {
        self.tasks.take().end(core.tasks());
    }

    /// Returns what the handles on other threads share, made on first use.
    pub(super) fn backlog(&self, core: &LoopCore) -> &Arc<Backlog> {
        self.backlog.get_or_init(|| Arc::new(Backlog::new(core.remote())))
    }

    /// Returns what the handles on other threads share, if there is one.
    pub(super) fn backlog_so_far(&self) -> Option<&Backlog> {
        self.backlog.get().map(|backlog| &**backlog)
    }
}

impl WSTransport {
    /// Runs a future on the loop until this connection has ended: what is left of it is dropped
    /// before [`on_ws_disconnected`](crate::WSListener::on_ws_disconnected) is called.
    ///
    /// If the connection has ended, the future is dropped at once and never polled. Dropping the
    /// returned handle lets the task run on; see [`WSTask`].
    ///
    /// ```
    /// # use femtows::*;
    /// # use std::time::Duration;
    /// struct Clock;
    ///
    /// impl WSListener for Clock {
    ///     fn on_ws_connected(&mut self, transport: &WSTransport) -> WSResult {
    ///         let (to, handle) = (transport.clone(), transport.loop_handle());
    ///         let ticks = async move {
    ///             loop {
    ///                 to.send(WSMsgType::Text, "tick");
    ///                 handle.sleep(Duration::from_secs(1)).await;
    ///             }
    ///         };
    ///         transport.spawn(ticks).detach();
    ///         Ok(())
    ///     }
    ///
    ///     fn on_ws_frame(&mut self, _: &WSTransport, _: &mut WSFrame<'_>) -> WSResult {
    ///         Ok(())
    ///     }
    /// }
    /// ```
    pub fn spawn<F>(&self, future: F) -> WSTask<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        let conn = self.conn();
        let has_ended = conn.rare().ending().is_some();
        conn.core().tasks().spawn_in(
            |task, executor| {
                if has_ended {
                    executor.end_now(task);
                } else {
                    conn.rare().attached().tasks.borrow_mut().add(task, executor);
                }
            },
            future,
        )
    }
}
