//! Tasks that wait for something that happens on a connection: its end, the answer to a ping.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::runtime::WSError;

use super::conn::Conn;

/// The futures that wait for the same, each under a number of its own, which stays taken until the
/// future [leaves](Self::leave).
#[derive(Debug)]
pub(super) struct Waiters<T>(BTreeMap<u64, Waiting<T>>);

/// What the connection has of a future.
#[derive(Debug)]
pub(super) enum Waiting<T> {
    For(Waker),
    /// It was woken for this and was not polled since.
    Over(T),
}

impl<T> Default for Waiters<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: Copy> Waiters<T> {
    /// Waits, or waits on. What the future had before is dropped outside of borrows, because a waker
    /// may run user code.
    fn wait(&mut self, number: &mut Option<u64>, waker: Waker) -> Option<Waiting<T>> {
        let next = || self.0.last_key_value().map_or(0, |(last, _)| last + 1);
        let number = *number.get_or_insert_with(next);
        self.0.insert(number, Waiting::For(waker))
    }

    fn leave(&mut self, number: u64) -> Option<Waiting<T>> {
        self.0.remove(&number)
    }

    /// Tells all of them. Returns the wakers to be woken, outside of borrows. `what` is asked only if
    /// somebody waits.
    pub(super) fn tell(&mut self, what: impl FnOnce() -> T) -> Vec<Waker> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let what = what();
        let told = self.0.values_mut().map(|place| std::mem::replace(place, Waiting::Over(what)));
        told.filter_map(|was| if let Waiting::For(waker) = was { Some(waker) } else { None }).collect()
    }
}

/// The wait for a connection's end. Dropping it takes its waker back.
pub(crate) struct Disconnected {
    conn: Rc<Conn>,
    /// At a client, the complete closing handshake is as good as the end.
    suffices_handshake: bool,
    number: Option<u64>,
}

impl Disconnected {
    pub(super) fn new(conn: &Rc<Conn>, suffices_handshake: bool) -> Self {
        Self { conn: Rc::clone(conn), suffices_handshake, number: None }
    }
}

impl Future for Disconnected {
    type Output = Result<(), WSError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Some(result) = this.conn.result() {
            return Poll::Ready(result);
        }
        if this.suffices_handshake && this.conn.proto().is_handshake_closed() {
            return Poll::Ready(Ok(()));
        }
        // Cloned, and the old one dropped, outside of the borrow: both may run user code.
        let waker = cx.waker().clone();
        let old = this.conn.rare().with_end_waiters(|waiters| waiters.wait(&mut this.number, waker));
        drop(old);
        Poll::Pending
    }
}

impl Drop for Disconnected {
    fn drop(&mut self) {
        let Some(number) = self.number else { return };
        let waiting = self.conn.rare().with_end_waiters(|waiters| waiters.leave(number));
        drop(waiting);
    }
}

/// Sends `rounds` pings, each when its predecessor was answered, and measures how long the answers
/// take.
pub(crate) async fn measure_roundtrip_time(conn: Rc<Conn>, rounds: usize) -> Result<Vec<Duration>, WSError> {
    let mut times = Vec::new();
    for _ in 0..rounds {
        // One ping at a time, auto-ping's and those of other measurements included: answers do not
        // say whose they are.
        while conn.proto().is_pong_awaited() {
            NextPong::new(&conn).await?;
        }
        let sent = std::future::poll_fn(|cx| poll_ping(&conn, cx)).await?;
        let answered = NextPong::new(&conn).await?;
        times.push(answered.saturating_duration_since(sent));
    }
    Ok(times)
}

/// Sends a ping now, as soon as the listener is not in a callback. Returns the time.
fn poll_ping(conn: &Rc<Conn>, cx: &Context<'_>) -> Poll<Result<Instant, WSError>> {
    if conn.proto().is_ending() {
        return Poll::Ready(Err(WSError::Disconnected));
    }
    if !conn.is_listener_free() {
        cx.waker().wake_by_ref();
        return Poll::Pending;
    }
    let sent = conn.core().clock();
    conn.ping();
    conn.flush();
    Poll::Ready(Ok(sent))
}

/// The wait for the next answer to a ping, and when it came. Dropping it takes its waker back.
struct NextPong<'a> {
    conn: &'a Rc<Conn>,
    number: Option<u64>,
}

impl<'a> NextPong<'a> {
    fn new(conn: &'a Rc<Conn>) -> Self {
        Self { conn, number: None }
    }
}

impl Future for NextPong<'_> {
    type Output = Result<Instant, WSError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.conn.rare().ending().is_some() {
            return Poll::Ready(Err(WSError::Disconnected));
        }
        // As in `Disconnected`.
        let waker = cx.waker().clone();
        match this.conn.rare().with_pong_waiters(|waiters| waiters.wait(&mut this.number, waker)) {
            Some(Waiting::Over(at)) => Poll::Ready(Ok(at)),
            _ => Poll::Pending,
        }
    }
}

impl Drop for NextPong<'_> {
    fn drop(&mut self) {
        let Some(number) = self.number else { return };
        let waiting = self.conn.rare().with_pong_waiters(|waiters| waiters.leave(number));
        drop(waiting);
    }
}
