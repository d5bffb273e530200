//! The TLS state that all connections of a loop share.

use crate::net::TlsShared;
use crate::runtime::{PerLoop, WSLoopConfig};

impl PerLoop for TlsShared {
    fn new(_: &WSLoopConfig) -> Self {
        Self::default()
    }

    // Handshakes are granted to sources that waited for an iteration, so that none overtakes them.
    fn ready_list_begins(&self, config: &WSLoopConfig) {
        self.grant_handshakes(config.tls_handshakes_per_turn);
    }

    fn ready_list_ends(&self) {
        self.grant_handshakes(0);
    }

    fn retained(&self) -> usize {
        TlsShared::retained(self)
    }
}
