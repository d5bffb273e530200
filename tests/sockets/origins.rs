//! Which pages may connect, and what they are told if they may not.

use femtows::{WSOriginPolicy, WSServerConfig, WSUpgradeRequest, WSUpgradeResponse};

use crate::support::peer::{Peer, header, status, upgrade_request};
use crate::support::probe::{Probe, log};
use crate::support::running::{Server, serve};

fn server_with(policy: WSOriginPolicy) -> Server {
    let (log, _) = log();
    serve(WSServerConfig::default().origin(policy), move |request: &WSUpgradeRequest| {
        if request.is_upgrade() {
            Ok(Probe::new(&log))
        } else {
            let page = WSUpgradeResponse::ok("<h1>fine</h1>").content_type("text/html").unwrap();
            Err(page.header("Cache-Control", "no-store").unwrap())
        }
    })
}

fn ask_from(server: &Server, origin: &str) -> u16 {
    let mut peer = Peer::connect_tcp(server.addr);
    let head = peer.ask(&upgrade_request("/", &format!("Origin: {origin}\r\n")));
    let status = status(&head);
    if status == 403 {
        assert_eq!(header(&head, "Connection").as_deref(), Some("close"));
        assert_eq!(peer.read_to_eof(), b"403 Forbidden");
    }
    status
}

#[test]
fn all_pages_may_connect_by_default() {
    let (log, _) = log();
    let server = serve(WSServerConfig::default(), move |_| Probe::new(&log));
    assert_eq!(ask_from(&server, "https://anywhere.example"), 101);
}

#[test]
fn a_foreign_page_is_refused_with_403() {
    // `upgrade_request` goes to the host `localhost`.
    let server = server_with(WSOriginPolicy::same_host());
    assert_eq!(ask_from(&server, "http://localhost"), 101);
    assert_eq!(ask_from(&server, "http://localhost:8080"), 403);
    assert_eq!(ask_from(&server, "https://evil.example"), 403);
    assert_eq!(ask_from(&server, "null"), 403);
    assert_eq!(status(&Peer::connect_tcp(server.addr).ask(&upgrade_request("/", ""))), 101, "no browser");

    let server = server_with(WSOriginPolicy::list(["https://app.example"]));
    assert_eq!(ask_from(&server, "https://app.example"), 101);
    assert_eq!(ask_from(&server, "http://localhost"), 403);

    let server =
        server_with(WSOriginPolicy::from_fn(|request| request.path() == "/" && request.origin().is_some()));
    assert_eq!(ask_from(&server, "null"), 101);
    assert_eq!(status(&Peer::connect_tcp(server.addr).ask(&upgrade_request("/", ""))), 403);
}

#[test]
fn a_policy_that_panics_is_500_and_the_server_lives_on() {
    let server = server_with(WSOriginPolicy::from_fn(|request| match request.origin() {
        Some(_) => panic!("the inner detail"),
        None => true,
    }));
    assert_eq!(ask_from(&server, "x"), 500);
    assert_eq!(status(&Peer::connect_tcp(server.addr).ask(&upgrade_request("/", ""))), 101);
}

/// A page of the server itself has to be reachable from anywhere; and it is the factory's, with its headers.
#[test]
fn t10_plain_http_is_not_asked_for_its_origin() {
    let server = server_with(WSOriginPolicy::list::<&str>([]));
    let mut peer = Peer::connect_tcp(server.addr);
    let head = peer.ask("GET /page HTTP/1.1\r\nHost: x\r\nOrigin: https://evil.example\r\n\r\n");
    assert_eq!(status(&head), 200);
    assert_eq!(header(&head, "Content-Type").as_deref(), Some("text/html"));
    assert_eq!(header(&head, "Cache-Control").as_deref(), Some("no-store"));
    assert_eq!(header(&head, "Connection").as_deref(), Some("close"));
    assert_eq!(peer.read_to_eof(), b"<h1>fine</h1>");
}
