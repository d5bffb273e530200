//! Futures that are polled so many times, and then dropped.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

/// When a future is dropped.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Dropped {
    /// After so many polls.
    After(usize),
    /// After so many polls and one thing more that woke it up.
    WokenAfter(usize),
}

impl Dropped {
    /// Each way with at most so many polls.
    pub(crate) fn within(polls: usize) -> impl Iterator<Item = Self> {
        (0..=polls).flat_map(|polls| [Self::After(polls), Self::WokenAfter(polls)])
    }
}

/// The output of `future`, unless it was dropped before.
pub(crate) async fn until<F: Future>(dropped: Dropped, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut polls = 0;
    poll_fn(|cx| {
        let is_over = match dropped {
            Dropped::After(most) | Dropped::WokenAfter(most) => polls >= most,
        };
        if is_over {
            return Poll::Ready(None);
        }
        polls += 1;
        match (future.as_mut().poll(cx), dropped) {
            (Poll::Ready(output), _) => Poll::Ready(Some(output)),
            (Poll::Pending, Dropped::After(most)) if polls == most => Poll::Ready(None),
            (Poll::Pending, _) => Poll::Pending,
        }
    })
    .await
}

/// Lets every other task go on once.
pub(crate) async fn step_back() {
    let mut was_polled = false;
    poll_fn(|cx| {
        if was_polled {
            return Poll::Ready(());
        }
        was_polled = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
