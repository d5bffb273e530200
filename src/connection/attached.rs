//! What an application attaches to a connection: tasks, values, handles for other threads.

use std::cell::{OnceCell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;

use crate::connection::WSTransport;
use crate::runtime::{AnyMap, LoopCore, TaskGroup, WSTask};

use super::backlog::Backlog;

/// Few connections have any of this.
#[derive(Default)]
pub(super) struct Attached {
    /// Tasks that do not outlive the connection.
    tasks: RefCell<TaskGroup>,
    /// The application's values.
    data: AnyMap,
    /// What the handles on other threads share.
    backlog: OnceCell<Arc<Backlog>>,
}

impl Attached {
    /// Ends the tasks that must not outlive the connection. Runs user code.
    pub(super) fn end_tasks(&self, core: &LoopCore) {
        self.tasks.take().end(core.tasks());
    }

    /// Drops the application's values. Runs user code.
    pub(super) fn drop_data(&self) {
        self.data.clear();
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
    /// Attaches a value to the connection, in place of an earlier one of the same type. A
    /// connection has at most one value of each type; use `Cell` or `RefCell` inside to change it.
    ///
    /// Values may hold transports. They are dropped when
    /// [`on_ws_disconnected`](crate::WSListener::on_ws_disconnected) has returned; from then on this
    /// drops the value at once.
    ///
    /// ```
    /// # use femtows::*;
    /// struct User(String);
    ///
    /// # struct Greeter;
    /// impl WSListener for Greeter {
    ///     fn on_ws_connected(&mut self, transport: &WSTransport) -> WSResult {
    ///         let name = transport.request().and_then(|request| request.header("x-user"));
    ///         transport.set_data(User(name.unwrap_or_default().into_owned()));
    ///         Ok(())
    ///     }
    ///
    ///     fn on_ws_frame(&mut self, transport: &WSTransport, _: &mut WSFrame<'_>) -> WSResult {
    ///         if let Some(user) = transport.data::<User>() {
    ///             transport.send(WSMsgType::Text, &user.0);
    ///         }
    ///         Ok(())
    ///     }
    /// }
    /// ```
    pub fn set_data<T: 'static>(&self, value: T) {
        if !self.conn().is_gone() {
            self.conn().rare().attached().data.set(Rc::new(value));
        }
    }

    /// Returns the connection's value of type `T`, if one [was set](Self::set_data). The lookup
    /// compares the types of the values that are set, of which there are few.
    pub fn data<T: 'static>(&self) -> Option<Rc<T>> {
        self.conn().rare().attached_so_far()?.data.get()
    }

    /// Runs a future on the loop until this connection has ended: what is left of it is dropped
    /// before [`on_ws_disconnected`](crate::WSListener::on_ws_disconnected) is called.
    ///
    /// If the connection has ended, the future is dropped at once and never polled. An `await` of the
    /// returned handle does not end then, as for any task that is ended from outside: see [`WSTask`]. Dropping the
    /// returned handle lets the task run on; see [`WSTask`].
    ///
    /// ```
    /// # use femtows::*;
    /// # use std::time::Duration;
    /// struct Clock;
    ///
    /// impl WSListener for Clock {
    ///     fn on_ws_connected(&mut self, transport: &WSTransport) -> WSResult {
    ///         let (to, handle) = (transport.clone(), transport.handle());
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
