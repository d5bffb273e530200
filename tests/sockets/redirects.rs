//! Redirections, followed or not.

use std::thread;
use std::time::Duration;

use femtows::{
    WSConnectConfig, WSConnectError, WSHandshakeErrorKind, WSHeaders, WSIntoUpgrade, WSLoopHandle, WSPhase,
    WSServerConfig, WSUpgradeOutcome, WSUpgradeRequest, WSUpgradeResponse,
};

use crate::support::peer::{PeerServer, header, switching};
use crate::support::probe::{Probe, log};
use crate::support::running::{Server, connect, serve};

/// A server that counts down: `/3` redirects to `2`, that to `1`, that to `0`, which opens.
fn countdown() -> Server {
    let (log, _events) = log();
    serve(WSServerConfig::default(), move |request: &WSUpgradeRequest| -> WSUpgradeOutcome {
        let left: u32 = request.path().trim_start_matches('/').parse().unwrap();
        if left == 0 {
            return Probe::new(&log).into_upgrade();
        }
        WSUpgradeResponse::redirect(302, &(left - 1).to_string()).unwrap().into_upgrade()
    })
}

#[test]
fn t13_chains_against_budgets() {
    let server = countdown();
    for budget in [0, 1, 5] {
        for chain in [0, 1, 2, 5, 6] {
            let (log, _events) = log();
            let config = WSConnectConfig::default().max_redirects(budget);
            let client = connect(&server.url(&format!("/{chain}")), config, Probe::new(&log));
            let result = client.opened();
            if chain > budget {
                let Err(WSConnectError::Handshake(error)) = result else {
                    panic!("{budget} {chain}: {result:?}")
                };
                assert_eq!(error.kind, WSHandshakeErrorKind::InvalidStatus(302), "the original error");
                let location = error.response.as_ref().unwrap().get_header("location").unwrap().into_owned();
                assert_eq!(location, (chain - budget - 1).to_string(), "that of the last answer");
                assert_eq!(client.on.ask(WSLoopHandle::slots), 0);
                continue;
            }
            result.unwrap_or_else(|error| panic!("{budget} {chain}: {error}"));
            let (url, redirected) = client.on.ask_transport(0, |transport| {
                let report = transport.connect_report().unwrap();
                (report.url.to_string(), report.redirected.len())
            });
            assert_eq!((url, redirected), (server.url("/0"), chain as usize));
        }
    }
}

#[test]
fn t13_every_status_that_redirects() {
    for status in [301, 302, 303, 307, 308] {
        let (log, _events) = log();
        let server = PeerServer::bind();
        let client = connect(&server.url("/a/b?q"), WSConnectConfig::default(), Probe::new(&log));
        let mut first = server.accept_tcp();
        first.read_head();
        first.write(format!("HTTP/1.1 {status} X\r\nLocation: c?d\r\nContent-Length: 0\r\n\r\n").as_bytes());
        let (_peer, request) = server.accept_asked();
        assert!(request.starts_with("GET /a/c?d HTTP/1.1\r\n"), "{request}");
        client.opened().unwrap();
        first.expect_gone();
    }
}

/// What a client with credentials sends to the server that it is redirected to: by the first server to `location`, in which `FIRST` and
/// `SECOND` stand for the servers' addresses.
fn request_after(location: &str) -> String {
    request_after_with(location, WSConnectConfig::default())
}

/// [`request_after`] of a client with further settings.
fn request_after_with(location: &str, config: WSConnectConfig) -> String {
    let (log, _events) = log();
    let (first, second) = (PeerServer::bind(), PeerServer::bind());
    let mut headers = WSHeaders::new();
    for (name, value) in [
        ("Cookie", "secret"),
        ("Host", "virtual.test"),
        ("X-Api-Key", "secret"),
        ("User-Agent", "agent/1"),
        ("Origin", "http://page.test"),
        ("Accept-Language", "de"),
    ] {
        headers.append(name, value).unwrap();
    }
    let url = format!("ws://user:secret@{}/", first.addr());
    let config = config.extra_headers(headers).subprotocols(["token.secret"]);
    let client = connect(&url, config, Probe::new(&log));
    let mut peer = first.accept_tcp();
    let asked = peer.read_head();
    assert!(header(&asked, "Authorization").is_some() && header(&asked, "Cookie").is_some());
    assert_eq!(header(&asked, "Host").as_deref(), Some("virtual.test"));
    let to =
        location.replace("FIRST", &first.addr().to_string()).replace("SECOND", &second.addr().to_string());
    peer.write(format!("HTTP/1.1 307 X\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n").as_bytes());
    let server = if location.contains("SECOND") { second } else { first };
    let (_peer, request) = server.accept_asked();
    client.opened().unwrap();
    request.replace(&server.addr().to_string(), "ADDR")
}

