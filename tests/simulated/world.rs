//! What a schedule knows of its connections, and the invariants that hold at every moment.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use femtows::testkit::Random;
use femtows::{WSError, WSLoopHandle, WSTask, WSTransport};

use crate::coverage::{Event, count};
use crate::model::Outbound;
use crate::plan::EndPlan;

/// Shared by everything that runs in one schedule. No borrow lasts while the library may call back.
pub(crate) struct World {
    pub(crate) random: RefCell<Random>,
    pub(crate) handle: WSLoopHandle,
    ends: RefCell<Vec<End>>,
    failure: RefCell<Option<String>>,
    /// From here on nothing unexpected is done any more.
    pub(crate) calm: Cell<bool>,
    /// Nothing is done that may lose data: then all of it must arrive, and every connection must end cleanly.
    pub(crate) gentle: bool,
    trace: bool,
}

/// One end of one connection.
pub(crate) struct End {
    pub(crate) plan: EndPlan,
    pub(crate) transport: Option<WSTransport>,
    pub(crate) waiter: Option<WSTask<Result<(), WSError>>>,
    pub(crate) connected: u32,
    pub(crate) disconnected: u32,
    pub(crate) writing_paused: bool,
    pub(crate) watermarks: (usize, usize),
    pub(crate) close_received: bool,
    pub(crate) listener_gone: bool,
    pub(crate) out: Outbound,
}

/// Names an end: two follow each other per connection, the client's first.
pub(crate) type EndId = usize;

pub(crate) fn peer(id: EndId) -> EndId {
    id ^ 1
}

impl World {
    pub(crate) fn new(seed: u64, gentle: bool, handle: WSLoopHandle, trace: bool) -> Rc<Self> {
        Rc::new(Self {
            random: RefCell::new(Random::new(!seed)),
            handle,
            ends: RefCell::default(),
            failure: RefCell::default(),
            calm: Cell::new(false),
            gentle,
            trace,
        })
    }

    pub(crate) fn add_end(&self, plan: EndPlan) {
        self.ends.borrow_mut().push(End {
            watermarks: plan.watermarks,
            plan,
            transport: None,
            waiter: None,
            connected: 0,
            disconnected: 0,
            writing_paused: false,
            close_received: false,
            listener_gone: false,
            out: Outbound::default(),
        });
    }

    pub(crate) fn count(&self) -> usize {
        self.ends.borrow().len()
    }

    pub(crate) fn with<R>(&self, id: EndId, f: impl FnOnce(&mut End) -> R) -> R {
        f(&mut self.ends.borrow_mut()[id])
    }

    pub(crate) fn transport(&self, id: EndId) -> Option<WSTransport> {
        self.ends.borrow()[id].transport.clone()
    }

    pub(crate) fn below(&self, bound: usize) -> usize {
        self.random.borrow_mut().below(bound)
    }

    pub(crate) fn chance(&self, percent: usize) -> bool {
        self.random.borrow_mut().chance(percent)
    }

    pub(crate) fn note(&self, what: impl FnOnce() -> String) {
        if self.trace {
            eprintln!("{}", what());
        }
    }

    /// Remembers the first broken invariant; a panic here would be caught by the library.
    pub(crate) fn check(&self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.note(|| "  FAILED".into());
            self.failure.borrow_mut().get_or_insert_with(what);
        }
    }

    pub(crate) fn check_ok(&self, id: EndId, result: Result<(), String>) {
        if let Err(what) = result {
            self.check(false, || format!("end {id}: {what}"));
        }
    }

    pub(crate) fn failure(&self) -> Option<String> {
        self.failure.borrow().clone()
    }

    /// What holds for every end between any two steps.
    pub(crate) fn check_bounds(&self) {
        for id in 0..self.count() {
            let Some(transport) = self.transport(id) else { continue };
            self.check_end(id, &transport);
        }
    }

    pub(crate) fn check_end(&self, id: EndId, transport: &WSTransport) {
        let (limit, frames, bytes) =
            self.with(id, |end| (end.plan.outbound_bound(), end.out.dropped_frames, end.out.dropped_bytes));
        let buffered = transport.buffered_amount();
        self.check(buffered <= limit, || format!("end {id}: {buffered} bytes wait, the bound is {limit}"));
        let dropped = transport.dropped();
        self.check((dropped.frames, dropped.bytes) == (frames, bytes), || {
            format!("end {id}: counted {dropped:?}, sends reported {frames} frames, {bytes} bytes")
        });
    }

    /// When the loop is at rest, all that waits was refused, and the listener knows whether that is too much.
    pub(crate) fn check_pressure(&self, id: EndId) {
        let Some(transport) = self.transport(id).filter(|transport| !transport.is_disconnected()) else {
            return;
        };
        let waiting = transport.buffered_amount();
        self.with(id, |end| {
            let ((low, high), paused) = (end.watermarks, end.writing_paused);
            let told = if paused { waiting > low } else { waiting <= high };
            self.check(told, || format!("end {id}: {waiting} bytes wait, writing paused: {paused}"));
        });
    }

    /// What the ends themselves do not count.
    pub(crate) fn add_to_coverage(&self) {
        let dropped: u64 = self.ends.borrow().iter().map(|end| end.out.dropped_frames).sum();
        (0..dropped).for_each(|_| count(Event::FrameDropped));
    }

    /// Breaks the circles through this world.
    pub(crate) fn forget_transports(&self) {
        for end in self.ends.borrow_mut().iter_mut() {
            end.transport = None;
            end.waiter = None;
        }
    }
}
