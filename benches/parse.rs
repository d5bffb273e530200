//! What a frame costs without a socket: to read it, to write it, and to do both in a connection that echoes.

use std::hint::black_box;
use std::io::IoSlice;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use femtows::buf::BufferPool;
use femtows::mask::MaskKeys;
use femtows::proto::{Connection, Receiver, Role, Rules, SendContext, SendOptions, WSMsgType};

const LENGTHS: [usize; 4] = [20, 128, 512, 16 * 1024];

/// Bytes received at a time.
const BUFFER: usize = 64 * 1024;

fn name(role: Role) -> &'static str {
    match role {
        Role::Client => "client",
        Role::Server => "server",
    }
}

fn parameters() -> impl Iterator<Item = (Role, usize)> {
    [Role::Server, Role::Client].into_iter().flat_map(|role| LENGTHS.map(|len| (role, len)))
}

/// A connection with what it borrows.
struct End {
    connection: Connection,
    pool: BufferPool,
    keys: MaskKeys,
}

impl End {
    fn new(role: Role) -> Self {
        let connection = Connection::new(role, Arc::new(Rules::default()));
        Self { connection, pool: BufferPool::new(1 << 20), keys: MaskKeys::new() }
    }

    fn send(&mut self, payload: &[u8]) {
        let mut out = SendContext { pool: &mut self.pool, keys: &mut self.keys };
        let sent = self.connection.send(WSMsgType::Binary, payload, SendOptions::default(), &mut out);
        assert_eq!(sent, Ok(()));
    }

    /// The kernel takes everything.
    fn flush(&mut self) {
        let mut slices = [IoSlice::new(&[]); 4];
        black_box(self.connection.io_slices(&mut slices));
        let mut out = SendContext { pool: &mut self.pool, keys: &mut self.keys };
        self.connection.consume(self.connection.queued(), &mut out);
    }
}

/// As many frames as fit into the buffer, as the peer of `role` sends them, and their number.
fn frames_for(role: Role, len: usize) -> (Vec<u8>, usize) {
    let mut peer = End::new(if role == Role::Server { Role::Client } else { Role::Server });
    let payload = vec![b'x'; len];
    peer.send(&payload);
    let count = BUFFER / peer.connection.queued();
    (1..count).for_each(|_| peer.send(&payload));
    (peer.connection.first_slice().to_vec(), count)
}

/// A server unmasks, a client does not have to. Unmasking the same bytes again and again masks them every other time; no one looks.
fn read(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parse");
    for (role, len) in parameters() {
        let (mut wire, count) = frames_for(role, len);
        let rules = Rules::default();
        let mut receiver = Receiver::new(role, &rules);
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(BenchmarkId::new(name(role), len), |bencher| {
            bencher.iter(|| {
                let mut rest = &mut wire[..];
                while let Ok(Some(head)) = receiver.poll(rest, &rules) {
                    black_box(&rest[head.header.header_len()..head.wire_len()]);
                    rest = &mut rest[head.wire_len()..];
                }
            });
        });
    }
    group.finish();
}

/// A client masks, a server does not.
fn write(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    for (role, len) in parameters() {
        let payload = vec![b'x'; len];
        let count = BUFFER / (len + 14);
        let mut end = End::new(role);
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(BenchmarkId::new(name(role), len), |bencher| {
            bencher.iter(|| {
                for _ in 0..count {
                    end.send(black_box(&payload));
                }
                end.flush();
            });
        });
    }
    group.finish();
}

/// Bytes in, bytes out: a batch of frames is received, each is sent back, all leave together.
fn echo(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("echo");
    for (role, len) in parameters() {
        let (mut wire, count) = frames_for(role, len);
        let mut end = End::new(role);
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(BenchmarkId::new(name(role), len), |bencher| {
            bencher.iter(|| {
                let mut rest = &mut wire[..];
                while let Ok(Some(head)) = end.connection.poll(rest) {
                    end.send(&rest[head.header.header_len()..head.wire_len()]);
                    rest = &mut rest[head.wire_len()..];
                }
                end.flush();
            });
        });
    }
    group.finish();
}

criterion_group!(benches, read, write, echo);
criterion_main!(benches);
