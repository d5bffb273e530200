//! What can be asked of a connection about itself.

use femtows::{
    WSCloseCode, WSConnectConfig, WSServerConfig, WSTransport, WSTuning, WSUpgradeResponse,
    WSUpgradeResponseWithListener,
};

use crate::support::probe::{Probe, log};
use crate::support::running::{Client, Server, connect, serve};

/// Both ends of one connection.
fn pair(tuning: &WSTuning) -> (Server, Client) {
    let (server_log, opened) = log();
    let server = serve(WSServerConfig::default().tuning(tuning.clone()), move |_| {
        let response = WSUpgradeResponse::switching_protocols().header("X-Own", "yes").unwrap();
        let response = response.subprotocol("chat").unwrap();
        WSUpgradeResponseWithListener::new(response, Probe::new(&server_log)).unwrap()
    });
    let (client_log, _) = log();
    let config = WSConnectConfig::default().tuning(tuning.clone()).subprotocols(["chat"]);
    let client = connect(&server.url("/path?a=b"), config, Probe::new(&client_log));
    client.opened().unwrap();
    opened.connected();
    (server, client)
}

#[test]
fn both_ends_know_who_they_are() {
    let (server, client) = pair(&WSTuning::default());
    let flags = |transport: &WSTransport| {
        [transport.is_client_side(), transport.is_secure(), transport.is_disconnected()]
    };
    assert_eq!(server.on.ask_transport(0, flags), [false, false, false]);
    assert_eq!(client.on.ask_transport(0, flags), [true, false, false]);
    let addrs = |transport: &WSTransport| (transport.local_addr().unwrap(), transport.peer_addr().unwrap());
    let (local, peer) = client.on.ask_transport(0, addrs);
    assert_eq!(server.on.ask_transport(0, addrs), (peer, local), "one end's own is the other's peer");
    assert_eq!(peer, server.addr);
    let ids = server.on.ask_transport(0, |transport| (transport.id(), transport.remote().id()));
    assert_eq!(ids.0, ids.1);
    client.on.ask_transport(0, WSTransport::abort);
    assert!(client.on.ask_transport(0, WSTransport::is_disconnected));
}

/// What both ends say of the request's line and query, of the response, and of the subprotocol.
#[test]
fn both_ends_know_their_handshake_unless_they_forget_it() {
    let ask = |transport: &WSTransport| {
        let (request, response) = (transport.request()?, transport.response()?);
        Some([
            format!("{} {} {}", request.method(), request.target(), request.version()),
            request.query()?.to_owned(),
            format!("{} {} {}", response.version(), response.status(), response.get_header("x-own")?),
            transport.subprotocol()?,
        ])
    };
    let whole = ["GET /path?a=b HTTP/1.1", "a=b", "HTTP/1.1 101 yes", "chat"].map(str::to_owned);
    let (server, client) = pair(&WSTuning::default());
    assert_eq!(server.on.ask_transport(0, ask), Some(whole.clone()));
    assert_eq!(client.on.ask_transport(0, ask), Some(whole));
    let (server, client) = pair(&WSTuning::default().keep_handshake(false));
    for on in [&server.on, &client.on] {
        let kept = on.ask_transport(0, |transport| {
            transport.request().is_some()
                || transport.response().is_some()
                || transport.subprotocol().is_some()
        });
        assert!(!kept);
    }
}

/// Those of RFC 6455 section 7.4.1 and of IANA's registry.
#[test]
fn close_codes_are_those_of_the_registry() {
    let codes = [
        (WSCloseCode::OK, 1000),
        (WSCloseCode::GOING_AWAY, 1001),
        (WSCloseCode::PROTOCOL_ERROR, 1002),
        (WSCloseCode::UNSUPPORTED_DATA, 1003),
        (WSCloseCode::NO_INFO, 1005),
        (WSCloseCode::ABNORMAL_CLOSURE, 1006),
        (WSCloseCode::INVALID_TEXT, 1007),
        (WSCloseCode::POLICY_VIOLATION, 1008),
        (WSCloseCode::MESSAGE_TOO_BIG, 1009),
        (WSCloseCode::MANDATORY_EXTENSION, 1010),
        (WSCloseCode::INTERNAL_ERROR, 1011),
        (WSCloseCode::SERVICE_RESTART, 1012),
        (WSCloseCode::TRY_AGAIN_LATER, 1013),
        (WSCloseCode::BAD_GATEWAY, 1014),
        (WSCloseCode::TLS_HANDSHAKE, 1015),
    ];
    for (code, number) in codes {
        assert_eq!(code.0, number, "{}", code.name());
    }
}
