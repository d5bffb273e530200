//! Compressed messages, in both roles.

use femtows::{WSConnectConfig, WSDeflateConfig, WSMessageAdapter, WSServerConfig};

use crate::client::echoes_compressed;
use crate::limits;
use crate::peers::{Peer, WEBSOCKETS, WS};
use crate::server::EchoMessages;
use crate::support::running::serve;

fn configs() -> [WSDeflateConfig; 3] {
    let config = WSDeflateConfig::default;
    [config(), config().context_takeover(true), WSDeflateConfig::small_feeds().threshold(0)]
}

fn checked_by(peer: Peer) {
    if !peer.is_installed() {
        return;
    }
    for deflate in configs() {
        let config = WSServerConfig::default().limits(limits()).deflate(deflate);
        let server = serve(config, |_| WSMessageAdapter::new(EchoMessages));
        peer.check_compressed(&server.url("/"));
    }
}

fn against(peer: Peer) {
    if !peer.is_installed() {
        return;
    }
    let server = peer
        .serve_as(&["server", "--deflate-on"], &[], |line| line.strip_prefix("port ")?.trim().parse().ok());
    for deflate in configs() {
        echoes_compressed(&server, WSConnectConfig::default().deflate(deflate));
    }
    server.stop();
}

#[test]
fn websockets_client_and_our_compression() {
    checked_by(WEBSOCKETS);
}

#[test]
fn ws_client_and_our_compression() {
    checked_by(WS);
}

#[test]
fn our_compression_and_the_websockets_server() {
    against(WEBSOCKETS);
}

#[test]
fn our_compression_and_the_ws_server() {
    against(WS);
}
