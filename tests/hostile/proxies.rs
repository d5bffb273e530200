//! Proxies that mean harm: a client that goes through one gets a clear error before its deadline, and nothing is left of the attempt.

use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use femtows::{
    WSConnectConfig, WSConnectError, WSLoopConfig, WSLoopHandle, WSPhase, WSProxy, WSProxyErrorKind,
    ws_connect,
};

use crate::heap;
use crate::own_process;
use crate::support::PATIENCE;
use crate::support::peer::{Peer, PeerServer, header, switching};
use crate::support::probe::{Probe, log};
use crate::support::running::LoopThread;

type Kind = WSProxyErrorKind;
type Opened = Receiver<Result<(), WSConnectError>>;

const HTTP: &[u8] = b"HTTP/1.1 100 Wait\r\n\r\nHTTP/1.1 200 OK\r\nVia: here\r\n\r\n";
const SOCKS4: &[u8] = b"\x00\x5a\x01\x02\x03\x04\x05\x06";
const SOCKS5: &[u8] = b"\x05\x00\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50";

/// A proxy's URL without its address, and all that a good one says.
const GOOD: [(&str, &[u8]); 7] = [
    ("http://", HTTP),
    ("socks4://", SOCKS4),
    ("socks4a://", SOCKS4),
    ("socks5://", SOCKS5),
    ("socks5h://", b"\x05\x00\x05\x00\x00\x03\x02me\x00\x50"),
    ("socks5h://user:pass@", b"\x05\x02\x01\x00\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50"),
    ("socks5h://", b"\x05\x00\x05\x00\x00\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x00\x50"),
];

/// A client's loop, on which one attempt after the other is made, and the proxy.
struct Scene {
    on: LoopThread,
    proxy: PeerServer,
    descriptors: usize,
}

impl Scene {
    fn set() -> Self {
        let descriptors = descriptors();
        Self { on: LoopThread::start(WSLoopConfig::default()), proxy: PeerServer::bind(), descriptors }
    }

    fn connect_to(&self, url: &'static str, scheme_and_user: &str, timeout: Duration) -> Opened {
        let (tell, opened) = channel();
        let (log, _events) = log();
        let proxy = WSProxy::parse(&format!("{scheme_and_user}{}", self.proxy.addr())).unwrap();
        let config = WSConnectConfig::default().handshake_timeout(Some(timeout)).proxy(proxy);
        self.on.ask(move |handle| {
            let connecting = ws_connect(handle, Probe::new(&log), url, config);
            let task = async move {
                let result = connecting.await;
                let _ = tell.send(result.map(|transport| transport.abort()));
            };
            handle.spawn(task).detach();
        });
        opened
    }

    fn connect(&self, scheme_and_user: &str) -> Opened {
        self.connect_to("ws://127.0.0.1/", scheme_and_user, PATIENCE)
    }

    /// The proxy, which has been asked for something.
    fn asked(&self) -> Peer {
        let mut peer = self.proxy.accept_tcp();
        peer.read_bytes(3);
        peer
    }

    /// What the client makes of a proxy that says this and then nothing more.
    fn verdict(&self, scheme_and_user: &str, answer: &[u8]) -> WSConnectError {
        let opened = self.connect(scheme_and_user);
        let mut peer = self.asked();
        peer.try_write(answer);
        let _ = peer.try_shutdown_write();
        let error = ended(&opened).expect_err("no proxy does this");
        peer.expect_gone();
        error
    }

    fn kind(&self, scheme_and_user: &str, answer: &[u8]) -> Kind {
        match self.verdict(scheme_and_user, answer) {
            WSConnectError::Proxy(error) => {
                let text = error.to_string();
                assert!(text.contains(&self.proxy.addr().to_string()) && !text.contains("pass"), "{text}");
                error.kind
            }
            error => panic!("{scheme_and_user} {answer:?}: {error}"),
        }
    }

    /// Plays a good proxy and the server behind it.
    fn opens(&self, scheme_and_user: &str, answer: &[u8]) {
        let opened = self.connect(scheme_and_user);
        let mut peer = self.asked();
        peer.write(answer);
        // What is left of the requests for the tunnel lies before the one for the upgrade.
        let request = loop {
            let bytes = peer.read_past_empty_line();
            if let Some((_, request)) = String::from_utf8_lossy(&bytes).split_once("GET / HTTP/1.1") {
                break request.to_owned();
            }
        };
        peer.write(switching(&header(&request, "Sec-WebSocket-Key").unwrap(), "").as_bytes());
        ended(&opened).unwrap_or_else(|error| panic!("{scheme_and_user}: {error}"));
    }

