//! The interface of what lives in a slot of the loop.

use std::any::Any;
use std::rc::Rc;

use bytes::Bytes;

use crate::proto::{SendOptions, WSCloseCode, WSMsgType, WSPreparedFrame, WSPreparedMessage};

/// Something that lives in a slot of the loop.
///
/// Each method serves one event, so an event costs one virtual call; frames cost none.
pub(crate) trait Source: Any {
    /// Serves a readiness event, or an iteration requested with
    /// [`make_ready`](super::LoopCore::make_ready).
    fn ready(self: Rc<Self>, readiness: Readiness);

    /// Serves a timer that was set with this kind.
    fn timer(self: Rc<Self>, kind: TimerKind) {
        let _ = kind;
    }

    /// Serves a call that was deferred with this kind. The source may have left its slot meanwhile.
    fn deferred(self: Rc<Self>, kind: u8) {
        let _ = kind;
    }

    /// Brings the source up to date at the end of the dispatch in which it was
    /// [marked dirty](super::LoopCore::mark_dirty). The loop holds sources for this, not
    /// connections, so that it need not know what is written.
    fn drive(self: Rc<Self>) {}

    /// Carries out a request of another thread.
    fn command(self: Rc<Self>, command: Command) {
        drop(command);
    }

    /// Begins to end. Returns `true` if the source frees its slot because of this and
    /// [`WSLoop::shutdown`](super::WSLoop::shutdown) is to wait for that.
    fn shut_down(self: Rc<Self>, how: Shutdown<'_>) -> bool;

    /// Returns the name of the type of source, for diagnostics.
    fn kind(&self) -> &'static str;
}

/// A timer of a source. The numbers are the source's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimerKind(pub(crate) u8);

impl TimerKind {
    /// The one deadline of the source's current state.
    pub(crate) const DEADLINE: Self = Self(0);
}

/// How a source is to end.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shutdown<'a> {
    /// Accepts no more connections, and refuses those whose handshake is not complete.
    StopAccepting,
    /// Starts the closing handshake.
    Close(WSCloseCode, &'a str),
    /// Ends at once: the loop is being dropped.
    LoopDropped,
}

/// A request of another thread to one source.
pub(crate) enum Command {
    Send { msg_type: WSMsgType, payload: Bytes, compress: Option<bool> },
    SendFrame { msg_type: WSMsgType, payload: Bytes, options: SendOptions },
    SendPrepared(WSPreparedMessage),
    SendPreparedFrame(WSPreparedFrame),
    SendClose { code: WSCloseCode, reason: Box<str> },
    Disconnect { graceful: bool },
}

impl Command {
    /// Returns the size of the memory behind the command. Shared payloads count in full, because
    /// the command keeps them alive.
    pub(super) fn size_behind(&self) -> usize {
        match self {
            Self::Send { payload, .. } | Self::SendFrame { payload, .. } => payload.len(),
            Self::SendPrepared(message) => message.payload().len(),
            Self::SendPreparedFrame(frame) => frame.payload().len(),
            Self::SendClose { reason, .. } => reason.len(),
            Self::Disconnect { .. } => 0,
        }
    }
}

impl Command {
    /// Returns the payload bytes that it adds to the backlog of its connection.
    pub(crate) fn adds_to_backlog(&self) -> usize {
        match self {
            Self::SendClose { .. } | Self::Disconnect { .. } => 0,
            _ => self.size_behind(),
        }
    }
}

/// The readiness of a socket, as the kernel reports it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Readiness {
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// The peer's half has ended, or the socket is in error: reading up to the end will show it.
    pub(crate) read_closed: bool,
}

impl Readiness {
    #[inline]
    pub(super) fn of(event: &mio::event::Event) -> Self {
        let read_closed = event.is_read_closed() || event.is_error();
        Self { readable: event.is_readable() || read_closed, writable: event.is_writable(), read_closed }
    }

    /// Whether bytes have arrived, and that is all.
    #[inline]
    pub(crate) fn is_plain_data(self) -> bool {
        self.readable && !self.read_closed
    }

    /// Continue reading without an event.
    pub(super) const READ_ON: Self = Self { readable: true, writable: false, read_closed: false };
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::future::Future;
    use std::panic::{self, AssertUnwindSafe};
    use std::sync::Arc;
    use std::task::{Context, Wake, Waker};
    use std::time::{Duration, Instant};

    use super::super::{LoopCore, Token, WSLoopHandle};
    use super::*;

    /// A source that records its events.
    #[derive(Default)]
    struct Recorder {
        events: RefCell<Vec<String>>,
    }

    impl Recorder {
        fn note(&self, event: impl Into<String>) {
            self.events.borrow_mut().push(event.into());
        }
    }

    impl Source for Recorder {
        fn ready(self: Rc<Self>, readiness: Readiness) {
            self.note(format!("ready, readable: {}", readiness.readable));
        }

        fn timer(self: Rc<Self>, kind: TimerKind) {
            self.note(format!("timer {}", kind.0));
        }

        fn deferred(self: Rc<Self>, kind: u8) {
            self.note(format!("deferred {kind}"));
        }

        fn drive(self: Rc<Self>) {
            self.note("drive");
        }

        fn command(self: Rc<Self>, command: Command) {
            self.note(format!("command with {} bytes", command.size_behind()));
        }

