//! The HTTP side of a server: methods, hosts, and headers of its responses.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use femtows::testkit::{Peer, TestKit};
use femtows::*;

use crate::recorder::Recorder;

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

/// The values of a header.
fn values<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    let fields = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    fields.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
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

#[test]
fn head_reaches_the_factory_like_get() {
    let seen = Rc::new(RefCell::new(Vec::new()));
    for method in ["GET", "HEAD"] {
        let log = Rc::clone(&seen);
        let factory = move |request: &WSUpgradeRequest| {
            log.borrow_mut().push(format!("{} {}", request.method(), request.path()));
            WSUpgradeResponse::ok("all is well\n")
        };
        let (head, _) = answer_of(factory, &format!("{method} /health HTTP/1.1\r\nHost: h\r\n\r\n"));
        assert_eq!(status(&head), "200", "{method}");
    }
    assert_eq!(*seen.borrow(), ["GET /health", "HEAD /health"]);
}

/// RFC 9110 section 9.3.2.
#[test]
fn answer_to_head_has_the_headers_of_get_and_no_body() {
    let (of_get, body) = answer_of(page, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(body, "all is well\n");
    let (of_head, body) = answer_of(page, "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(body, "");
    assert_eq!(of_head, of_get);
    assert_eq!(values(&of_head, "Content-Length"), ["12"]);
}

#[test]
fn deferred_answer_to_head_has_no_body() {
    let (ticket, later) = WSDeferredUpgrade::new();
    ticket.reject(WSUpgradeResponse::error(403, "not you\n").unwrap());
    let mut later = Some(later);
    let (head, body) = answer_of(move |_| later.take(), "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!((status(&head), body.as_str()), ("403", ""));
    assert_eq!(values(&head, "Content-Length"), ["8"]);
}

#[test]
fn listener_for_head_is_refused_with_426_and_no_body() {
    let (head, body) = answer_of(|_| Recorder::default(), "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!((status(&head), body.as_str()), ("426", ""));
}

#[test]
fn refusal_of_a_malformed_head_request_has_no_body() {
    for rest in
        [" / HTTP/1.1\r\n\r\n", " / HTTP/1.0\r\n", " / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n"]
    {
        let (head, body) = answer_of(page, &format!("HEAD{rest}"));
        assert_eq!((status(&head), body.as_str()), ("400", ""), "{rest:?}");
        assert_ne!(values(&head, "Content-Length"), ["0"], "{rest:?}");
    }
}

/// RFC 6455 section 4.2.1, item 1: the method is GET.
#[test]
fn upgrade_by_head_is_refused_with_400() {
    let (head, body) = answer_of(|_| Recorder::default(), &upgrade_with("GET ", "HEAD "));
    assert_eq!((status(&head), body.as_str()), ("400", ""));
}

#[test]
fn other_methods_are_refused_with_405_and_allow() {
    for method in
        ["POST", "PUT", "DELETE", "OPTIONS", "CONNECT", "PATCH", "TRACE", "get", "GETX", "HEADER", "X"]
    {
        let (head, body) = answer_of(page, &format!("{method} / HTTP/1.1\r\nHost: h\r\n\r\n"));
        assert_eq!(
            (status(&head), body.as_str()),
            ("405", "only GET and HEAD are served here\n"),
            "{method}"
        );
        assert_eq!(values(&head, "Allow"), ["GET, HEAD"], "{method}");
    }
}

#[test]
fn upgrade_by_another_method_is_refused_with_405() {
    let (head, _) = answer_of(|_| Recorder::default(), &upgrade_with("GET ", "POST "));
    assert_eq!(status(&head), "405");
}

#[test]
fn connection_header_of_a_refusal_is_overridden() {
    let factory = |_: &WSUpgradeRequest| {
        WSUpgradeResponse::error(404, "none\n")
            .unwrap()
            .header("connection", "keep-alive")
            .unwrap_or_else(|error| WSUpgradeResponse::ok(error.to_string()))
    };
    let (head, body) = answer_of(factory, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!((status(&head), body.as_str()), ("404", "none\n"));
    assert_eq!(values(&head, "Connection"), ["close"]);
}

#[test]
fn connection_header_of_a_101_is_overridden() {
    let factory = |_: &WSUpgradeRequest| {
        let response = WSUpgradeResponse::switching_protocols().header("Connection", "close");
        response.map_err(|error| WSUpgradeResponse::ok(error.to_string())).and_then(|response| {
            WSUpgradeResponseWithListener::new(response.header("X-Own", "1").unwrap(), Recorder::default())
                .map_err(|error| WSUpgradeResponse::ok(error.to_string()))
        })
    };
    let (head, _) = answer_of(factory, &String::from_utf8(Peer::request()).unwrap());
    assert_eq!(status(&head), "101", "{head}");
    assert_eq!(values(&head, "Connection"), ["Upgrade"]);
    assert_eq!(values(&head, "X-Own"), ["1"]);
}

/// RFC 9110 section 11.6.1.
#[test]
fn unauthorized_has_the_challenge() {
    let refuse = |_: &WSUpgradeRequest| WSUpgradeResponse::unauthorized("Basic realm=\"chat\"");
    let (head, body) = answer_of(move |request| Err::<Recorder, _>(refuse(request)?), &upgrade());
    assert_eq!((status(&head), body.as_str()), ("401", "401 Unauthorized"));
    assert_eq!(values(&head, "WWW-Authenticate"), ["Basic realm=\"chat\""]);
}

/// RFC 6585 section 4, RFC 9110 section 10.2.3.
#[test]
fn too_many_requests_has_retry_after_in_whole_seconds() {
    for (after, seconds) in [(0, "0"), (1, "1"), (1_000, "1"), (1_001, "2"), (90_000, "90")] {
        let response = WSUpgradeResponse::too_many_requests(Duration::from_millis(after));
        let (head, body) = answer_of(move |_| response.clone(), &upgrade());
        assert_eq!((status(&head), body.as_str()), ("429", "429 Too Many Requests"), "{after}");
        assert_eq!(values(&head, "Retry-After"), [seconds], "{after}");
    }
}

#[cfg(feature = "json")]
#[test]
fn json_refusal_has_its_content_type() {
    let factory = |_: &WSUpgradeRequest| -> Result<Recorder, WSUpgradeResponse> {
        Err(WSUpgradeResponse::json(403, &std::collections::BTreeMap::from([("error", "not you")]))?)
    };
    let (head, body) = answer_of(factory, &upgrade());
    assert_eq!((status(&head), body.as_str()), ("403", r#"{"error":"not you"}"#));
    assert_eq!(values(&head, "Content-Type"), ["application/json"]);
    for status in [101, 204, 302, 399, 600] {
        assert!(WSUpgradeResponse::json(status, &1).is_err(), "{status}");
    }
}

fn upgrade() -> String {
    String::from_utf8(Peer::request()).unwrap()
}

/// An error that decides on its response.
struct Busy;

impl From<Busy> for WSUpgradeResponse {
    fn from(_: Busy) -> Self {
        Self::too_many_requests(Duration::from_secs(5))
    }
}

#[test]
fn errors_of_a_factory_become_their_response() {
    type Decision = Result<Recorder, WSUpgradeResponse>;
    let invalid_header = |_: &WSUpgradeRequest| -> Decision {
        Err(WSUpgradeResponse::not_found().header("inner detail", "x")?)
    };
    let invalid_response =
        |_: &WSUpgradeRequest| -> Decision { Err(WSUpgradeResponse::error(200, "inner detail")?) };
    let any_error = |_: &WSUpgradeRequest| -> Decision {
        let error: Box<dyn std::error::Error + Send + Sync> = "inner detail".into();
        Err(error)?
    };
    let answers = [
        answer_of(invalid_header, &upgrade()),
        answer_of(invalid_response, &upgrade()),
        answer_of(any_error, &upgrade()),
    ];
    for (head, body) in answers {
        assert_eq!((status(&head), body.as_str()), ("500", "500 Internal Server Error"));
        assert!(!head.contains("inner detail"), "{head}");
    }
    let (head, _) = answer_of(|_| Err::<Recorder, _>(Busy), &upgrade());
    assert_eq!((status(&head), values(&head, "Retry-After")), ("429", vec!["5"]));
}
