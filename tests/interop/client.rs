//! The library as client, against each peer's server.

use std::sync::mpsc::{Receiver, Sender, channel};

use femtows::{
    SendOptions, WSCloseCode, WSConnectConfig, WSFrame, WSListener, WSMessage, WSMessageAdapter,
    WSMessageListener, WSMsgType, WSResult, WSTransport,
};

use crate::peers::{PICOWS, Peer, PeerServer, WEBSOCKETS, WS};
use crate::support::running::{Client, connect, remember};
use crate::support::{PATIENCE, pattern};
use crate::{Api, LARGEST, limits};

const SIZES: [usize; 9] = [0, 1, 125, 126, 127, 65_535, 65_536, 1 << 20, LARGEST];

/// What a client sees.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Message { msg_type: WSMsgType, payload: Vec<u8>, frames: Option<usize> },
    Pong(Vec<u8>),
    Close(WSCloseCode, String),
}

/// On frames: puts fragments together by itself.
struct OnFrames {
    tell: Sender<Seen>,
    partial: Option<(WSMsgType, Vec<u8>, usize)>,
}

fn tell_control(tell: &Sender<Seen>, frame: &WSFrame<'_>) {
    let _ = tell.send(match frame.msg_type() {
        WSMsgType::Close => Seen::Close(frame.close_code(), frame.close_message().to_owned()),
        _ => Seen::Pong(frame.payload().to_vec()),
    });
}

impl WSListener for OnFrames {
    fn on_ws_connected(&mut self, transport: &WSTransport) -> WSResult {
        remember(transport);
        Ok(())
    }

    fn on_ws_frame(&mut self, _: &WSTransport, frame: &mut WSFrame<'_>) -> WSResult {
        if frame.msg_type().is_control() {
            tell_control(&self.tell, frame);
            return Ok(());
        }
        let (_, payload, frames) = self.partial.get_or_insert((frame.msg_type(), Vec::new(), 0));
        payload.extend_from_slice(frame.payload());
        *frames += 1;
        if frame.fin() {
            let (msg_type, payload, frames) = self.partial.take().ok_or("a message that just ended")?;
            let _ = self.tell.send(Seen::Message { msg_type, payload, frames: Some(frames) });
        }
        Ok(())
    }
}

/// On messages.
struct OnMessages {
    tell: Sender<Seen>,
}

impl WSMessageListener for OnMessages {
    fn on_ws_connected(&mut self, transport: &WSTransport) -> WSResult {
        remember(transport);
        Ok(())
    }

    fn on_ws_message(&mut self, _: &WSTransport, message: WSMessage<'_>) -> WSResult {
        let (msg_type, payload) = (message.msg_type(), message.as_bytes().to_vec());
        let _ = self.tell.send(Seen::Message { msg_type, payload, frames: None });
        Ok(())
    }

    fn on_ws_control(&mut self, _: &WSTransport, frame: &mut WSFrame<'_>) -> WSResult {
        tell_control(&self.tell, frame);
        Ok(())
    }
}

struct Session {
    client: Client,
    seen: Receiver<Seen>,
    api: Api,
}

impl Session {
    fn open(server: &PeerServer, path: &str, api: Api, config: WSConnectConfig) -> Self {
        let (tell, seen) = channel();
        let listener: Box<dyn WSListener + Send> = match api {
            Api::Frames => Box::new(OnFrames { tell, partial: None }),
            Api::Messages => Box::new(WSMessageAdapter::new(OnMessages { tell })),
        };
        let client = connect(&server.url(path), config.limits(limits()), listener);
        client.opened().unwrap();
        Self { client, seen, api }
    }

    fn next(&self) -> Seen {
        self.seen.recv_timeout(PATIENCE).expect("something of the server")
    }

    fn send(&self, msg_type: WSMsgType, payload: &[u8], fin: bool) {
        let payload = payload.to_vec();
        let options = SendOptions { fin, ..SendOptions::default() };
        let send = move |transport: &WSTransport| transport.send_frame(msg_type, payload, options);
        assert!(self.client.on.ask_transport(0, send).is_accepted());
    }

    /// The next message is this; with the frames API also if it came in so many frames.
    fn expect(&self, wanted_type: WSMsgType, wanted: &[u8], wanted_frames: Option<usize>) {
        match self.next() {
            Seen::Message { msg_type, payload, frames } => {
                assert_eq!((msg_type, payload.len()), (wanted_type, wanted.len()));
                assert!(payload == wanted, "another payload of {} bytes", wanted.len());
                if self.api == Api::Frames && wanted_frames.is_some() {
                    assert_eq!(frames, wanted_frames);
                }
            }
            Seen::Close(code, reason) => panic!("closed with {code} {reason:?}"),
            Seen::Pong(payload) => panic!("a pong: {payload:?}"),
        }
    }

    /// Closes with this code; the server answers with the same one, and ends TCP.
    fn close(self, code: WSCloseCode, reason: &'static str) {
        assert!(self.client.on.ask_transport(0, move |transport| transport.close(code, reason).unwrap()));
        match self.next() {
            Seen::Close(answer, _) => assert_eq!(answer, code),
            other => panic!("not a close: {other:?}"),
        }
        self.client.ended().unwrap();
        let handshake = self.client.on.ask_transport(0, WSTransport::close_handshake);
        assert!(!handshake.recv_then_sent);
    }
}

/// Text of exactly `len` bytes, with characters of one to four bytes.
fn text(len: usize) -> Vec<u8> {
    let mut text: Vec<u8> = "a\u{e9}\u{20ac}\u{1f980}".bytes().cycle().take(len / 10 * 10).collect();
    text.resize(len, b'x');
    text
}

