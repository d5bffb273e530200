use std::io::{self, IoSlice};

use crate::handshake::{
    HandshakeLimits, ServerHandshake, ServerProgress, client_key, encode_default_switching,
};
use crate::mask;
use crate::net::Layer;
use crate::proto::{FrameHeader, Receiver, Role, Rules, SendOptions, WSMsgType};

use super::wire::SimStream;
use super::{SimLink, TestKit};

/// One end of a link, in the hands of the test. Dropping it closes that end.
///
/// Writes go into the link at once and arrive when the loop turns; what the loop's end writes is here once it arrived.
#[derive(Debug)]
pub struct Peer {
    link: SimLink,
    /// `None` once closed.
    stream: Option<SimStream>,
    received: Vec<u8>,
    receiver: Receiver,
    rules: Rules,
    ended: bool,
    broken: Option<io::ErrorKind>,
}

/// A frame that a [`Peer`] received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerFrame {
    /// Message type.
    pub msg_type: WSMsgType,
    /// Whether it ends its message.
    pub fin: bool,
    /// The payload, unmasked.
    pub payload: Vec<u8>,
}

impl Peer {
    pub(super) fn new(link: SimLink, stream: SimStream) -> Self {
        let rules = Rules { max_frame_size: u64::MAX, allow_reserved_bits: true, ..Rules::default() };
        let receiver = Receiver::new(stream.role, &rules);
        Self { link, stream: Some(stream), received: Vec::new(), receiver, rules, ended: false, broken: None }
    }

    /// The network between this end and the loop's.
    pub fn link(&self) -> &SimLink {
        &self.link
    }

    /// Does this end's part of a good opening handshake and runs the loop until it is done. Requests and answers over which the link
    /// takes its time need [`write`](Self::write) instead.
    ///
    /// # Panics
    /// If the loop's end does not do its part.
    pub fn upgrade(&mut self, kit: &mut TestKit) {
        if self.role() == Role::Client {
            self.write(&Self::request());
        }
        kit.run_until_idle();
        self.receive();
        let head = head_len(&self.received).expect("the other end has sent a whole head");
        let head: Vec<u8> = self.received.drain(..head).collect();
        if self.role() == Role::Server {
            let response = Self::response_to(&head).expect("the client's request is a good one");
            self.write(&response);
            kit.run_until_idle();
        } else {
            assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
        }
    }

    /// A good request.
    pub fn request() -> Vec<u8> {
        let key = client_key(b"femtows test kit");
        let mut head =
            b"GET / HTTP/1.1\r\nHost: testkit\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n".to_vec();
        head.extend_from_slice(b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ");
        head.extend_from_slice(&key);
        head.extend_from_slice(b"\r\n\r\n");
        head
    }

    /// The good answer to a request, if that is a good one.
    pub fn response_to(request: &[u8]) -> Option<Vec<u8>> {
        let progress = ServerHandshake::new(HandshakeLimits::default()).receive(request);
        let ServerProgress::Request { request, .. } = progress else { return None };
        let mut response = Vec::new();
        encode_default_switching(&request, &mut response).ok()?;
        Some(response)
    }

    /// Writes as much of `bytes` as the link takes. Returns how much; 0 too if this end is closed or broken.
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        match self.stream.as_mut().map(|stream| stream.write(&[IoSlice::new(bytes)])) {
            Some(Ok(n)) => n,
            Some(Err(error)) if error.kind() != io::ErrorKind::WouldBlock => {
                self.broken = Some(error.kind());
                0
            }
            _ => 0,
        }
    }

    /// [Encodes](Self::encode_frame) and writes a whole frame.
    ///
    /// # Panics
    /// If the link does not take all of it.
    pub fn send_frame(&mut self, msg_type: WSMsgType, payload: &[u8]) {
        let frame = self.encode_frame(msg_type, payload, SendOptions::default());
        assert_eq!(self.write(&frame), frame.len(), "the link has no room for the frame");
    }

    /// A frame as this end sends it: masked with a fixed key if it is the client.
    pub fn encode_frame(&self, msg_type: WSMsgType, payload: &[u8], options: SendOptions) -> Vec<u8> {
        let key = (self.role() == Role::Client).then_some([0x12, 0x34, 0x56, 0x78]);
        let mut frame = FrameHeader::new(msg_type, options, key, payload.len()).encode().to_vec();
        match key {
            Some(key) => mask::mask_extend(payload, &mut frame, key),
            None => frame.extend_from_slice(payload),
        }
        frame
    }

    /// Takes the bytes that arrived and were not read yet.
    pub fn read(&mut self) -> Vec<u8> {
        self.receive();
        std::mem::take(&mut self.received)
    }

    /// Takes the whole frames that arrived. Bytes of an incomplete one stay.
    ///
    /// # Panics
    /// If the bytes are not valid frames.
    pub fn frames(&mut self) -> Vec<PeerFrame> {
        self.receive();
        let mut frames = Vec::new();
        loop {
            match self.receiver.poll(&mut self.received, &self.rules) {
                Ok(Some(head)) => {
                    let payload = self.received[head.header.header_len()..head.wire_len()].to_vec();
                    frames.push(PeerFrame {
                        msg_type: head.header.msg_type(),
                        fin: head.header.fin(),
                        payload,
                    });
                    self.received.drain(..head.wire_len());
                }
                Ok(None) => return frames,
                Err(error) => panic!("the other end has sent an invalid frame: {error}"),
            }
        }
    }

    /// Whether the other end has ended its half, and everything before the end was received.
    pub fn is_ended(&mut self) -> bool {
        self.receive();
        self.ended
    }

    /// The error that this end met, if the link broke.
    pub fn error(&mut self) -> Option<io::ErrorKind> {
        self.receive();
        self.broken
    }

    /// Ends the outgoing half: the other end sees the end of the stream.
    pub fn shutdown_write(&mut self) {
        if let Some(stream) = &mut self.stream
            && let Err(error) = stream.shutdown_write()
        {
            self.broken = Some(error.kind());
        }
    }

    /// Closes this end. As with TCP, bytes that arrived and were not read make it a reset.
    pub fn close(&mut self) {
        self.stream = None;
    }

    fn role(&self) -> Role {
        // A closed end has no use for its role but to say what it would have sent.
        self.stream.as_ref().map_or(Role::Client, |stream| stream.role)
    }

    fn receive(&mut self) {
        let Some(stream) = &mut self.stream else { return };
        loop {
            match stream.recv_with(usize::MAX, |part| self.received.extend_from_slice(part)) {
                Ok(0) => return self.ended = true,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => return self.broken = Some(error.kind()),
            }
        }
    }
}

fn head_len(bytes: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, b"\r\n\r\n").map(|at| at + 4)
}
