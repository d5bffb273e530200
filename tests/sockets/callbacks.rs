//! Errors and panics in callbacks: the one connection ends, its neighbours do not notice.

use femtows::{
    WSCloseCode, WSConnectConfig, WSDisconnectCause, WSError, WSMsgType, WSProtocolError, WSResult,
    WSServerConfig, WSTransport,
};

use crate::support::peer::{Peer, PeerServer};
use crate::support::probe::{Event, Log, Probe, log};
use crate::support::running::{Server, connect, serve};
use crate::support::wire::Frame;

/// How a callback fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    Error,
    Panic,
    /// An error that chooses the close code.
    Chosen,
}

impl Failure {
    fn happen(self) -> WSResult {
        match self {
            Self::Error => Err("it failed".into()),
            Self::Panic => panic!("it failed"),
            Self::Chosen => Err(WSProtocolError::new(WSCloseCode(4321), "it failed").into()),
        }
    }

    /// The CLOSE frame that the peer gets. The text of an error is not for it.
    fn close(self) -> Frame {
        match self {
            Self::Error | Self::Panic => Frame::close(1011, ""),
            Self::Chosen => Frame::close(4321, "it failed"),
        }
    }
}

const FAILURES: [Failure; 3] = [Failure::Error, Failure::Panic, Failure::Chosen];

/// A server where `/` echoes and any other path gets what `failing` makes; with a neighbour that is connected.
fn with_neighbour(failing: impl Fn(Probe) -> Probe + Send + 'static, log: &Log) -> (Server, Peer) {
    let log = log.clone();
    let (quiet, _) = crate::support::probe::log();
    let server = serve(WSServerConfig::default(), move |request| match request.path() {
        "/" => Probe::new(&quiet).echo(),
        _ => failing(Probe::new(&log)),
    });
    let neighbour = Peer::connect(server.addr);
    (server, neighbour)
}

fn connect_failing(server: &Server) -> Peer {
    let mut peer = Peer::connect_tcp(server.addr);
    let head = peer.ask(&crate::support::peer::upgrade_request("/failing", ""));
    assert_eq!(crate::support::peer::status(&head), 101);
    peer
}

fn still_works(neighbour: &mut Peer) {
    neighbour.send(&Frame::text("still there?"));
    assert_eq!(neighbour.read_frame(), Frame::text("still there?"));
}

#[test]
fn t05_failure_in_on_ws_connected_of_a_server() {
    for failure in FAILURES {
        let (log, events) = log();
        let failing = move |probe: Probe| probe.on_connected(move |_| failure.happen());
        let (server, mut neighbour) = with_neighbour(failing, &log);
        let mut peer = connect_failing(&server);
        assert_eq!(peer.read_frame(), failure.close());
        peer.expect_eof();
        drop(peer);
        events.connected();
        assert_eq!(events.disconnected().cause, WSDisconnectCause::ListenerError, "{failure:?}");
        still_works(&mut neighbour);
    }
}

#[test]
fn t05_failure_in_on_ws_frame_of_a_server() {
    for failure in FAILURES {
        let (log, events) = log();
        let failing = move |probe: Probe| {
            probe.on_frame(move |transport, frame| {
                transport.send(WSMsgType::Text, "sent before");
                if frame.payload() == b"fail" { failure.happen() } else { Ok(()) }
            })
        };
        let (server, mut neighbour) = with_neighbour(failing, &log);
        let mut peer = connect_failing(&server);
        // All in one segment: what follows the failure is not delivered.
        let frames = [Frame::text("good"), Frame::text("fail"), Frame::text("after")];
        let bytes: Vec<u8> = frames.iter().flat_map(|frame| peer.encode(frame)).collect();
        peer.write(&bytes);
        assert_eq!(peer.read_frame(), Frame::text("sent before"));
        assert_eq!(peer.read_frame(), Frame::text("sent before"));
        assert_eq!(peer.read_frame(), failure.close());
        peer.expect_eof();
        drop(peer);
        events.connected();
        assert_eq!([events.frame(), events.frame()], frames[..2]);
        assert_eq!(events.disconnected().cause, WSDisconnectCause::ListenerError);
        assert_eq!(events.so_far(), []);
        still_works(&mut neighbour);
    }
}

#[test]
fn t05_panic_in_on_ws_disconnected_of_a_server() {
    let (log, events) = log();
    let failing = |probe: Probe| probe.on_disconnected(|_| panic!("it failed"));
    let (server, mut neighbour) = with_neighbour(failing, &log);
    drop(connect_failing(&server));
    events.connected();
    events.disconnected();
    still_works(&mut neighbour);
    assert_eq!(server.slots(), 1, "that of the neighbour");
    assert_eq!(events.so_far(), []);
}