#[test]
fn t13_credentials_do_not_follow_to_another_origin() {
    for location in ["ws://SECOND/", "http://SECOND/", "//SECOND/"] {
        let request = request_after(location);
        for name in ["Authorization", "Cookie"] {
            assert_eq!(header(&request, name), None, "{location}: {request}");
        }
        assert_eq!(header(&request, "Host").as_deref(), Some("ADDR"), "{location}");
        assert!(!request.contains("secret"), "{request}");
    }
}

#[test]
fn custom_headers_do_not_follow_to_another_origin() {
    let request = request_after("ws://SECOND/");
    assert_eq!(header(&request, "X-Api-Key"), None);
}

#[test]
fn subprotocols_do_not_follow_to_another_origin() {
    let request = request_after("ws://SECOND/");
    assert_eq!(header(&request, "Sec-WebSocket-Protocol"), None);
}

#[test]
fn user_agent_origin_and_accept_headers_follow_to_another_origin() {
    let request = request_after("ws://SECOND/");
    assert_eq!(header(&request, "User-Agent").as_deref(), Some("agent/1"));
    assert_eq!(header(&request, "Origin").as_deref(), Some("http://page.test"));
    assert_eq!(header(&request, "Accept-Language").as_deref(), Some("de"));
}

#[test]
fn redirect_headers_name_what_follows_to_another_origin() {
    let named = WSConnectConfig::default().redirect_headers(["x-api-key", "sec-websocket-protocol"]);
    let request = request_after_with("ws://SECOND/", named);
    assert_eq!(header(&request, "X-Api-Key").as_deref(), Some("secret"));
    assert_eq!(header(&request, "Sec-WebSocket-Protocol").as_deref(), Some("token.secret"));
    assert_eq!(header(&request, "Cookie"), None);
}

#[test]
fn all_headers_and_subprotocols_stay_within_the_origin() {
    let request = request_after("/there");
    assert_eq!(header(&request, "X-Api-Key").as_deref(), Some("secret"));
    assert_eq!(header(&request, "Sec-WebSocket-Protocol").as_deref(), Some("token.secret"));
}

#[test]
fn t13_credentials_stay_within_the_origin() {
    for location in ["/there", "ws://FIRST/there", "http://FIRST/there"] {
        let request = request_after(location);
        assert_eq!(
            header(&request, "Authorization").as_deref(),
            Some("Basic dXNlcjpzZWNyZXQ="),
            "{location}"
        );
        assert_eq!(header(&request, "Cookie").as_deref(), Some("secret"));
        assert_eq!(header(&request, "Host").as_deref(), Some("virtual.test"));
    }
}

#[test]
fn t13_what_cannot_be_followed() {
    for (location, reason) in [
        ("", "lacks the header Location"),
        ("Location: ftp://h/\r\n", "leads to \"ftp://h/\""),
        ("Location: ws://:99999/\r\n", "leads to"),
    ] {
        let (log, _events) = log();
        let server = PeerServer::bind();
        let client = connect(&server.url("/"), WSConnectConfig::default(), Probe::new(&log));
        let mut peer = server.accept_tcp();
        peer.read_head();
        peer.write(format!("HTTP/1.1 302 X\r\n{location}Content-Length: 3\r\n\r\nwhy").as_bytes());
        let Err(WSConnectError::Handshake(error)) = client.opened() else { panic!("{location}") };
        let WSHandshakeErrorKind::InvalidRedirect(told) = &error.kind else { panic!("{error:?}") };
        assert!(told.starts_with(reason), "{told}");
        assert_eq!(error.raw_body, "why", "the answer comes out with it");
    }
}

#[cfg(not(feature = "tls"))]
#[test]
fn t02_a_redirection_to_wss_needs_tls() {
    let (log, _events) = log();
    let server = PeerServer::bind();
    let client = connect(&server.url("/"), WSConnectConfig::default(), Probe::new(&log));
    let mut peer = server.accept_tcp();
    peer.read_head();
    peer.write(b"HTTP/1.1 302 X\r\nLocation: wss://h/\r\nContent-Length: 0\r\n\r\n");
    assert!(matches!(client.opened(), Err(WSConnectError::Config(femtows::WSConfigError::TlsUnsupported))));
}

/// One deadline over all of it: steps that each take less than that do not add up to more.
#[test]
fn t02_redirections_do_not_extend_the_deadline() {
    let (log, _events) = log();
    let server = PeerServer::bind();
    let step = Duration::from_millis(700);
    let config = WSConnectConfig::default().handshake_timeout(Some(Duration::from_secs(1)));
    let client = connect(&server.url("/"), config, Probe::new(&log));
    let mut first = server.accept_tcp();
    first.read_head();
    thread::sleep(step);
    first.write(b"HTTP/1.1 302 X\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n");
    let mut second = server.accept_tcp();
    let key = header(&second.read_head(), "Sec-WebSocket-Key").unwrap();
    thread::sleep(step);
    second.try_write(switching(&key, "").as_bytes());
    assert!(matches!(client.opened(), Err(WSConnectError::Timeout { phase: WSPhase::Opening, .. })));
}