fn payload(msg_type: WSMsgType, len: usize) -> Vec<u8> {
    if msg_type == WSMsgType::Text { text(len) } else { pattern(len) }
}

fn echoes(server: &PeerServer, path: &str, api: Api, frames: Option<usize>) {
    echo_sizes(Session::open(server, path, api, WSConnectConfig::default()), frames);
}

/// Messages of all sizes come back over a connection with this configuration.
#[cfg(feature = "tls")]
pub(crate) fn echoes_over(server: &PeerServer, api: Api, config: &WSConnectConfig) {
    echo_sizes(Session::open(server, "/", api, config.clone()), None);
}

/// Messages of all sizes go there and come back compressed.
#[cfg(feature = "deflate")]
pub(crate) fn echoes_compressed(server: &PeerServer, config: WSConnectConfig) {
    let session = Session::open(server, "/", Api::Messages, config);
    let extensions = |transport: &WSTransport| {
        let response = transport.response()?;
        response.get_header("sec-websocket-extensions").map(std::borrow::Cow::into_owned)
    };
    let agreed = session.client.on.ask_transport(0, extensions).expect("the peer knows compression");
    assert!(agreed.starts_with("permessage-deflate"), "{agreed}");
    for _ in 0..2 {
        for msg_type in [WSMsgType::Text, WSMsgType::Binary] {
            for size in SIZES {
                let payload = payload(msg_type, size);
                let message = payload.clone();
                let send = move |transport: &WSTransport| transport.send(msg_type, message);
                assert!(session.client.on.ask_transport(0, send).is_accepted());
                session.expect(msg_type, &payload, None);
            }
        }
    }
    session.close(WSCloseCode::OK, "done");
}

fn echo_sizes(session: Session, frames: Option<usize>) {
    for msg_type in [WSMsgType::Text, WSMsgType::Binary] {
        for size in SIZES {
            let payload = payload(msg_type, size);
            session.send(msg_type, &payload, true);
            session.expect(msg_type, &payload, frames);
        }
    }
    session.close(WSCloseCode::OK, "done");
}

fn fragments(server: &PeerServer, api: Api) {
    let session = Session::open(server, "/", api, WSConnectConfig::default());
    for msg_type in [WSMsgType::Text, WSMsgType::Binary] {
        for size in [0, 7, 1000, 200_000] {
            let payload = payload(msg_type, size);
            // Within a character, if there are any.
            let (first, rest) = payload.split_at(size.min(2));
            let (second, third) = rest.split_at(rest.len() / 2);
            session.send(msg_type, first, false);
            session.send(WSMsgType::Ping, b"between", true);
            session.send(WSMsgType::Continuation, second, false);
            session.send(WSMsgType::Continuation, third, true);
            assert_eq!(session.next(), Seen::Pong(b"between".to_vec()));
            session.expect(msg_type, &payload, None);
        }
    }
    session.close(WSCloseCode(3000), "");
}

fn pings(server: &PeerServer, api: Api) {
    let session = Session::open(server, "/ping", api, WSConnectConfig::default());
    session.expect(WSMsgType::Text, b"pong-ok", None);
    for payload in [&b""[..], b"x", &[7; 125]] {
        session.send(WSMsgType::Ping, payload, true);
        assert_eq!(session.next(), Seen::Pong(payload.to_vec()));
    }
    session.close(WSCloseCode(4999), "\u{20ac}");
}

fn closes(server: &PeerServer, api: Api) {
    for (code, reason) in
        [(1000, ""), (1001, "away"), (3000, "x"), (4999, "a long reason, still short enough")]
    {
        let path = format!("/close?code={code}&reason={}", reason.replace(' ', "%20"));
        let session = Session::open(server, &path, api, WSConnectConfig::default());
        assert_eq!(session.next(), Seen::Close(WSCloseCode(code), reason.to_owned()));
        session.client.ended().unwrap();
        let handshake = session.client.on.ask_transport(0, WSTransport::close_handshake);
        assert!(handshake.recv_then_sent);
        assert_eq!(handshake.sent.unwrap().code, WSCloseCode(code));
    }
}

fn subprotocols(server: &PeerServer, api: Api) {
    let config = WSConnectConfig::default().subprotocols(["talk", "chat"]);
    let session = Session::open(server, "/", api, config);
    let subprotocol = session.client.on.ask_transport(0, WSTransport::subprotocol);
    assert_eq!(subprotocol.as_deref(), Some("chat"));
    session.close(WSCloseCode::OK, "");
    let session = Session::open(server, "/", api, WSConnectConfig::default());
    assert_eq!(session.client.on.ask_transport(0, WSTransport::subprotocol), None);
    session.close(WSCloseCode::OK, "");
}

fn against(peer: Peer, api: Api) {
    if !peer.is_installed() {
        return;
    }
    let server = peer.serve();
    echoes(&server, "/", api, None);
    echoes(&server, "/fragments", api, Some(3));
    fragments(&server, api);
    pings(&server, api);
    closes(&server, api);
    subprotocols(&server, api);
    server.stop();
}

#[test]
fn our_frames_and_the_websockets_server() {
    against(WEBSOCKETS, Api::Frames);
}

#[test]
fn our_messages_and_the_websockets_server() {
    against(WEBSOCKETS, Api::Messages);
}

#[test]
fn our_frames_and_the_picows_server() {
    against(PICOWS, Api::Frames);
}

#[test]
fn our_messages_and_the_picows_server() {
    against(PICOWS, Api::Messages);
}

#[test]
fn our_frames_and_the_ws_server() {
    against(WS, Api::Frames);
}

#[test]
fn our_messages_and_the_ws_server() {
    against(WS, Api::Messages);
}
