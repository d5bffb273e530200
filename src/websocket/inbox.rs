//! Messages that were received, and the tasks that wait for them.

use std::collections::VecDeque;

use crate::messages::{Message, MessageInfo};
use crate::runtime::Sleeper;

use super::waiters::{Place, Waiters};

/// Messages in the order of their arrival, and receivers in the order of theirs.
///
/// The message that stands where a receiver stands is that receiver's. It is not handed over before the receiver takes it, so one that
/// is dropped takes nothing along: those behind it move up.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    /// `None` until a message had to be queued: mostly they are pulled.
    #[expect(
        clippy::box_collection,
        reason = "a pointer instead of four words, in each of many connections"
    )]
    messages: Option<Box<VecDeque<(Message, MessageInfo)>>>,
    receivers: Waiters<Sleeper>,
}

impl Inbox {
    /// Adds a message. The receiver that it is for.
    pub(super) fn push(&mut self, message: Message, info: MessageInfo) -> Option<Sleeper> {
        let messages = self.messages.get_or_insert_default();
        messages.push_back((message, info));
        self.receivers.take_waker(messages.len() - 1)
    }

    /// The message of the receiver at this place, if it is there; and what the receiver slept with if
    /// it was not woken.
    pub(super) fn take(&mut self, place: &mut Place) -> Option<(Message, Option<Sleeper>)> {
        let index = self.receivers.ahead_of(*place);
        let (message, _) = self.messages.as_mut()?.remove(index)?;
        Some((message, self.receivers.leave_from(index, place)))
    }

    /// Returns what is known of the message that [`take`](Self::take) returns now.
    pub(super) fn info(&self, place: Place) -> Option<MessageInfo> {
        let index = self.receivers.ahead_of(place);
        self.messages.as_ref()?.get(index).map(|(_, info)| *info)
    }

    /// Number of queued messages.
    #[inline]
    pub(super) fn queued(&self) -> usize {
        self.messages.as_ref().map_or(0, |messages| messages.len())
    }

    /// Whether no message is queued and a receiver at this place is the first.
    #[inline]
    pub(super) fn is_next(&self, place: Place) -> bool {
        self.queued() == 0 && self.receivers.is_first(place)
    }

    /// Returns the first receiver, which is to be woken and keeps its place, if it waits and no
    /// message is queued.
    #[inline]
    pub(super) fn wake_first(&mut self) -> Option<Sleeper> {
        if self.queued() > 0 { None } else { self.receivers.take_waker(0) }
    }

    /// The first receiver has pulled a message and waits no more, if it did. What it slept with if it
    /// was not woken.
    #[inline]
    #[must_use = "a waker is dropped outside of borrows"]
    pub(super) fn leave_first(&mut self, place: &mut Place) -> Option<Sleeper> {
        self.receivers.leave_from(0, place)
    }

    /// Waits for a message. Returns what the receiver slept with before.
    #[inline]
    #[must_use = "a waker is dropped outside of borrows"]
    pub(super) fn wait(&mut self, place: &mut Place, sleeper: Sleeper) -> Option<Sleeper> {
        self.receivers.wait(place, sleeper)
    }

    /// A receiver gives up. The one that now has the message that it had, and what the one that left
    /// slept with.
    pub(super) fn leave(&mut self, place: &mut Place) -> (Option<Sleeper>, Option<Sleeper>) {
        let Some((index, left)) = self.receivers.leave(place) else { return (None, None) };
        let last = self.queued().checked_sub(1).filter(|&last| index <= last);
        (last.and_then(|last| self.receivers.take_waker(last)), left)
    }

    /// Returns `true` if it holds `room` messages beyond those that receivers wait for.
    #[inline]
    pub(super) fn holds(&self, room: u32) -> bool {
        self.queued() >= self.receivers.len() + room as usize
    }

    pub(super) fn discard_messages(&mut self) {
        self.messages = None;
    }

    /// Every receiver that was not woken.
    pub(super) fn take_receivers(&mut self) -> impl Iterator<Item = Sleeper> {
        self.receivers.take_wakers()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    struct Receiver {
        place: Place,
        woken: Arc<Count>,
    }

    impl Receiver {
        fn waiting_at(inbox: &mut Inbox) -> Self {
            let mut receiver = Self { place: None, woken: Arc::default() };
            let waker = Waker::from(Arc::clone(&receiver.woken));
            assert!(inbox.wait(&mut receiver.place, Sleeper::Waker(waker)).is_none());
            receiver
        }

        fn is_woken(&self) -> bool {
            self.woken.0.load(Ordering::SeqCst) > 0
        }
    }

    fn take(inbox: &mut Inbox, place: &mut Place) -> Option<Message> {
        inbox.take(place).map(|(message, _)| message)
    }

    fn push(inbox: &mut Inbox, text: &str) {
        let info = MessageInfo {
            received_at: None,
            wire_len: 0,
            is_compressed: false,
            last_in_buffer: true,
            tail_size: 0,
        };
        inbox.push(text.into(), info).into_iter().for_each(wake);
    }

    fn wake(sleeper: Sleeper) {
        match sleeper {
            Sleeper::Waker(waker) => waker.wake(),
            Sleeper::Task(_) => panic!("no task waits here"),
        }
    }

    #[test]
    fn each_message_goes_to_one_receiver_in_the_order_of_their_coming() {
        let mut inbox = Inbox::default();
        let (mut first, mut second) = (Receiver::waiting_at(&mut inbox), Receiver::waiting_at(&mut inbox));
        push(&mut inbox, "a");
        assert!(first.is_woken() && !second.is_woken());
        push(&mut inbox, "b");
        assert!(second.is_woken());
        assert_eq!(take(&mut inbox, &mut None), None, "both are spoken for");
        assert_eq!(take(&mut inbox, &mut second.place), Some("b".into()), "whoever is polled first");
        assert_eq!(take(&mut inbox, &mut first.place), Some("a".into()));
    }

    #[test]
    fn the_message_of_a_receiver_that_gives_up_goes_to_the_next() {
        let mut inbox = Inbox::default();
        let (mut first, mut second) = (Receiver::waiting_at(&mut inbox), Receiver::waiting_at(&mut inbox));
        push(&mut inbox, "a");
        wake(inbox.leave(&mut first.place).0.expect("there is one behind"));
        assert!(second.is_woken());
        assert_eq!(take(&mut inbox, &mut second.place), Some("a".into()));
    }

    #[test]
    fn a_receiver_that_gives_up_behind_the_messages_wakes_nobody() {
        let mut inbox = Inbox::default();
        let mut receivers: Vec<_> = (0..3).map(|_| Receiver::waiting_at(&mut inbox)).collect();
        push(&mut inbox, "a");
        assert!(inbox.leave(&mut receivers[1].place).0.is_none());
        assert!(!inbox.holds(0), "one receiver more waits");
        assert_eq!(take(&mut inbox, &mut receivers[0].place), Some("a".into()));
    }
}