/// Sends until the kernel refuses, so that `pause_writing` is due.
fn fill(transport: &WSTransport) {
    while transport.buffered_amount() < 1 << 20 {
        transport.send(WSMsgType::Binary, vec![7; 64 << 10]);
        transport.flush();
    }
}

#[test]
fn t05_panic_in_pause_writing_of_a_server() {
    let (log, events) = log();
    let failing = |probe: Probe| {
        probe
            .on_connected(|transport| {
                fill(transport);
                Ok(())
            })
            .on_pause_writing(|_| panic!("it failed"))
    };
    let (server, mut neighbour) = with_neighbour(failing, &log);
    let mut peer = connect_failing(&server);
    events.connected();
    events.expect(&Event::PauseWriting);
    still_works(&mut neighbour);
    let mut last = peer.read_frame();
    while last == Frame::binary(vec![7; 64 << 10]) {
        last = peer.read_frame();
    }
    assert_eq!(last, Frame::close(1011, ""), "behind what was sent before");
    drop(peer);
    assert_eq!(events.until_disconnected().cause, WSDisconnectCause::ListenerError);
    still_works(&mut neighbour);
}

#[test]
fn t05_panic_in_resume_writing_of_a_server() {
    let (log, events) = log();
    let failing = |probe: Probe| {
        probe
            .on_connected(|transport| {
                fill(transport);
                Ok(())
            })
            .on_resume_writing(|_| panic!("it failed"))
    };
    let (server, mut neighbour) = with_neighbour(failing, &log);
    let mut peer = connect_failing(&server);
    let mut last = peer.read_frame();
    while last == Frame::binary(vec![7; 64 << 10]) {
        last = peer.read_frame();
    }
    assert_eq!(last, Frame::close(1011, ""));
    peer.expect_eof();
    drop(peer);
    events.connected();
    events.expect(&Event::PauseWriting);
    events.expect(&Event::ResumeWriting);
    assert_eq!(events.disconnected().cause, WSDisconnectCause::ListenerError);
    still_works(&mut neighbour);
}

fn listener_error(result: Result<(), WSError>) -> String {
    match result {
        Err(WSError::Listener(error)) => error.to_string(),
        other => panic!("a listener error was expected, not {other:?}"),
    }
}

#[test]
fn t05_failure_in_each_callback_of_a_client() {
    type Fail = fn(Probe, Failure) -> Probe;
    let callbacks: [(&str, Fail); 2] = [
        ("on_ws_connected", |probe, failure| probe.on_connected(move |_| failure.happen())),
        ("on_ws_frame", |probe, failure| probe.on_frame(move |_, _| failure.happen())),
    ];
    for (callback, fail) in callbacks {
        for failure in FAILURES {
            let (log, events) = log();
            let server = PeerServer::bind();
            let probe = fail(Probe::new(&log), failure);
            let client = connect(&server.url("/"), WSConnectConfig::default(), probe);
            let mut peer = server.accept();
            client.opened().expect("the opening itself was good");
            if callback == "on_ws_frame" {
                peer.send(&Frame::text("x"));
            }
            assert_eq!(peer.read_frame(), failure.close(), "{callback}, {failure:?}");
            peer.expect_eof();
            drop(peer);
            let told = listener_error(client.ended());
            assert!(told.contains("it failed"), "{told}");
            events.connected();
            assert_eq!(events.until_disconnected().cause, WSDisconnectCause::ListenerError);
        }
    }
}

#[test]
fn t05_panic_in_pause_or_resume_writing_of_a_client() {
    type Fail = fn(Probe) -> Probe;
    let callbacks: [(Event, Fail); 2] = [
        (Event::PauseWriting, |probe| probe.on_pause_writing(|_| panic!("it failed"))),
        (Event::ResumeWriting, |probe| probe.on_resume_writing(|_| panic!("it failed"))),
    ];
    for (failing, fail) in callbacks {
        let (log, events) = log();
        let server = PeerServer::bind();
        let probe = Probe::new(&log).on_connected(|transport| {
            fill(transport);
            Ok(())
        });
        let client = connect(&server.url("/"), WSConnectConfig::default(), fail(probe));
        let mut peer = server.accept();
        let mut last = peer.read_frame();
        while last == Frame::binary(vec![7; 64 << 10]) {
            last = peer.read_frame();
        }
        assert_eq!(last, Frame::close(1011, ""), "{failing:?}");
        peer.expect_eof();
        drop(peer);
        let told = listener_error(client.ended());
        assert!(told.contains("it failed"), "{told}");
        events.connected();
        events.expect(&Event::PauseWriting);
        if failing == Event::ResumeWriting {
            events.expect(&failing);
        }
        assert_eq!(events.until_disconnected().cause, WSDisconnectCause::ListenerError);
    }
}

