//! `measure_roundtrip_time`: pings, one after the other, and how long their answers take.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::connection::{WSListener, WSTransport};
use crate::proto::{WSFrame, WSMsgType};
use crate::runtime::WSError;

use super::conn::Conn;
use super::listener::ListenerEvent;

/// Those who wait for an answer to a ping.
#[derive(Debug, Default)]
pub(super) struct PongWaiters {
    /// Each under the number of its future.
    waiting: BTreeMap<u64, Waiting>,
}

#[derive(Debug)]
enum Waiting {
    For(Waker),
    /// The answer came at this time.
    Over(Instant),
}

impl PongWaiters {
    /// An answer has come. The clock is read only if somebody wants to know when; the wakers returned are to be woken.
    pub(super) fn arrived(&mut self, clock: impl FnOnce() -> Instant) -> Vec<Waker> {
        if self.waiting.is_empty() {
            return Vec::new();
        }
        let at = clock();
        let places = self.waiting.values_mut().map(|place| std::mem::replace(place, Waiting::Over(at)));
        places.filter_map(|was| if let Waiting::For(waker) = was { Some(waker) } else { None }).collect()
    }

    /// The connection is gone: the wakers returned are to be woken.
    pub(super) fn give_up(&mut self) -> Vec<Waker> {
        let waiting = std::mem::take(&mut self.waiting).into_values();
        waiting.filter_map(|was| if let Waiting::For(waker) = was { Some(waker) } else { None }).collect()
    }
}

/// Sends `rounds` pings, each when its predecessor was answered.
pub(crate) async fn measure_roundtrip_time(conn: Rc<Conn>, rounds: usize) -> Result<Vec<Duration>, WSError> {
    let mut times = Vec::new();
    for _ in 0..rounds {
        // One ping at a time, auto-ping's and those of other measurements included: answers do not say whose they are.
        while conn.proto.borrow().is_pong_awaited() {
            next_pong(&conn).await?;
        }
        let sent = std::future::poll_fn(|cx| conn.poll_ping(cx)).await?;
        let answered = next_pong(&conn).await?;
        times.push(answered.saturating_duration_since(sent));
    }
    Ok(times)
}

impl Conn {
    /// Has the listener send a ping, and awaits the answer.
    pub(super) fn ping(self: &Rc<Self>, now: Instant) {
        self.call_listener(ListenerEvent::SendPing);
        self.proto.borrow_mut().ping_sent(now);
        self.act();
    }

    /// Asks the listener whether a frame is the answer that is awaited; if so, takes it for that.
    #[cold]
    pub(super) fn is_awaited_pong(
        &self,
        transport: &WSTransport,
        listener: &mut dyn WSListener,
        frame: &WSFrame<'_>,
    ) -> bool {
        if frame.msg_type() == WSMsgType::Close {
            return false;
        }
        let mut is_pong = false;
        let asked = self.raise::<false>(listener, transport, ListenerEvent::IsPong(frame, &mut is_pong));
        debug_assert!(asked.is_ok(), "the question has no error");
        if is_pong {
            self.pong_received();
        }
        is_pong
    }

    /// `notify_user_specific_pong_received`, or a frame that was one.
    pub(crate) fn pong_received(&self) {
        if !self.proto.borrow_mut().pong_received() {
            return;
        }
        let woken = self.with_pongs(|pongs| pongs.arrived(|| self.core.clock()));
        // Outside of the borrow: waking may run user code.
        woken.into_iter().for_each(Waker::wake);
    }

    fn with_pongs<R>(&self, call: impl FnOnce(&mut PongWaiters) -> R) -> R {
        call(&mut self.extras.borrow_mut().get_or_insert_default().pongs)
    }

    /// Returns `true` once an end has begun that has a deadline, or is over.
    pub(super) fn is_ending(&self) -> bool {
        self.proto.borrow().is_ending()
    }

    /// Sends a ping now, as soon as the listener is not in a callback. Returns the time.
    fn poll_ping(self: &Rc<Self>, cx: &Context<'_>) -> Poll<Result<Instant, WSError>> {
        if self.is_ending() {
            return Poll::Ready(Err(WSError::Disconnected));
        }
        if !self.is_listener_free() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let sent = self.core.clock();
        self.ping(self.core.now());
        self.flush_now();
        Poll::Ready(Ok(sent))
    }

    /// Those who wait for an answer learn that none will come.
    pub(super) fn give_up_on_pongs(&self) {
        let woken = self.extras.borrow_mut().as_mut().map(|extras| extras.pongs.give_up());
        woken.into_iter().flatten().for_each(Waker::wake);
    }
}

/// When the next answer comes. Dropping it takes its waker back.
struct NextPong<'a> {
    conn: &'a Rc<Conn>,
    /// Under which the connection has its waker.
    number: Option<u64>,
}

fn next_pong(conn: &Rc<Conn>) -> NextPong<'_> {
    NextPong { conn, number: None }
}

impl Future for NextPong<'_> {
    type Output = Result<Instant, WSError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.conn.ending.get().is_some() {
            return Poll::Ready(Err(WSError::Disconnected));
        }
        // Cloned, and the old one dropped, outside of the borrow: both may run user code.
        let waker = cx.waker().clone();
        let (number, old) = self.conn.with_pongs(|pongs| {
            let waiting = &mut pongs.waiting;
            let next = || waiting.last_key_value().map_or(0, |(last, _)| last + 1);
            let number = self.number.unwrap_or_else(next);
            (number, waiting.insert(number, Waiting::For(waker)))
        });
        self.number = Some(number);
        match old {
            Some(Waiting::Over(at)) => Poll::Ready(Ok(at)),
            _ => Poll::Pending,
        }
    }
}

impl Drop for NextPong<'_> {
    fn drop(&mut self) {
        let Some(number) = self.number else { return };
        let waiting = self.conn.with_pongs(|pongs| pongs.waiting.remove(&number));
        drop(waiting);
    }
}
