//! Feeds a stream to the library in pieces and compares with the twin after each piece.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use crate::buf::BufferPool;
use crate::mask::MaskKeys;
use crate::proto::{Connection, FrameHead, Receiver, SendContext, WSMsgType, WSProtocolError};

use super::twin::{self, Frame, Reading, Scene};

/// A stream, and what the twin says of each of its beginnings.
pub(crate) struct Case {
    scene: Scene,
    wire: Vec<u8>,
    readings: BTreeMap<usize, Rc<Reading>>,
}

impl Case {
    pub(crate) fn new(scene: Scene, wire: Vec<u8>) -> Self {
        Self { scene, wire, readings: BTreeMap::new() }
    }

    /// Feeds the stream in pieces that end at `cuts`, which ascend, and at its end.
    ///
    /// # Panics
    /// If the library and the twin differ at the end of any piece.
    pub(crate) fn check(&mut self, cuts: impl IntoIterator<Item = usize>) {
        let mut reader = Reader::new(self.scene.clone());
        for end in cuts.into_iter().chain([self.wire.len()]) {
            let reading = self.reading_of(end);
            reader.receive(&self.wire[reader.received..end]);
            if reader.check(&reading) == Outcome::Ended {
                return;
            }
        }
    }

    fn reading_of(&mut self, end: usize) -> Rc<Reading> {
        let reading = || Rc::new(twin::read(&self.scene, &self.wire[..end]));
        Rc::clone(self.readings.entry(end).or_insert_with(reading))
    }
}

/// What the library is asked through.
enum Subject {
    Receiver(Box<Receiver>),
    Connection(Box<Connection>, BufferPool, MaskKeys),
}

/// One pass over a stream.
struct Reader {
    scene: Scene,
    subject: Subject,
    /// Where the unconsumed bytes are: at another distance from the start of the memory each time they are moved.
    memory: Vec<u8>,
    start: usize,
    /// Bytes of the stream fed so far.
    received: usize,
    /// Frames returned so far.
    returned: usize,
    polls: usize,
    /// Data is held.
    holds: bool,
}

#[derive(PartialEq, Eq)]
enum Outcome {
    Ended,
    Hungry,
}

impl Reader {
    fn new(scene: Scene) -> Self {
        let mut subject = if scene.until_close {
            let connection = Connection::new(scene.role, Arc::new(scene.rules.clone()));
            Subject::Connection(Box::new(connection), BufferPool::new(0), MaskKeys::seeded(1))
        } else {
            Subject::Receiver(Box::new(Receiver::new(scene.role, &scene.rules)))
        };
        if scene.messages {
            match &mut subject {
                Subject::Receiver(receiver) => receiver.expect_messages(&scene.rules),
                Subject::Connection(connection, ..) => connection.expect_messages(),
            }
        }
        if scene.long_masked {
            match &mut subject {
                Subject::Receiver(receiver) => receiver.leave_long_masked(),
                Subject::Connection(connection, ..) => connection.leave_long_masked(),
            }
        }
        Self {
            scene,
            subject,
            memory: Vec::new(),
            start: 0,
            received: 0,
            returned: 0,
            polls: 0,
            holds: false,
        }
    }

    /// Moves the unconsumed bytes as they were left into new memory, `piece` behind them.
    fn receive(&mut self, piece: &[u8]) {
        self.received += piece.len();
        let shift = self.received % 7;
        let mut moved = vec![0xEE; shift];
        moved.extend_from_slice(&self.memory[self.start..]);
        moved.extend_from_slice(piece);
        (self.memory, self.start) = (moved, shift);
    }

    /// Takes all frames out and compares with what the twin found in the same bytes.
    fn check(&mut self, reading: &Reading) -> Outcome {
        loop {
            match self.poll() {
                Ok(Some(head)) => {
                    assert!(self.returned < reading.frames.len(), "a frame too many: {head:?}, {reading:?}");
                    let fault = self.deliver(&head, reading);
                    assert_eq!(fault, None, "frame {} of {reading:?}", self.returned);
                    self.returned += 1;
                    if self.scene.until_close && head.header.msg_type() == WSMsgType::Close {
                        return Outcome::Ended;
                    }
                }
                Ok(None) => {
                    assert_eq!(self.returned, reading.frames.len(), "frames are missing: {reading:?}");
                    assert!(reading.fault.is_none(), "a fault went unseen: {reading:?}");
                    assert_eq!(self.pending_wire_len(), reading.incomplete);
                    return Outcome::Hungry;
                }
                Err(error) => {
                    assert_eq!(
                        self.returned,
                        reading.frames.len(),
                        "{error} came before its turn: {reading:?}"
                    );
                    let expected = reading.fault.as_ref().map(|fault| fault.code);
                    assert_eq!(Some(error.code.0), expected, "{error}: {reading:?}");
                    return Outcome::Ended;
                }
            }
        }
    }