#[test]
fn t05_panic_in_on_ws_disconnected_of_a_client() {
    let (log, events) = log();
    let server = PeerServer::bind();
    let probe = Probe::new(&log).on_disconnected(|_| panic!("it failed"));
    let client = connect(&server.url("/"), WSConnectConfig::default(), probe);
    drop(server.accept());
    assert_eq!(listener_error(client.ended()), "panic: it failed");
    events.connected();
    events.disconnected();
    assert_eq!(client.on.ask(femtows::WSLoopHandle::slots), 0);
}

/// The first error counts, whatever follows from it.
#[test]
fn wait_disconnected_tells_the_first_error() {
    let (log, _events) = log();
    let server = PeerServer::bind();
    let probe = Probe::new(&log)
        .on_frame(|_, frame| Err(String::from_utf8_lossy(frame.payload()).into()))
        .on_disconnected(|_| panic!("the last"));
    let client = connect(&server.url("/"), WSConnectConfig::default(), probe);
    let mut peer = server.accept();
    peer.send(&Frame::text("the first"));
    peer.send(&Frame::text("the second"));
    peer.reset();
    assert_eq!(listener_error(client.ended()), "the first");
}

#[test]
fn without_disconnect_on_error_an_error_is_only_logged() {
    let (log, _events) = log();
    let server = serve(WSServerConfig::default().disconnect_on_error(false), move |_| {
        Probe::new(&log).on_frame(|transport, frame| match frame.payload() {
            b"error" => Failure::Error.happen(),
            b"chosen" => Failure::Chosen.happen(),
            b"panic" => Failure::Panic.happen(),
            payload => {
                transport.send(WSMsgType::Text, payload);
                Ok(())
            }
        })
    });
    for (last, failure) in [("chosen", Failure::Chosen), ("panic", Failure::Panic)] {
        let mut peer = Peer::connect(server.addr);
        peer.send(&Frame::text("error"));
        peer.send(&Frame::text("alive"));
        assert_eq!(peer.read_frame(), Frame::text("alive"));
        peer.send(&Frame::text(last));
        assert_eq!(peer.read_frame(), failure.close());
    }
}

#[test]
fn without_disconnect_on_error_the_connected_callback_still_decides() {
    let (log, _events) = log();
    let server = serve(WSServerConfig::default().disconnect_on_error(false), move |_| {
        Probe::new(&log).on_connected(|_| Failure::Error.happen())
    });
    assert_eq!(Peer::connect(server.addr).read_frame(), Frame::close(1011, ""));
}

/// A callback may do to its own connection, and to others, what it likes.
#[test]
fn callbacks_may_use_any_connection_of_the_loop() {
    let (log, events) = log();
    let server = serve(WSServerConfig::default(), move |_| {
        Probe::new(&log).on_frame(|transport, frame| {
            let text = frame.payload_as_utf8()?.to_owned();
            for other in crate::support::running::opened() {
                match text.as_str() {
                    "all" => drop(other.send(WSMsgType::Text, "to all")),
                    "others go" if other != *transport => other.abort(),
                    _ => {}
                }
            }
            if text == "me too" {
                transport.abort();
                assert!(transport.is_disconnected());
                assert!(!transport.send(WSMsgType::Text, "too late").is_accepted());
            }
            Ok(())
        })
    });
    let mut peers = [0; 3].map(|_| Peer::connect(server.addr));
    peers[0].send(&Frame::text("all"));
    for peer in &mut peers {
        assert_eq!(peer.read_frame(), Frame::text("to all"));
    }
    peers[0].send(&Frame::text("others go"));
    peers[1].expect_gone();
    peers[2].expect_gone();
    let frames = [Frame::text("me too"), Frame::text("never delivered")];
    let bytes: Vec<u8> = frames.iter().flat_map(|frame| peers[0].encode(frame)).collect();
    peers[0].write(&bytes);
    peers[0].expect_gone();
    let ends = (0..3).map(|_| events.until_disconnected().cause).collect::<Vec<_>>();
    assert_eq!(ends, [WSDisconnectCause::Disconnected; 3]);
    assert_eq!(events.so_far(), []);
}
