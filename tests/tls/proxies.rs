//! `https` proxies: TLS with the proxy, and through its tunnel TLS with the server. The proxy is played by hand; once it has opened the
//! tunnel it plays the server too.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use femtows::*;
use rustls::ServerConfig;

use crate::authority::{Authority, FAULTS, Identity};
use crate::support::peer::{header, switching};
use crate::support::probe::{Events, Probe, log};
use crate::support::running::{Client, connect};
use crate::support::secure::{Session, insisting_server_config, server_config};
use crate::support::wire::Frame;
use crate::support::{PATIENCE, pattern};

const WSS: &str = "wss://server.test/";
const WS: &str = "ws://server.test/";

/// TLS over another stream; this is a server's end.
struct Layer<S> {
    below: S,
    session: Session,
}

impl<S: Read + Write> Layer<S> {
    fn accept(below: S, identity: &Identity) -> io::Result<Self> {
        Self::accept_with(below, &server_config(&identity.chain, &identity.key))
    }

    fn accept_with(mut below: S, config: &Arc<ServerConfig>) -> io::Result<Self> {
        let mut session = Session::server(config);
        if let Err(error) = session.handshake(&mut below) {
            let alert = session.sealed();
            below.write_all(&alert)?;
            return Err(error);
        }
        Ok(Self { below, session })
    }
}

impl<S: Read + Write> Read for Layer<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.session.read(&mut self.below, buffer)
    }
}

impl<S: Read + Write> Write for Layer<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.session.write(&mut self.below, bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.below.flush()
    }
}

/// What the client trusts, and a proxy that it goes through.
struct Way {
    tls: WSClientTls,
    listener: TcpListener,
    proxy: Identity,
    server: Identity,
    timeout: Duration,
    /// For the proxy, if not `tls`.
    proxy_tls: Option<WSClientTls>,
}

impl Way {
    fn new() -> Self {
        Self::with_authority(&Authority::new())
    }

    fn with_authority(authority: &Authority) -> Self {
        let (proxy, server) = (authority.issue(&["localhost"]), authority.issue(&["server.test"]));
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        Self { tls: authority.client(), listener, proxy, server, timeout: PATIENCE, proxy_tls: None }
    }

    fn connect(&self, url: &str) -> (Client, Events) {
        let (log, events) = log();
        let proxy = format!("https://user:secret@localhost:{}", self.listener.local_addr().unwrap().port());
        let mut config =
            WSConnectConfig::default().handshake_timeout(Some(self.timeout)).tls(self.tls.clone());
        if let Some(tls) = &self.proxy_tls {
            config = config.proxy_tls(tls.clone());
        }
        (connect(url, config.proxy(WSProxy::parse(&proxy).unwrap()), Probe::new(&log)), events)
    }

