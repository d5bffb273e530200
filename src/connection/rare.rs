//! What few connections need before they end.

use std::cell::{OnceCell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use crate::connection::WSConnectReport;
use crate::proto::WSDisconnectInfo;
use crate::runtime::{LoopCore, TimerId, WSError, WSListenerError, wake};

use super::attached::Attached;
use super::backlog::Backlog;
#[cfg(feature = "deflate")]
use super::deflate::ConnDeflate;
use super::waiting::Waiters;

/// One pointer, until something of it is needed.
#[derive(Default)]
pub(super) struct Rare(OnceCell<Box<Contents>>);

#[derive(Default)]
struct Contents {
    ending: OnceCell<WSDisconnectInfo>,
    attached: OnceCell<Box<Attached>>,
    changing: RefCell<Changing>,
}

#[derive(Default)]
struct Changing {
    /// Why the connection ends, or has ended, if that is an error: the first one.
    error: Option<WSError>,
    /// The text of an error that is not in `error`, as it is no error for `wait_disconnected`.
    error_text: Option<Box<str>>,
    /// Errors of callbacks that the listener is to be told of.
    reports: VecDeque<WSListenerError>,
    /// When a warning of a slow callback was logged last.
    slow_at: Option<Instant>,
    timer: Option<TimerId>,
    end_waiters: Waiters<()>,
    pong_waiters: Waiters<Instant>,
    connect_report: Option<Rc<WSConnectReport>>,
    accounted: usize,
    received_at: Option<SystemTime>,
    #[cfg(feature = "deflate")]
    deflate: Option<Box<ConnDeflate>>,
}

impl Rare {
    fn contents(&self) -> &Contents {
        self.0.get_or_init(Box::default)
    }

    fn change<R>(&self, change: impl FnOnce(&mut Changing) -> R) -> R {
        change(&mut self.contents().changing.borrow_mut())
    }

    fn read<R>(&self, read: impl FnOnce(&Changing) -> R) -> Option<R> {
        self.0.get().map(|contents| read(&contents.changing.borrow()))
    }

    /// Sets the record of the end. Returns `false` if there was one before.
    pub(super) fn end(&self, info: WSDisconnectInfo) -> bool {
        self.contents().ending.set(info).is_ok()
    }

    pub(super) fn ending(&self) -> Option<&WSDisconnectInfo> {
        self.0.get()?.ending.get()
    }

    /// Returns what the application has attached, made on first use.
    pub(super) fn attached(&self) -> &Attached {
        self.contents().attached.get_or_init(Box::default)
    }

    /// Returns what the application has attached, if there is anything.
    pub(super) fn attached_so_far(&self) -> Option<&Attached> {
        self.0.get()?.attached.get().map(|attached| &**attached)
    }

    /// Returns what the handles on other threads share, if there is one.
    pub(super) fn backlog(&self) -> Option<&Backlog> {
        self.attached_so_far()?.backlog_so_far()
    }

    /// Keeps an error that is why the connection ends, unless there was one before.
    pub(super) fn keep_error(&self, error: WSError) {
        self.change(|rare| {
            rare.error.get_or_insert(error);
        });
    }

    /// Keeps the text of an error, unless there was one before.
    pub(super) fn keep_text(&self, text: String) {
        self.change(|rare| {
            rare.error_text.get_or_insert(text.into());
        });
    }

    /// Returns the text of the error that ends the connection.
    pub(super) fn error_text(&self) -> Option<Box<str>> {
        self.read(|rare| {
            let text = || rare.error.as_ref().map(|error| error.to_string().into());
            rare.error_text.clone().or_else(text)
        })?
    }

    /// Queues an error for the listener.
    pub(super) fn push_report(&self, error: WSListenerError) {
        self.change(|rare| rare.reports.push_back(error));
    }

    /// Takes the oldest error that the listener is to be told of.
    pub(super) fn pop_report(&self) -> Option<WSListenerError> {
        self.change(|rare| rare.reports.pop_front())
    }

    /// Returns `true` if `interval` has passed since this last returned `true`.
    pub(super) fn warns_of_slowness(&self, now: Instant, interval: Duration) -> bool {
        self.change(|rare| {
            let warns = rare.slow_at.is_none_or(|last| now.saturating_duration_since(last) >= interval);
            if warns {
                rare.slow_at = Some(now);
            }
            warns
        })
    }

    /// Returns the first error.
    pub(super) fn error(&self) -> Option<WSError> {
        self.read(|rare| rare.error.clone())?
    }

    /// Notes the timer that the protocol asked for. Returns the one that it replaces.
    pub(super) fn replace_timer(&self, timer: Option<TimerId>) -> Option<TimerId> {
        if timer.is_none() && self.0.get().is_none() {
            return None;
        }
        self.change(|rare| std::mem::replace(&mut rare.timer, timer))
    }

    /// Calls the tasks in `wait_disconnected`.
    pub(super) fn with_end_waiters<R>(&self, call: impl FnOnce(&mut Waiters<()>) -> R) -> R {
        self.change(|rare| call(&mut rare.end_waiters))
    }

    /// Wakes the tasks in `wait_disconnected`.
    pub(super) fn tell_end_waiters(&self) {
        self.with_end_waiters(|waiters| waiters.tell(|| ())).into_iter().for_each(wake);
    }

    /// Wakes the tasks that measure the time of a ping: the answer has come, or the end.
    pub(super) fn tell_pong_waiters(&self, core: &LoopCore) {
        let woken = self.with_pong_waiters(|waiters| waiters.tell(|| core.clock()));
        woken.into_iter().for_each(wake);
    }

    /// Ends the tasks that must not outlive the connection. Runs user code.
    pub(super) fn end_tasks(&self, core: &LoopCore) {
        if let Some(attached) = self.attached_so_far() {
            attached.end_tasks(core);
        }
    }

    /// Drops the application's values. Runs user code.
    pub(super) fn drop_data(&self) {
        if let Some(attached) = self.attached_so_far() {
            attached.drop_data();
        }
    }

    /// Calls the tasks that measure the time of a ping.
    pub(super) fn with_pong_waiters<R>(&self, call: impl FnOnce(&mut Waiters<Instant>) -> R) -> R {
        self.change(|rare| call(&mut rare.pong_waiters))
    }

    /// Returns how a client's connection came to be.
    pub(super) fn connect_report(&self) -> Option<Rc<WSConnectReport>> {
        self.read(|rare| rare.connect_report.clone())?
    }

    pub(super) fn set_connect_report(&self, report: WSConnectReport) {
        self.change(|rare| rare.connect_report = Some(Rc::new(report)));
    }

    /// Returns how many refused bytes the loop's budget knows of.
    pub(super) fn accounted(&self) -> usize {
        self.read(|rare| rare.accounted).unwrap_or(0)
    }

    pub(super) fn set_accounted(&self, bytes: usize) {
        self.change(|rare| rare.accounted = bytes);
    }

    /// Returns the time at which the kernel received the last read, if it was asked to note it.
    pub(super) fn received_at(&self) -> Option<SystemTime> {
        self.read(|rare| rare.received_at)?
    }

    pub(super) fn set_received_at(&self, time: Option<SystemTime>) {
        self.change(|rare| rare.received_at = time);
    }

    #[cfg(feature = "deflate")]
    pub(super) fn set_deflate(&self, deflate: Option<Box<ConnDeflate>>) {
        self.change(|rare| rare.deflate = deflate);
    }

    /// Calls the compression of messages. `None` if there is none.
    #[cfg(feature = "deflate")]
    pub(super) fn with_deflate<R>(&self, call: impl FnOnce(&mut ConnDeflate) -> R) -> Option<R> {
        self.0.get()?.changing.borrow_mut().deflate.as_mut().map(|deflate| call(deflate))
    }
}
