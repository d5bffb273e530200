//! The library as server: each peer's client runs its checks against it.

use femtows::{
    WSIntoUpgrade, WSMessage, WSMessageAdapter, WSMessageListener, WSResult, WSServerConfig, WSTransport,
};

use crate::peers::{PICOWS, Peer, WEBSOCKETS, WS};
use crate::support::probe::{Probe, log};
use crate::support::running::serve;
use crate::{Api, limits};

pub(crate) struct EchoMessages;

impl WSMessageListener for EchoMessages {
    fn on_ws_message(&mut self, transport: &WSTransport, message: WSMessage<'_>) -> WSResult {
        transport.send(message.msg_type(), message);
        Ok(())
    }
}

fn checked_by(peer: Peer, api: Api) {
    if !peer.is_installed() {
        return;
    }
    let (log, _) = log();
    let server = serve(WSServerConfig::default().limits(limits()), move |_| match api {
        Api::Frames => Probe::new(&log).echo().into_upgrade(),
        Api::Messages => WSMessageAdapter::new(EchoMessages).into_upgrade(),
    });
    peer.check(&server.url("/"));
}

#[test]
fn websockets_client_and_our_frames() {
    checked_by(WEBSOCKETS, Api::Frames);
}

#[test]
fn websockets_client_and_our_messages() {
    checked_by(WEBSOCKETS, Api::Messages);
}

#[test]
fn picows_client_and_our_frames() {
    checked_by(PICOWS, Api::Frames);
}

#[test]
fn picows_client_and_our_messages() {
    checked_by(PICOWS, Api::Messages);
}

#[test]
fn ws_client_and_our_frames() {
    checked_by(WS, Api::Frames);
}

#[test]
fn ws_client_and_our_messages() {
    checked_by(WS, Api::Messages);
}
