//! Both ends of a simulated link.

use std::cell::RefCell;
use std::rc::Rc;

use femtows::testkit::{Pair, TestKit};
use femtows::*;

use crate::authority::Authority;

/// What both ends of a simulated link use: the kit's server is called `testkit`.
pub(crate) fn both_ends() -> (WSServerConfig, WSConnectConfig) {
    let authority = Authority::new();
    let server = authority.issue(&["testkit"]).server();
    (WSServerConfig::default().tls(server), WSConnectConfig::default().tls(authority.client()))
}

/// What a listener has received.
#[derive(Clone, Default)]
pub(crate) struct Received(Rc<RefCell<Vec<Vec<u8>>>>);

impl Received {
    pub(crate) fn take(&self) -> Vec<Vec<u8>> {
        self.0.take()
    }

    pub(crate) fn push(&self, bytes: &[u8]) {
        self.0.borrow_mut().push(bytes.to_vec());
    }
}

/// Keeps the payloads of data frames, and sends them back if it is an echo.
pub(crate) struct Keeper {
    pub(crate) received: Received,
    pub(crate) is_echo: bool,
}

impl WSListener for Keeper {
    fn on_ws_frame(&mut self, transport: &WSTransport, frame: &mut WSFrame<'_>) -> WSResult {
        if frame.msg_type().is_control() {
            return Ok(());
        }
        if self.is_echo {
            transport.send(frame.msg_type(), frame.payload());
        }
        self.received.push(frame.payload());
        Ok(())
    }
}

pub(crate) fn echo() -> Keeper {
    Keeper { received: Received::default(), is_echo: true }
}

/// An echo server and a client that keeps what it receives, over TLS.
pub(crate) fn secure_pair(kit: &mut TestKit) -> (Pair, Received) {
    let (server, client) = both_ends();
    let received = Received::default();
    let listener = Keeper { received: received.clone(), is_echo: false };
    let pair = kit.pair(|_: &WSUpgradeRequest| echo(), listener, server, client).unwrap();
    (pair, received)
}
