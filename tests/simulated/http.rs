//! The HTTP side of a server: methods, hosts, and headers of its responses.

use femtows::testkit::{Peer, TestKit};
use femtows::*;

/// The response to these bytes: head and body.
fn answer_of<F, R>(factory: F, request: &str) -> (String, String)
where
    F: FnMut(&WSUpgradeRequest) -> R + 'static,
    R: WSIntoUpgrade,
{
    let mut kit = TestKit::new(1);
    let mut peer = kit.raw_server(factory, WSServerConfig::default());
    peer.write(request.as_bytes());
    kit.run_until_idle();
    let answer = String::from_utf8(peer.read()).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {answer:?}"));
    (head.to_owned(), body.to_owned())
}

fn page(_: &WSUpgradeRequest) -> WSUpgradeResponse {
    WSUpgradeResponse::ok("all is well\n")
}

fn status(head: &str) -> &str {
    head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).unwrap_or(head)
}

/// A good upgrade request with one piece of it replaced.
fn upgrade_with(piece: &str, replacement: &str) -> String {
    let request = String::from_utf8(Peer::request()).unwrap();
    assert!(request.contains(piece), "{piece}");
    request.replacen(piece, replacement, 1)
}

#[test]
fn unclosed_bracket_in_host_is_refused_with_400() {
    let (head, body) = answer_of(page, "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n");
    assert_eq!((status(&head), body.as_str()), ("400", "the header Host is malformed\n"));
}

#[test]
fn second_port_in_host_is_refused_with_400() {
    let (head, body) = answer_of(page, "GET / HTTP/1.1\r\nHost: h:80:90\r\n\r\n");
    assert_eq!((status(&head), body.as_str()), ("400", "the header Host is malformed\n"));
}

#[test]
fn malformed_host_of_an_upgrade_is_refused_with_400() {
    for host in ["[::1", "h:80:90"] {
        let (head, _) = answer_of(page, &upgrade_with("Host: testkit", &format!("Host: {host}")));
        assert_eq!(status(&head), "400", "{host}");
    }
}

#[test]
fn malformed_authority_of_an_absolute_target_is_refused_with_400() {
    for target in ["http://[::1/", "http://h:80:90/", "http:///a", "https://user@h/", "http://?q"] {
        let (head, _) = answer_of(page, &format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n"));
        assert_eq!(status(&head), "400", "{target}");
    }
}
