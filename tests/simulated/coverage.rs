//! How often the interesting things happened: schedules in which they do not would prove nothing.

use std::sync::atomic::{AtomicU64, Ordering};

use femtows::WSDisconnectCause;

/// Something that schedules must reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Connected,
    FrameDelivered,
    MessageDelivered,
    CloseDelivered,
    PongDelivered,
    WritingPaused,
    WritingResumed,
    FrameDropped,
    EndClosed,
    EndDisconnected,
    EndPeerEof,
    EndListenerError,
    EndOverflow,
    EndCloseTimeout,
    EndIo,
}

const EVENTS: [Event; 15] = [
    Event::Connected,
    Event::FrameDelivered,
    Event::MessageDelivered,
    Event::CloseDelivered,
    Event::PongDelivered,
    Event::WritingPaused,
    Event::WritingResumed,
    Event::FrameDropped,
    Event::EndClosed,
    Event::EndDisconnected,
    Event::EndPeerEof,
    Event::EndListenerError,
    Event::EndOverflow,
    Event::EndCloseTimeout,
    Event::EndIo,
];

static COUNTS: [AtomicU64; EVENTS.len()] = [const { AtomicU64::new(0) }; EVENTS.len()];

pub(crate) fn count(event: Event) {
    COUNTS[event as usize].fetch_add(1, Ordering::Relaxed);
}

pub(crate) fn count_end(cause: WSDisconnectCause) {
    let event = match cause {
        WSDisconnectCause::Closed => Event::EndClosed,
        WSDisconnectCause::Disconnected => Event::EndDisconnected,
        WSDisconnectCause::PeerEof => Event::EndPeerEof,
        WSDisconnectCause::ListenerError => Event::EndListenerError,
        WSDisconnectCause::Overflow => Event::EndOverflow,
        WSDisconnectCause::CloseTimeout => Event::EndCloseTimeout,
        WSDisconnectCause::Io(_) => Event::EndIo,
        _ => return,
    };
    count(event);
}

pub(crate) fn report() -> Vec<(Event, u64)> {
    EVENTS.iter().map(|&event| (event, COUNTS[event as usize].load(Ordering::Relaxed))).collect()
}
