//! The settings that the connections of one server, or one client connection, have in common.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::connection::{ConnectionConfig, WSTuning, WSWriteStrategy};
#[cfg(feature = "deflate")]
use crate::deflate::WSDeflateConfig;
use crate::proto::{MAX_SHORT_PAYLOAD, Rules};
use crate::runtime::Token;

/// What all connections of one server, or one client connection, have in common.
pub(crate) struct Settings {
    pub(crate) rules: Arc<Rules>,
    pub(crate) tuning: WSTuning,
    /// Frames may be gathered while the loop dispatches.
    pub(super) corks: bool,
    pub(crate) disconnect_on_error: bool,
    #[cfg(feature = "deflate")]
    pub(crate) deflate: Option<WSDeflateConfig>,
    /// Open connections that use these settings.
    connections: Cell<usize>,
    /// `connections`, for other threads.
    shared_count: Option<Arc<AtomicUsize>>,
    /// A server's: is called when a connection or a handshake has given up its slot.
    on_left: Option<OnLeft>,
}

type OnLeft = Box<dyn Fn(Token)>;

impl Settings {
    pub(crate) fn new(config: &ConnectionConfig) -> Rc<Self> {
        Rc::new(Self::build(config, None, None))
    }

    pub(crate) fn of_server(
        config: &ConnectionConfig,
        shared_count: Option<Arc<AtomicUsize>>,
        on_left: impl Fn(Token) + 'static,
    ) -> Rc<Self> {
        Rc::new(Self::build(config, shared_count, Some(Box::new(on_left))))
    }

    fn build(
        config: &ConnectionConfig,
        shared_count: Option<Arc<AtomicUsize>>,
        on_left: Option<OnLeft>,
    ) -> Self {
        Self {
            rules: config.rules(),
            // The short way of sending does not ask for the threshold.
            corks: config.tuning.write_strategy == WSWriteStrategy::Cork
                && config.tuning.no_copy_threshold > MAX_SHORT_PAYLOAD,
            tuning: config.tuning.clone(),
            disconnect_on_error: config.disconnect_on_error,
            #[cfg(feature = "deflate")]
            deflate: config.deflate.clone(),
            connections: Cell::new(0),
            shared_count,
            on_left,
        }
    }

    /// Returns the number of open connections that use these settings.
    pub(crate) fn connections(&self) -> usize {
        self.connections.get()
    }

    fn count(&self, connections: usize) {
        self.connections.set(connections);
        if let Some(shared) = &self.shared_count {
            shared.store(connections, Ordering::Relaxed);
        }
    }

    /// Counts a connection that has opened.
    pub(crate) fn opened(&self) {
        self.count(self.connections.get() + 1);
    }

    /// Records that an open connection has ended and given up its slot.
    pub(crate) fn closed(&self, token: Token) {
        self.count(self.connections.get() - 1);
        self.left(token);
    }

    /// Records that a handshake has given up its slot.
    pub(crate) fn left(&self, token: Token) {
        if let Some(on_left) = &self.on_left {
            on_left(token);
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("connections", &self.connections()).finish_non_exhaustive()
    }
}
