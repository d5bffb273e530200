//! Times callbacks, for a loop that measures them or warns of slow ones.

use std::time::{Duration, Instant};

use crate::connection::{WSListener, WSResult, WSTransport};

use super::listener::ListenerEvent;

/// Least time between two warnings about a connection.
const INTERVAL: Duration = Duration::from_secs(60);

/// Calls the listener, notes in the metrics how long that took, and warns if it was too long.
#[cold]
pub(super) fn call_timed(
    listener: &mut dyn WSListener,
    transport: &WSTransport,
    event: ListenerEvent<'_, '_>,
) -> WSResult {
    let begin = Instant::now();
    let result = event.call(listener, transport);
    let end = Instant::now();
    let took = end.saturating_duration_since(begin);
    let (conn, core) = (transport.conn(), transport.conn().core());
    if core.config().measure_callbacks {
        core.metrics().callback_took(took);
    }
    let is_slow = core.config().slow_callback.is_some_and(|limit| took >= limit);
    if is_slow && conn.rare().warns_of_slowness(end, INTERVAL) {
        warn_limited!("connection {}: a callback blocked the loop for {took:?}", conn.id());
    }
    result
}
