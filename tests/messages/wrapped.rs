//! Streams that were there already, and whoever is at their other end.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use femtows::message::*;
use femtows::testkit::Peer;
use femtows::{WSLoop, WSLoopConfig};

use crate::ends::*;

/// What becomes of a stream over which this is sent, and what comes back; the other end then `leaves`, or not.
fn wrapped(sent: &[u8], leaves: bool, config: WebSocketConfig) -> (Result<String, WebSocketError>, String) {
    let (mut peer, stream) = UnixStream::pair().expect("sockets");
    peer.write_all(sent).expect("room in the kernel");
    if leaves {
        peer.shutdown(std::net::Shutdown::Write).expect("it is open");
    }
    let mut event_loop = WSLoop::new(WSLoopConfig::default()).expect("a loop");
    let handle = event_loop.handle();
    let wrapping = async {
        let request = wrap_server_stream(&handle, stream, config).await?;
        let path = request.path();
        drop(request);
        Ok(path)
    };
    let result =
        event_loop.block_on(handle.timeout(30 * SECOND, wrapping)).expect("the loop").expect("it ends");
    drop(event_loop);
    let mut answer = Vec::new();
    // A reset ends it just as well.
    let _ = peer.read_to_end(&mut answer);
    (result, String::from_utf8(answer).expect("ASCII"))
}

#[test]
fn a_request_over_a_wrapped_stream_is_handed_over() {
    let (result, _) = wrapped(&Peer::request(), false, WebSocketConfig::default());
    assert_eq!(result.expect("a request"), "/");
}

#[test]
fn a_peer_that_leaves_before_its_request_is_closed() {
    // It may have ended its half only: who has begun to ask is told that it was not enough.
    for (sent, told) in [(&b""[..], ""), (b"GET / HT", "HTTP/1.1 400 ")] {
        let (result, answer) = wrapped(sent, true, WebSocketConfig::default());
        assert_eq!(code(result), 1006);
        assert_eq!(answer.get(..13).unwrap_or_default(), told);
    }
}

#[test]
fn what_is_no_request_for_a_websocket_is_told_so() {
    for (sent, status) in [
        ("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "HTTP/1.1 426 "),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\r\n", "HTTP/1.1 400 "),
        ("hello\r\n\r\n", "HTTP/1.1 400 "),
    ] {
        let (result, answer) = wrapped(sent.as_bytes(), false, WebSocketConfig::default());
        assert_eq!(code(result), 1006, "{sent}");
        assert!(answer.starts_with(status), "{sent}: {answer}");
    }
}

#[test]
fn a_peer_that_says_nothing_meets_the_deadline() {
    for sent in [&b""[..], b"GET / HT"] {
        let config = WebSocketConfig::default().connect_timeout(Some(Duration::from_millis(50)));
        let (result, _) = wrapped(sent, false, config);
        assert!(matches!(result, Err(WebSocketError::ConnectionTimeout)), "{result:?}");
    }
}

#[test]
fn a_request_that_is_dropped_in_a_panic_is_an_error_of_the_server() {
    for panics in [false, true] {
        let (mut peer, stream) = UnixStream::pair().expect("sockets");
        peer.write_all(&Peer::request()).expect("room in the kernel");
        let mut event_loop = WSLoop::new(WSLoopConfig::default()).expect("a loop");
        let handle = event_loop.handle();
        let wrapping = wrap_server_stream(&handle, stream, WebSocketConfig::default());
        let request = event_loop.block_on(wrapping).expect("the loop").expect("a request");
        if panics {
            let panic = catch_unwind(AssertUnwindSafe(move || {
                let _held = request;
                panic!("on purpose");
            }));
            assert!(panic.is_err());
        } else {
            drop(request);
        }
        event_loop.block_on(handle.sleep(Duration::ZERO)).expect("the loop");
        drop(event_loop);
        let mut answer = Vec::new();
        let _ = peer.read_to_end(&mut answer);
        let status = if panics { "HTTP/1.1 500 " } else { "HTTP/1.1 403 " };
        assert!(answer.starts_with(status.as_bytes()), "{}", String::from_utf8_lossy(&answer));
    }
}