    /// The next frame, or the fault of the layers up to the one that the scene asks for.
    fn poll(&mut self) -> Result<Option<FrameHead>, WSProtocolError> {
        // Data is held now and then, over several frames and pieces: that changes nothing but when
        // it comes.
        self.polls += 1;
        if self.polls.is_multiple_of(3) {
            self.hold();
        }
        let mut polled = self.poll_bytes()?;
        if self.is_data_held() {
            assert!(polled.is_none(), "a frame in front of the one that is held: {polled:?}");
            assert!(self.memory[self.start] & 8 == 0, "a control frame is held");
            self.release();
            polled = self.poll_bytes()?;
        }
        let Some(head) = polled else { return Ok(None) };
        assert!(!self.holds || head.header.msg_type().is_control(), "data, though it is held: {head:?}");
        if self.polls.is_multiple_of(4) {
            self.release();
        }
        let bytes = &mut self.memory[self.start..];
        let payload = &mut bytes[head.header.header_len()..head.wire_len()];
        if self.scene.long_masked && head.header.is_long() {
            head.unmask(payload);
        }
        if head.header.msg_type().is_control() {
            if let Subject::Connection(connection, pool, keys) = &mut self.subject {
                let mut out = SendContext { pool, keys };
                connection.handle_control(head.header.msg_type(), payload, &mut out)?;
                connection.consume(connection.queued(), &mut out);
            }
        } else if self.scene.messages && head.header.msg_type() == WSMsgType::Text && head.header.fin() {
            // Text that arrived whole is left to the message layer.
            if let Err(error) = std::str::from_utf8(payload) {
                return Err(WSProtocolError::new(1007.into(), error.to_string()));
            }
        }
        Ok(Some(head))
    }

    fn poll_bytes(&mut self) -> Result<Option<FrameHead>, WSProtocolError> {
        let bytes = &mut self.memory[self.start..];
        match &mut self.subject {
            Subject::Receiver(receiver) => receiver.poll(bytes, &self.scene.rules),
            Subject::Connection(connection, ..) => connection.poll(bytes),
        }
    }

    fn hold(&mut self) {
        self.holds = true;
        match &mut self.subject {
            Subject::Receiver(receiver) => receiver.hold_data(),
            Subject::Connection(connection, ..) => connection.hold_data(),
        }
    }

    fn release(&mut self) {
        self.holds = false;
        match &mut self.subject {
            Subject::Receiver(receiver) => receiver.release_data(&self.scene.rules),
            Subject::Connection(connection, ..) => connection.release_data(),
        }
    }

    fn is_data_held(&self) -> bool {
        match &self.subject {
            Subject::Receiver(receiver) => receiver.is_data_held(),
            Subject::Connection(connection, ..) => connection.is_data_held(),
        }
    }

    /// Compares a returned frame with the twin's and consumes it.
    fn deliver(&mut self, head: &FrameHead, reading: &Reading) -> Option<String> {
        let Frame { header, payload, end } = &reading.frames[self.returned];
        let found = &head.header;
        let is_next_whole = match reading.frames.get(self.returned + 1) {
            Some(_) => true,
            None => reading.fault.as_ref().is_some_and(|fault| fault.in_whole_frame),
        };
        let is_end = self.scene.until_close && header.opcode == 8;
        let received = &self.memory[self.start..];
        let differs = [
            ("fin", found.fin() != header.fin),
            ("reserved bits", [found.rsv1(), found.rsv2(), found.rsv3()] != header.rsv),
            ("opcode", found.msg_type().opcode() != header.opcode),
            ("mask", found.mask() != header.key),
            ("payload length", found.payload_len() != header.payload_len),
            ("header length", found.header_len() != header.len),
            ("payload", received[found.header_len()..head.wire_len()] != **payload),
            ("tail_size", head.tail_size != self.received - end),
            ("last_in_buffer", !is_end && head.last_in_buffer == is_next_whole),
        ];
        self.start += head.wire_len();
        differs.iter().find(|(_, differs)| *differs).map(|(what, _)| format!("{what} differs in {head:?}"))
    }

    fn pending_wire_len(&self) -> Option<u64> {
        match &self.subject {
            Subject::Receiver(receiver) => receiver.pending_wire_len(),
            Subject::Connection(connection, ..) => connection.pending_wire_len(),
        }
    }
}