    fn accept_tcp(&self) -> TcpStream {
        let stream = self.listener.accept().unwrap().0;
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Up to the request for a tunnel.
    fn accept(&self) -> Layer<TcpStream> {
        let mut proxy = Layer::accept(self.accept_tcp(), &self.proxy).unwrap();
        let head = read_head(&mut proxy);
        assert!(head.starts_with("CONNECT server.test:"), "{head}");
        assert_eq!(header(&head, "Proxy-Authorization").as_deref(), Some("Basic dXNlcjpzZWNyZXQ="));
        proxy
    }

    /// With the tunnel open.
    fn accept_tunnel(&self) -> Layer<TcpStream> {
        let mut proxy = self.accept();
        proxy.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").unwrap();
        proxy
    }

    /// Up to an open connection over both layers.
    fn open(&self) -> (Layer<Layer<TcpStream>>, Client, Events) {
        let (client, events) = self.connect(WSS);
        let mut server = Layer::accept(self.accept_tunnel(), &self.server).unwrap();
        upgrade(&mut server);
        client.opened().unwrap();
        events.connected();
        (server, client, events)
    }
}

fn read_head(stream: &mut impl Read) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

fn upgrade(stream: &mut (impl Read + Write)) {
    let head = read_head(stream);
    assert_eq!(header(&head, "Host").as_deref(), Some("server.test"), "the server's, not the proxy's");
    assert_eq!(header(&head, "Proxy-Authorization"), None, "that was the proxy's business");
    stream.write_all(switching(&header(&head, "Sec-WebSocket-Key").unwrap(), "").as_bytes()).unwrap();
}

fn read_frame(stream: &mut impl Read, received: &mut Vec<u8>) -> Frame {
    loop {
        if let Some((frame, len)) = Frame::decode(received, true) {
            received.drain(..len);
            return frame;
        }
        let mut buffer = vec![0; 64 * 1024];
        let n = stream.read(&mut buffer).unwrap();
        assert!(n > 0, "EOF inside a frame");
        received.extend(&buffer[..n]);
    }
}

/// What the opening failed with, which has to be TLS.
fn tls_error(client: &Client) -> WSTlsError {
    let error = client.opened().expect_err("this has to fail");
    assert_eq!(client.on.ask(WSLoopHandle::slots), 0, "the slot is free");
    let text = error.to_string();
    let WSConnectError::Tls(tls) = error else { panic!("{text}") };
    assert_eq!(text.contains("with the proxy"), tls.is_from_proxy(), "{text}");
    tls
}

#[test]
fn both_layers_carry_frames_and_are_reported_apart() {
    let (mut server, client, events) = Way::new().open();
    let (report, names) = client.on.ask_transport(0, |transport| {
        transport.send(WSMsgType::Text, "there");
        ((*transport.connect_report().unwrap()).clone(), transport.tls_info().unwrap().server_name)
    });
    assert!(report.proxy_tls.is_some() && report.proxy.is_some() && report.tls.is_some(), "{report}");
    assert!(report.to_string().contains(", TLS with the proxy "), "{report}");
    assert_eq!(names.as_deref(), Some("server.test"), "TLS is that with the server");
    assert_eq!(read_frame(&mut server, &mut Vec::new()), Frame::text("there"));
    for size in [0, 1, 16 * 1024, 1 << 20] {
        let frame = Frame::binary(pattern(size));
        server.write_all(&frame.encode(None)).unwrap();
        assert!(events.frame() == frame, "{size}");
    }
}

#[test]
fn a_plain_url_has_the_proxys_layer_only() {
    let way = Way::new();
    let (client, _events) = way.connect(WS);
    let mut tunnel = way.accept_tunnel();
    upgrade(&mut tunnel);
    client.opened().unwrap();
    let report = client.on.ask_transport(0, |transport| (*transport.connect_report().unwrap()).clone());
    assert!(report.proxy_tls.is_some() && report.tls.is_none(), "{report}");
}

/// An authority for the server that says nothing of the proxy, and one for the proxy that says nothing of the server.
#[test]
fn each_layer_is_judged_by_its_own() {
    let other = Authority::new();
    let way = Way { proxy: other.issue(&["localhost"]), proxy_tls: Some(other.client()), ..Way::new() };
    way.open();
    let way = Way { proxy_tls: Some(other.client()), ..Way::new() };
    let (client, _events) = way.connect(WSS);
    assert!(Layer::accept(way.accept_tcp(), &way.proxy).is_err(), "`tls` trusts it, `proxy_tls` does not");
    assert!(tls_error(&client).is_from_proxy());
}

/// A proxy that insists on one.
#[test]
fn a_client_certificate_is_presented_to_whom_it_is_for() {
    let authority = Authority::new();
    let mut way = Way::with_authority(&authority);
    let config = insisting_server_config(&way.proxy.chain, &way.proxy.key, &authority.pem);
    let identity = authority.issue(&["a client"]);
    let own = authority.client().identity_pem(identity.chain.as_bytes(), identity.key.as_bytes()).unwrap();

    way.tls = own.clone();
    let (client, _events) = way.connect(WSS);
    assert!(Layer::accept_with(way.accept_tcp(), &config).is_err(), "that of `tls` is for the server");
    assert!(tls_error(&client).is_from_proxy(), "the alert comes behind the handshake");

    way.proxy_tls = Some(own);
    let (_client, _events) = way.connect(WSS);
    Layer::accept_with(way.accept_tcp(), &config).unwrap();
}

#[test]
fn a_faulty_certificate_of_the_proxy_is_told() {
    for url in [WS, WSS] {
        for fault in FAULTS {
            let (proxy, authority) = fault.certificate("localhost");
            let way = Way { proxy, ..Way::with_authority(&authority) };
            let (client, _events) = way.connect(url);
            assert!(Layer::accept(way.accept_tcp(), &way.proxy).is_err(), "{fault:?}: it is told too");
            let error = tls_error(&client);
            assert!(error.is_from_proxy() && error.is_certificate_problem(), "{fault:?}: {error}");
            assert!(error.to_string().contains(fault.our_words()), "{fault:?}: {error}");
        }
    }
}

#[test]
fn a_faulty_certificate_of_the_server_is_told() {
    for fault in FAULTS {
        let (server, authority) = fault.certificate("server.test");
        let way = Way { server, ..Way::with_authority(&authority) };
        let (client, _events) = way.connect(WSS);
        assert!(Layer::accept(way.accept_tunnel(), &way.server).is_err(), "{fault:?}: it is told too");
        let error = tls_error(&client);
        assert!(!error.is_from_proxy() && error.is_certificate_problem(), "{fault:?}: {error}");
        assert!(error.to_string().contains(fault.our_words()), "{fault:?}: {error}");
    }
}

/// Whichever layer says something else than TLS, during the opening.
#[test]
fn what_is_not_tls_is_told_of_its_layer() {
    let way = Way::new();
    let (client, _events) = way.connect(WSS);
    way.accept_tcp().write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    let error = tls_error(&client);
    assert!(error.is_from_proxy() && error.to_string().contains("does not speak TLS"), "{error}");

    let (client, _events) = way.connect(WSS);
    way.accept_tunnel().write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    // It may come with the proxy's answer.
    match client.opened().unwrap_err() {
        WSConnectError::Tls(error) => {
            assert!(!error.is_from_proxy() && error.to_string().contains("does not speak TLS"), "{error}");
        }
        WSConnectError::Proxy(error) => {
            assert!(matches!(error.kind, WSProxyErrorKind::InvalidAnswer(_)), "{error}");
        }
        error => panic!("{error}"),
    }

    // Noise between the proxy's records, while the proxy's answer is awaited, and the server's.
    let (client, _events) = way.connect(WSS);
    way.accept()
        .below
        .write_all(&[23, 3, 3, 0, 20, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7])
        .unwrap();
    assert!(tls_error(&client).is_from_proxy());
    let (client, _events) = way.connect(WSS);
    let mut tunnel = way.accept_tunnel();
    tunnel.read_exact(&mut [0; 5]).unwrap();
    tunnel
        .below
        .write_all(&[23, 3, 3, 0, 20, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7])
        .unwrap();
    assert!(tls_error(&client).is_from_proxy(), "below the handshake with the server");
}

/// Noise in either layer of an open connection.
#[test]
fn a_fault_of_an_open_connection_is_told_of_its_layer() {
    let noise = [&[23, 3, 3, 0, 100][..], &[7; 100]].concat();
    for at_proxy in [true, false] {
        let (mut server, client, events) = Way::new().open();
        if at_proxy {
            server.below.below.write_all(&noise).unwrap();
        } else {
            server.below.write_all(&noise).unwrap();
        }
        assert_eq!(events.disconnected().cause, WSDisconnectCause::Tls);
        let error = client.ended().unwrap_err();
        let WSError::Tls(error) = error else { panic!("{error}") };
        assert_eq!(error.is_from_proxy(), at_proxy, "{error}");
    }
}

#[test]
fn t02_the_deadline_tells_the_layer() {
    let way = Way { timeout: Duration::from_millis(600), ..Way::new() };
    let phase = |client: &Client| match client.opened().unwrap_err() {
        WSConnectError::Timeout { phase, .. } => phase,
        other => panic!("{other}"),
    };
    let (client, _events) = way.connect(WSS);
    let mute = way.accept_tcp();
    assert_eq!(phase(&client), WSPhase::ProxyTls);
    drop(mute);
    let (client, _events) = way.connect(WSS);
    let mute = way.accept();
    assert_eq!(phase(&client), WSPhase::Proxy);
    drop(mute);
    let (client, _events) = way.connect(WSS);
    let mute = way.accept_tunnel();
    assert_eq!(phase(&client), WSPhase::Tls);
    drop(mute);
}

/// The proxy goes, without a word of TLS, at each stage.
#[test]
fn a_proxy_that_is_cut_off_is_told() {
    let way = Way::new();
    let why = |client: &Client| client.opened().unwrap_err().to_string();
    let (client, _events) = way.connect(WSS);
    let mut tcp = way.accept_tcp();
    tcp.read_exact(&mut [0; 100]).unwrap();
    tcp.shutdown(std::net::Shutdown::Write).unwrap();
    let text = why(&client);
    assert!(
        text.starts_with("proxy https://localhost:") && text.contains("during the TLS handshake"),
        "{text}"
    );

    let (client, _events) = way.connect(WSS);
    way.accept().below.shutdown(std::net::Shutdown::Write).unwrap();
    let text = why(&client);
    assert!(text.contains("it closed the connection before its answer was complete"), "{text}");

    let (client, _events) = way.connect(WSS);
    let mut tunnel = way.accept_tunnel();
    tunnel.read_exact(&mut [0; 5]).unwrap();
    tunnel.below.shutdown(std::net::Shutdown::Write).unwrap();
    let text = why(&client);
    assert!(text.contains("the peer closed the connection during the TLS handshake"), "{text}");

    let (server, _client, events) = way.open();
    server.below.below.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(events.disconnected().cause, WSDisconnectCause::Truncated);
}

/// A peer that does not read, then does: what was sent meanwhile waits in either layer, is counted, and comes.
#[test]
fn what_a_full_tunnel_refuses_waits_and_arrives() {
    let (mut server, client, _events) = Way::new().open();
    let payload = pattern(20_000);
    let mut sent = 0;
    loop {
        let payload = payload.clone();
        let waiting = client.on.ask_transport(0, move |transport| {
            transport.send(WSMsgType::Binary, &payload);
            transport.flush();
            transport.buffered_amount()
        });
        sent += 1;
        if waiting > 0 {
            break;
        }
        assert!(sent < 10_000, "the kernel takes everything");
    }
    let mut received = Vec::new();
    for n in 0..sent {
        assert!(read_frame(&mut server, &mut received) == Frame::binary(&payload), "{n} of {sent}");
    }
    assert_eq!(client.on.ask_transport(0, WSTransport::buffered_amount), 0);
}
