//! A connection in memory, with what it borrows, and frames for it to read.

use std::hint::black_box;
use std::io::IoSlice;
use std::sync::Arc;

use femtows::buf::BufferPool;
use femtows::mask::MaskKeys;
use femtows::proto::{Connection, Payload, Role, Rules, SendContext, SendOptions, WSMsgType};

/// Bytes received at a time.
pub(crate) const BUFFER: usize = 64 * 1024;

/// One end of a connection whose kernel takes everything.
pub(crate) struct End {
    /// The protocol.
    pub(crate) connection: Connection,
    pool: BufferPool,
    keys: MaskKeys,
}

impl End {
    /// An end with nothing queued.
    pub(crate) fn new(role: Role) -> Self {
        let connection = Connection::new(role, Arc::new(Rules::default()));
        Self { connection, pool: BufferPool::new(1 << 20), keys: MaskKeys::new() }
    }

    /// Queues a BINARY frame.
    #[inline]
    pub(crate) fn send(&mut self, payload: &[u8]) {
        let mut out = SendContext { pool: &mut self.pool, keys: &mut self.keys };
        let sent = self.connection.send(
            WSMsgType::Binary,
            Payload::Borrowed(payload),
            SendOptions::default(),
            &mut out,
        );
        assert_eq!(sent, Ok(()));
    }

    /// Sends back every frame of `wire`, which is unmasked where it lies, and lets the answers leave together.
    #[inline]
    pub(crate) fn echo(&mut self, wire: &mut [u8]) {
        let mut rest = wire;
        while let Ok(Some(head)) = self.connection.poll(rest) {
            let (frame, tail) = rest.split_at_mut(head.wire_len());
            self.send(&frame[head.header.header_len()..]);
            rest = tail;
        }
        self.flush();
    }

    /// What is queued leaves.
    #[inline]
    pub(crate) fn flush(&mut self) {
        let mut slices = [IoSlice::new(&[]); 4];
        black_box(self.connection.io_slices(&mut slices));
        self.consume(self.connection.queued());
    }

    fn consume(&mut self, len: usize) {
        let mut out = SendContext { pool: &mut self.pool, keys: &mut self.keys };
        self.connection.consume(len, &mut out);
    }
}

/// How many frames with payloads of `len` bytes fit into the buffer, masked or not.
pub(crate) fn frames_in_buffer(len: usize) -> usize {
    BUFFER / (len + if len < 126 { 6 } else { 8 })
}

/// `count` frames with payloads of `len` bytes, as the peer of `role` sends them.
pub(crate) fn frames_for(role: Role, len: usize, count: usize) -> Vec<u8> {
    let mut peer = End::new(if role == Role::Server { Role::Client } else { Role::Server });
    let payload = vec![b'x'; len];
    (0..count).for_each(|_| peer.send(&payload));
    let mut wire = Vec::new();
    while peer.connection.queued() > 0 {
        let mut slices = [IoSlice::new(&[])];
        peer.connection.io_slices(&mut slices);
        let len = slices[0].len();
        wire.extend_from_slice(&slices[0]);
        peer.consume(len);
    }
    wire
}
