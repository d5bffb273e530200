//! The step between TCP and the upgrade in which a proxy is asked for a tunnel.

use std::rc::Rc;
use std::sync::Arc;

use crate::buf::RecvBuffer;

use super::error::WSConnectError;
use super::opening::{ClientOpening, Opening, Phase};
use crate::handshake::proxy::{Progress, Tunnel};

/// An exchange with a proxy under way.
pub(super) struct Tunnelling {
    pub(super) tunnel: Tunnel,
    /// How much of what the tunnel has to send has left.
    pub(super) sent: usize,
    pub(super) received: Vec<u8>,
}

impl ClientOpening {
    /// Speaks with the proxy at the other end until the stream leads to the server.
    pub(crate) async fn tunnel(self, tunnel: Tunnel) -> Result<Self, WSConnectError> {
        let tunnelling = Box::new(Tunnelling { tunnel, sent: 0, received: Vec::new() });
        self.inner.phase.replace(Phase::Tunnelling(tunnelling));
        self.inner.begin_exchange();
        std::future::poll_fn(|cx| self.inner.poll_connected(cx)).await?;
        Ok(self)
    }
}

impl Opening {
    pub(super) fn parse_proxy_answer(self: &Rc<Self>, buffer: &RecvBuffer) {
        let result = match &mut *self.phase.borrow_mut() {
            Phase::Tunnelling(tunnelling) => tunnelling.receive(buffer.filled()),
            _ => return,
        };
        match result {
            // The proxy may have to be told more.
            Ok(Progress::Incomplete) => self.send_outgoing(),
            Ok(Progress::Open { .. }) => {
                self.phase.replace(Phase::Connected);
                self.wake();
            }
            Err(error) => self.end(Err(error)),
        }
    }
}

impl Tunnelling {
    fn receive(&mut self, bytes: &[u8]) -> Result<Progress, WSConnectError> {
        self.received.extend_from_slice(bytes);
        let progress = self.tunnel.receive(&self.received).map_err(Arc::new)?;
        match progress {
            Progress::Open { consumed } if consumed < self.received.len() => {
                Err(Arc::new(self.tunnel.unexpected_bytes()).into())
            }
            progress => Ok(progress),
        }
    }

    pub(super) fn closed(&self) -> WSConnectError {
        Arc::new(self.tunnel.receive_eof()).into()
    }
}
