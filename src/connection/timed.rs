//! Measures callbacks, for a loop that was asked to.

use std::time::Instant;

use crate::connection::{WSListener, WSResult, WSTransport};
use crate::runtime::WSMetrics;

use super::listener::ListenerEvent;

/// Calls the listener and notes in `metrics` how long that took.
#[cold]
pub(super) fn call_timed(
    metrics: &WSMetrics,
    listener: &mut dyn WSListener,
    transport: &WSTransport,
    event: ListenerEvent<'_, '_>,
) -> WSResult {
    let begin = Instant::now();
    let result = event.call(listener, transport);
    metrics.callback_took(begin.elapsed());
    result
}
