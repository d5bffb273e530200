//! Measures callbacks, for a loop that was asked to.

use std::sync::Arc;
use std::time::Instant;

use crate::connection::{WSListener, WSResult, WSTransport};
use crate::proto::WSFrame;
use crate::runtime::WSMetrics;

/// A listener, and how long its callbacks take. A loop that does not measure has none of these.
pub(super) struct Timed {
    listener: Box<dyn WSListener>,
    metrics: Arc<WSMetrics>,
}

impl Timed {
    pub(super) fn new(listener: Box<dyn WSListener>, metrics: Arc<WSMetrics>) -> Self {
        Self { listener, metrics }
    }

    fn measure<R>(&mut self, call: impl FnOnce(&mut dyn WSListener) -> R) -> R {
        let begin = Instant::now();
        let result = call(&mut *self.listener);
        self.metrics.callback_took(begin.elapsed());
        result
    }
}

impl WSListener for Timed {
    fn on_ws_connected(&mut self, transport: &WSTransport) -> WSResult {
        self.measure(|listener| listener.on_ws_connected(transport))
    }

    fn on_ws_frame(&mut self, transport: &WSTransport, frame: &mut WSFrame<'_>) -> WSResult {
        self.measure(|listener| listener.on_ws_frame(transport, frame))
    }

    fn on_ws_disconnected(&mut self, transport: &WSTransport) {
        self.measure(|listener| listener.on_ws_disconnected(transport));
    }

    fn send_user_specific_ping(&mut self, transport: &WSTransport) -> WSResult {
        self.measure(|listener| listener.send_user_specific_ping(transport))
    }

    fn is_user_specific_pong(&mut self, frame: &WSFrame<'_>) -> bool {
        self.measure(|listener| listener.is_user_specific_pong(frame))
    }

    fn pause_writing(&mut self, transport: &WSTransport) {
        self.measure(|listener| listener.pause_writing(transport));
    }

    fn resume_writing(&mut self, transport: &WSTransport) {
        self.measure(|listener| listener.resume_writing(transport));
    }

    fn lets_tasks_pull(&self) -> bool {
        self.listener.lets_tasks_pull()
    }
}
