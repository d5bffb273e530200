//! `close_notify` that arrives together with the last bytes, in one read.

use femtows::testkit::TestKit;
use femtows::*;

use crate::authority::Authority;
use crate::ends::{Keeper, Received, echo};
use crate::remote::{Remote, VERSIONS, Version, client_config, server_config};

/// A server of the library with an open connection, and what it has received.
fn our_server(kit: &mut TestKit, version: Version) -> (Remote, WSTransport, Received) {
    let authority = Authority::new();
    let config = WSServerConfig::default().tls(authority.issue(&["testkit"]).server());
    let received = Received::default();
    let kept = received.clone();
    let peer =
        kit.raw_server(move |_: &WSUpgradeRequest| Keeper { received: kept.clone(), is_echo: false }, config);
    let mut remote = Remote::client(peer, client_config(&authority, version), "testkit");
    remote.upgrade(kit);
    let server = kit.transport(remote.peer.link(), femtows::proto::Role::Server).unwrap();
    (remote, server, received)
}

/// A client of the library with an open connection.
fn our_client(kit: &mut TestKit, version: Version) -> (Remote, WSTransport) {
    let authority = Authority::new();
    let config = WSConnectConfig::default().tls(authority.client());
    let (peer, client) = kit.raw_client(echo(), config);
    let mut remote = Remote::server(peer, server_config(&authority.issue(&["testkit"]), version));
    remote.upgrade(kit);
    (remote, kit.block_on(client).unwrap())
}

/// Sends these records in one piece, and a FIN behind them if `fin`.
fn deliver(kit: &mut TestKit, remote: &mut Remote, records: &[Vec<u8>], fin: bool) {
    let bytes = records.concat();
    assert_eq!(remote.peer.write(&bytes), bytes.len());
    if fin {
        remote.peer.shutdown_write();
    }
    remote.exchange(kit);
}

#[test]
fn server_ends_at_close_notify_behind_the_last_message() {
    for version in VERSIONS {
        for fin in [true, false] {
            let mut kit = TestKit::new(1);
            let (mut remote, server, received) = our_server(&mut kit, version);
            let records = [remote.seal_frame(WSMsgType::Text, b"last"), remote.seal_close_notify()];
            deliver(&mut kit, &mut remote, &records, fin);
            assert_eq!(received.take(), [b"last"], "{version:?}, FIN: {fin}");
            let cause = server.disconnect_info().map(|info| info.cause);
            assert_eq!(cause, Some(WSDisconnectCause::PeerEof), "{version:?}, FIN: {fin}");
            assert!(remote.has_close_notify(), "{version:?}, FIN: {fin}");
        }
    }
}

/// Boost.Beast answers CLOSE so: it keeps TCP open until our `close_notify` has come.
#[test]
fn client_ends_at_close_notify_behind_the_answer_to_its_close() {
    for version in VERSIONS {
        for fin in [true, false] {
            let mut kit = TestKit::new(2);
            let (mut remote, client) = our_client(&mut kit, version);
            client.close(WSCloseCode::OK, "").unwrap();
            remote.exchange(&mut kit);
            let records = [remote.seal_frame(WSMsgType::Close, &[3, 232]), remote.seal_close_notify()];
            deliver(&mut kit, &mut remote, &records, fin);
            let cause = client.disconnect_info().map(|info| info.cause);
            assert_eq!(cause, Some(WSDisconnectCause::Closed), "{version:?}, FIN: {fin}");
            assert!(remote.has_close_notify(), "{version:?}, FIN: {fin}");
        }
    }
}

#[test]
fn client_ends_at_close_notify_behind_a_close_of_the_server() {
    for version in VERSIONS {
        for fin in [true, false] {
            let mut kit = TestKit::new(3);
            let (mut remote, client) = our_client(&mut kit, version);
            let records = [remote.seal_frame(WSMsgType::Close, &[3, 232]), remote.seal_close_notify()];
            deliver(&mut kit, &mut remote, &records, fin);
            let cause = client.disconnect_info().map(|info| info.cause);
            assert_eq!(cause, Some(WSDisconnectCause::Closed), "{version:?}, FIN: {fin}");
        }
    }
}

#[test]
fn client_ends_at_close_notify_behind_the_last_message() {
    for version in VERSIONS {
        for fin in [true, false] {
            let mut kit = TestKit::new(4);
            let (mut remote, client) = our_client(&mut kit, version);
            let records = [remote.seal_frame(WSMsgType::Text, b"last"), remote.seal_close_notify()];
            deliver(&mut kit, &mut remote, &records, fin);
            let cause = client.disconnect_info().map(|info| info.cause);
            assert_eq!(cause, Some(WSDisconnectCause::PeerEof), "{version:?}, FIN: {fin}");
        }
    }
}

/// While reading is paused the end waits, and is met when reading goes on.
#[test]
fn close_notify_behind_a_message_is_noticed_after_a_pause() {
    let mut kit = TestKit::new(5);
    let (mut remote, server, received) = our_server(&mut kit, &rustls::version::TLS13);
    server.pause_reading();
    let records = [remote.seal_frame(WSMsgType::Text, b"last"), remote.seal_close_notify()];
    deliver(&mut kit, &mut remote, &records, false);
    assert!(server.disconnect_info().is_none());
    server.resume_reading();
    remote.exchange(&mut kit);
    assert_eq!(received.take(), [b"last"]);
    assert_eq!(server.disconnect_info().map(|info| info.cause), Some(WSDisconnectCause::PeerEof));
}

/// The request and the end of the stream come together: the answer still goes out.
#[test]
fn server_ends_at_close_notify_behind_the_request() {
    let mut kit = TestKit::new(6);
    let authority = Authority::new();
    let config = WSServerConfig::default().tls(authority.issue(&["testkit"]).server());
    let peer = kit.raw_server(|_: &WSUpgradeRequest| echo(), config);
    let mut remote = Remote::client(peer, client_config(&authority, &rustls::version::TLS13), "testkit");
    remote.exchange(&mut kit);
    let records = [remote.seal_bytes(&femtows::testkit::Peer::request()), remote.seal_close_notify()];
    deliver(&mut kit, &mut remote, &records, false);
    assert!(remote.take_received().starts_with(b"HTTP/1.1 101 "));
    assert!(remote.has_close_notify());
}