        fn shut_down(self: Rc<Self>, how: Shutdown<'_>) -> bool {
            self.note(format!("{how:?}"));
            matches!(how, Shutdown::Close(..))
        }

        fn kind(&self) -> &'static str {
            "recorder"
        }
    }

    /// A loop with one source.
    fn recorded() -> (mio::Poll, Rc<LoopCore>, Rc<Recorder>, Token) {
        let poll = mio::Poll::new().unwrap();
        let registry = poll.registry().try_clone().unwrap();
        let core = LoopCore::new(<_>::default(), registry, Instant::now()).unwrap();
        core.use_virtual_time();
        let recorder = Rc::new(Recorder::default());
        let token = core.insert(&recorder);
        (poll, core, recorder, token)
    }

    #[test]
    fn each_event_reaches_its_source() {
        let (_poll, core, recorder, token) = recorded();
        core.ready(token, Readiness::READ_ON);
        core.add_timer(core.now() + Duration::from_secs(1), token, TimerKind(3));
        core.set_now(core.now() + Duration::from_secs(1));
        core.run_timers();
        let close = Command::SendClose { code: WSCloseCode::OK, reason: "bye".into() };
        core.remote().command(token, close).unwrap();
        core.run_inbox();
        assert_eq!(*recorder.events.borrow(), ["ready, readable: true", "timer 3", "command with 3 bytes"]);
    }

    #[test]
    fn deferred_calls_come_before_drive_and_outlive_the_slot() {
        let (_poll, core, recorder, token) = recorded();
        core.mark_dirty(&recorder);
        core.defer_source(&recorder, 7);
        core.remove(token);
        core.ready(token, Readiness::READ_ON);
        core.settle();
        assert_eq!(*recorder.events.borrow(), ["deferred 7", "drive"]);
        assert!(!core.has_work());
    }

    #[test]
    fn shutdown_returns_the_sources_to_wait_for() {
        let (_poll, core, recorder, token) = recorded();
        assert!(core.shut_down(Shutdown::StopAccepting).is_empty());
        assert_eq!(core.shut_down(Shutdown::Close(WSCloseCode::OK, "")), [token]);
        assert_eq!(recorder.events.borrow()[0], "StopAccepting");
    }

    #[test]
    fn sources_are_found_by_type() {
        let (_poll, core, recorder, token) = recorded();
        assert!(core.source::<Recorder>(token).is_some_and(|found| Rc::ptr_eq(&found, &recorder)));
        assert!(core.sources(|_: &Recorder| false).is_empty());
        assert_eq!(core.sources(|_: &Recorder| true).len(), 1);
        assert_eq!(core.source_kinds().into_iter().collect::<Vec<_>>(), [("recorder", 1)]);
    }

    /// A source that panics whatever happens to it.
    struct Panicking;

    impl Source for Panicking {
        fn ready(self: Rc<Self>, _: Readiness) {
            panic!("ready");
        }

        fn drive(self: Rc<Self>) {
            panic!("drive");
        }

        fn command(self: Rc<Self>, _: Command) {
            panic!("command");
        }

        fn shut_down(self: Rc<Self>, _: Shutdown<'_>) -> bool {
            false
        }

        fn kind(&self) -> &'static str {
            "panicking"
        }
    }

    #[test]
    fn a_panic_in_a_command_loses_no_other_request() {
        let (_poll, core, recorder, token) = recorded();
        let panicking = core.insert(&Rc::new(Panicking));
        for to in [panicking, token] {
            core.remote().command(to, Command::Disconnect { graceful: false }).unwrap();
        }
        core.iterate(|| {});
        assert_eq!(*recorder.events.borrow(), ["command with 0 bytes"]);
        assert_eq!(core.inbox().queued(), 0, "the room in the inbox was given back");
    }

    #[test]
    fn a_panic_of_a_source_leaves_the_work_of_others_for_the_next_iteration() {
        let (_poll, core, recorder, token) = recorded();
        let panicking = Rc::new(Panicking);
        let other = core.insert(&panicking);
        core.mark_dirty(&panicking);
        core.mark_dirty(&recorder);
        core.make_ready(other);
        core.make_ready(token);
        for _ in 0..3 {
            let _ = panic::catch_unwind(AssertUnwindSafe(|| core.iterate(|| {})));
            assert!(!core.is_dispatching());
        }
        let events = recorder.events.borrow();
        assert!(
            events.contains(&"drive".into()) && events.contains(&"ready, readable: true".into()),
            "{events:?}"
        );
        assert!(!core.has_work());
    }

    #[test]
    fn a_waker_that_panics_does_not_end_the_loop() {
        struct PanickingWaker;

        impl Wake for PanickingWaker {
            fn wake(self: Arc<Self>) {
                panic!("wake");
            }
        }

        let (_poll, core, recorder, token) = recorded();
        let waker = Waker::from(Arc::new(PanickingWaker));
        let mut sleep = std::pin::pin!(WSLoopHandle::new(Rc::clone(&core)).sleep(Duration::from_secs(1)));
        assert!(sleep.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        core.add_timer(core.now() + Duration::from_secs(1), token, TimerKind(3));
        core.set_now(core.now() + Duration::from_secs(1));
        core.iterate(|| {});
        assert_eq!(*recorder.events.borrow(), ["timer 3"]);
    }
}