    /// Nothing is left, and the loop goes on.
    fn ends_well(self) {
        self.opens("http://", HTTP);
        crate::support::eventually("no slot is taken", || self.on.ask(WSLoopHandle::slots) == 0);
        let Self { on, proxy, descriptors: before } = self;
        on.stop();
        drop(proxy);
        crate::support::eventually("no descriptor is left", || descriptors() == before);
    }
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

fn ended(opened: &Opened) -> Result<(), WSConnectError> {
    opened.recv_timeout(PATIENCE).expect("the opening ends")
}

#[test]
fn good_answers_are_good() {
    let _process = own_process();
    let scene = Scene::set();
    for (proxy, answer) in GOOD {
        scene.opens(proxy, answer);
    }
    scene.ends_well();
}

#[test]
fn closing_behind_each_byte_is_told() {
    let _process = own_process();
    let scene = Scene::set();
    for (proxy, answer) in GOOD {
        for cut in 0..answer.len() {
            assert_eq!(scene.kind(proxy, &answer[..cut]), Kind::Closed, "{proxy} at {cut}");
        }
    }
    scene.ends_well();
}

#[test]
fn a_reset_behind_each_byte_names_the_proxy() {
    let _process = own_process();
    let scene = Scene::set();
    for (proxy, answer) in GOOD {
        for cut in 0..answer.len() {
            let opened = scene.connect(proxy);
            let mut peer = scene.asked();
            peer.write(&answer[..cut]);
            peer.reset();
            let error = ended(&opened).unwrap_err();
            let text = error.to_string();
            assert!(matches!(error, WSConnectError::Io { .. }), "{proxy} at {cut}: {text}");
            assert!(text.starts_with("proxy ") && text.contains(&scene.proxy.addr().to_string()), "{text}");
        }
    }
    scene.ends_well();
}

/// Many at once, each behind another byte; silence, or a byte of noise now and then, does not get past the deadline.
#[test]
fn t02_hanging_behind_each_byte_ends_at_the_deadline() {
    let _process = own_process();
    let scene = Scene::set();
    let timeout = Duration::from_secs(2);
    let mut hanging = Vec::new();
    for (proxy, answer) in GOOD {
        for cut in 0..answer.len() {
            let opened = scene.connect_to("ws://127.0.0.1/", proxy, timeout);
            let mut peer = scene.asked();
            peer.write(&answer[..cut]);
            hanging.push((proxy, cut, opened, peer));
        }
    }
    assert!(hanging.len() > 100);
    for (proxy, cut, opened, mut peer) in hanging {
        let error = ended(&opened).unwrap_err();
        assert!(
            matches!(error, WSConnectError::Timeout { phase: WSPhase::Proxy, .. }),
            "{proxy} at {cut}: {error}"
        );
        peer.expect_gone();
    }

    let opened = scene.connect_to("ws://127.0.0.1/", "http://", Duration::from_millis(300));
    let mut slow = scene.asked();
    slow.write(b"HTTP/1.1 200 OK\r\nX: ");
    let written = (0..10_000).take_while(|_| {
        thread::sleep(Duration::from_millis(5));
        slow.try_write(b"y")
    });
    assert!(written.count() < 10_000, "the client waits for ever");
    let error = ended(&opened).unwrap_err();
    assert!(matches!(error, WSConnectError::Timeout { phase: WSPhase::Proxy, .. }), "{error}");
    drop(slow);
    scene.ends_well();
}

#[test]
fn garbage_is_no_answer() {
    let _process = own_process();
    let scene = Scene::set();
    let garbage: [&[u8]; 8] = [
        &[0; 1000],
        &[0xff; 1000],
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"220 mail.test ESMTP\r\n",
        b"\x15\x03\x01\x00\x02\x02\x28",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x81\x05hello",
        b"<html><body>Sign in to this network</body></html>",
    ];
    for proxy in ["http://", "socks4a://", "socks5h://", "socks5h://user:pass@"] {
        for answer in garbage {
            let kind = scene.kind(proxy, answer);
            assert!(matches!(kind, Kind::InvalidAnswer(_)), "{proxy} {answer:?}: {kind}");
        }
    }
    for proxy in ["socks4a://", "socks5h://"] {
        let kind = scene.kind(proxy, HTTP);
        assert!(matches!(kind, Kind::InvalidAnswer(_)), "{proxy} {kind}");
    }
    scene.ends_well();
}

#[test]
fn a_200_with_more_than_a_head_is_refused() {
    let _process = own_process();
    let scene = Scene::set();
    let behind: [&[u8]; 3] = [b"hello", b"\x81\x05hello", b"HTTP/1.1 101 Switching Protocols\r\n\r\n"];
    for bytes in behind {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
        let kind = scene.kind("http://", &[&head[..], bytes].concat());
        assert_eq!(kind, Kind::InvalidAnswer("bytes follow that nobody has asked for"));
        // What comes later is the server's, for all that the client knows.
        let opened = scene.connect("http://");
        let mut peer = scene.asked();
        peer.read_head();
        peer.write(head);
        peer.read_head();
        peer.write(bytes);
        peer.shutdown_write();
        let error = ended(&opened).unwrap_err();
        assert!(matches!(error, WSConnectError::Handshake(_)), "{error}");
    }
    for (proxy, answer) in GOOD {
        let kind = scene.kind(proxy, &[answer, b"\0"].concat());
        assert_eq!(kind, Kind::InvalidAnswer("bytes follow that nobody has asked for"), "{proxy}");
    }
    scene.ends_well();
}

#[test]
fn endless_answers_are_cut_off_and_cost_little() {
    let _process = own_process();
    let scene = Scene::set();
    let headers = "X-Some: thing\r\n".repeat(1000);
    let interim = "HTTP/1.1 102 Processing\r\n\r\n".repeat(1000);
    let cases = [
        ("headers", "HTTP/1.1 200 OK\r\n", headers.as_str()),
        ("one header", "HTTP/1.1 200 OK\r\nX: ", &headers.replace("\r\n", "  ")),
        ("a reason", "HTTP/1.1 200 ", &"O".repeat(10_000)),
        ("interim responses", "", &interim),
    ];
    for (name, begin, endless) in cases {
        let opened = scene.connect("http://");
        let mut peer = scene.asked();
        let used = heap::measure(|| {
            peer.write(begin.as_bytes());
            let written = (0..100_000).take_while(|_| peer.try_write(endless.as_bytes())).count();
            assert!(written < 100_000, "{name}: the client reads for ever");
        });
        assert!(used.peak < 1 << 20, "{name}: {used:?}");
        let error = ended(&opened).unwrap_err();
        let WSConnectError::Proxy(error) = error else { panic!("{name}: {error}") };
        assert!(matches!(error.kind, Kind::InvalidAnswer(_)), "{name}: {error}");
    }
    scene.ends_well();
}

#[test]
fn every_code_of_socks_has_its_error() {
    let _process = own_process();
    let scene = Scene::set();
    for code in 0..=255 {
        let kind = scene.kind("socks5h://", &[5, 0, 5, code]);
        match code {
            0 => assert_eq!(kind, Kind::Closed, "a success, which is not whole"),
            _ => assert!(matches!(kind, Kind::Refused { code: told, .. } if told == code), "{code}: {kind}"),
        }
        let kind = scene.kind("socks4a://", &[0, code]);
        match code {
            0x5a => assert_eq!(kind, Kind::Closed, "a success, which is not whole"),
            0x5b => assert!(matches!(kind, Kind::Refused { code: 0x5b, .. }), "{kind}"),
            0x5c | 0x5d => assert_eq!(kind, Kind::AuthenticationFailed),
            _ => assert!(matches!(kind, Kind::InvalidAnswer(_)), "{code}: {kind}"),
        }
        let kind = scene.kind("socks5h://user:pass@", &[5, code]);
        match code {
            0 | 2 => assert_eq!(kind, Kind::Closed, "a method, and then nothing"),
            0xff => assert_eq!(kind, Kind::AuthenticationFailed),
            _ => assert!(matches!(kind, Kind::InvalidAnswer(_)), "{code}: {kind}"),
        }
        let kind = scene.kind("socks5h://user:pass@", &[5, 2, 1, code]);
        let wanted = if code == 0 { Kind::Closed } else { Kind::AuthenticationFailed };
        assert_eq!(kind, wanted, "status {code}");
    }
    scene.ends_well();
}

#[test]
fn a_wrong_version_is_told_in_each_phase() {
    let _process = own_process();
    let scene = Scene::set();
    for version in (0..=255).step_by(3) {
        for (proxy, before, right) in [
            ("socks4a://", &[][..], 0),
            ("socks5h://", &[], 5),
            ("socks5h://", &[5, 0], 5),
            ("socks5h://user:pass@", &[5, 2], 1),
            ("socks5h://user:pass@", &[5, 2, 1, 0], 5),
        ] {
            let kind = scene.kind(proxy, &[before, &[version]].concat());
            if version == right {
                assert_eq!(kind, Kind::Closed);
            } else {
                assert!(matches!(kind, Kind::InvalidAnswer(_)), "{proxy} {before:?} {version}: {kind}");
            }
        }
    }
    scene.ends_well();
}

/// SOCKS5 has one byte for the length of a name.
#[test]
fn a_name_that_is_too_long_is_not_asked_for() {
    let _process = own_process();
    let scene = Scene::set();
    let long: &'static str = format!("ws://{}test/", "a.".repeat(126)).leak();
    let opened = scene.connect_to(long, "socks5h://", PATIENCE);
    let error = ended(&opened).unwrap_err();
    match error {
        WSConnectError::Proxy(error) => assert!(matches!(error.kind, Kind::Unsupported(_)), "{error}"),
        error => panic!("{error}"),
    }
    scene.ends_well();
}
