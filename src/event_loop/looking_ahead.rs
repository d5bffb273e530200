//! With many connections the caches are asked for those that are served next while others are.
//!
//! What a frame needs is at the end of chains of pointers, each of which is known only when the one before it has come. So the chains of
//! several connections are followed at once, a step of all before the next, and nobody waits for any.

use mio::Events;
use mio::event::Event;

use crate::sys;

use super::connection::Conn;
use super::core::{LoopCore, Slot};
use super::slots::Token;

/// From how many slots on they are not expected to be in the caches.
const MANY_SLOTS: usize = 256;

/// How many events are looked at ahead.
const LOOK_AHEAD: usize = 8;

/// Steps of [`Conn::prefetch`].
const STEPS: usize = 4;

impl LoopCore {
    /// Whether there are more connections than the caches keep.
    #[inline]
    pub(super) fn has_many_slots(&self) -> bool {
        self.slots.borrow().len() >= MANY_SLOTS
    }

    /// Serves all events, in order.
    #[inline(never)]
    pub(super) fn serve_looking_ahead(&self, events: &Events, serve: impl Fn(&Event)) {
        let mut events = events.iter();
        for served in 0.. {
            if served % LOOK_AHEAD == 0 {
                let next = events.clone().take(LOOK_AHEAD);
                self.prefetch(&next.map(|event| Token::from_mio(event.token())));
            }
            let Some(event) = events.next() else { return };
            serve(event);
        }
    }

    #[inline(never)]
    fn prefetch(&self, tokens: &(impl Iterator<Item = Token> + Clone)) {
        let slots = self.slots.borrow();
        for step in 0..STEPS {
            for token in tokens.clone() {
                if let Some(Slot::Open(conn)) = slots.get(token) {
                    conn.prefetch(step);
                }
            }
        }
    }
}

impl Conn {
    /// Asks the caches for what the next frame will touch: this, its listener, and what that is known to lead to. To be called for each
    /// step in turn, with time between them.
    fn prefetch(&self, step: usize) {
        if step == 0 {
            return sys::prefetch(self);
        }
        let listener = self.listener.take();
        match (&listener, step) {
            (Some(listener), 1) => sys::prefetch(&**listener),
            (Some(listener), _) => listener.prefetch(step - 2),
            (None, _) => {}
        }
        self.listener.set(listener);
    }
}
