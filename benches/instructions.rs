//! The programs whose instructions `benches/instructions.sh` counts with callgrind and compares with `benches/instructions.txt`.
//!
//! `instructions list` names them, `instructions run NAME` runs one and prints the number of frames that were counted. Without
//! these, as under `cargo bench`, each runs once.
//!
//! Only what happens inside of [`collected`] is counted: setting up, warming up and the other end are outside of it. The kernel
//! is not counted either, so that real sockets cost here what the library does around them.

mod support;

use std::cell::Cell;
use std::hint::black_box;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use femtows::handshake::{HandshakeLimits, ServerHandshake, ServerProgress, encode_default_switching};
use femtows::mask::backends;
use femtows::proto::internal::Receiver;
use femtows::proto::{Role, Rules};
use femtows::{
    WSFrame, WSListener, WSLoop, WSLoopConfig, WSResult, WSServerConfig, WSTransport, WSUpgradeRequest,
    ws_create_server,
};

use support::{End, frames_for, frames_in_buffer};

/// Counted rounds. A multiple of 256, because a client fetches its masking keys 256 at a time.
const ROUNDS: usize = 256;

/// Rounds before them, after which every buffer has the size that it keeps.
const WARM_UP: usize = 16;

/// Most frames in a round.
const BATCH: usize = 64;

/// What is masked with under the count, if the CPU has it: what callgrind can run, and nearly every machine too.
const BACKEND: &str = "avx2";

/// How long a turn of the loop waits for what the kernel already has.
const PATIENCE: Duration = Duration::from_secs(10);

/// Returns the number of frames counted.
type Program = fn() -> usize;

/// Every program, by name.
const PROGRAMS: [(&str, Program); 14] = [
    ("parse/masked/20", || parse(Role::Server, 20)),
    ("parse/masked/512", || parse(Role::Server, 512)),
    ("parse/masked/16384", || parse(Role::Server, 16 << 10)),
    ("parse/unmasked/20", || parse(Role::Client, 20)),
    ("encode/server/20", || encode(Role::Server, 20)),
    ("encode/server/1024", || encode(Role::Server, 1 << 10)),
    ("encode/client/20", || encode(Role::Client, 20)),
    ("encode/client/1024", || encode(Role::Client, 1 << 10)),
    ("connection/echo/20", || connection(20)),
    ("connection/echo/512", || connection(512)),
    ("loop/closed/20", || event_loop(20, 1)),
    ("loop/closed/16384", || event_loop(16 << 10, 1)),
    ("loop/pipelined/20", || event_loop(20, BATCH)),
    ("handshake/server", handshake),
];

fn main() -> ExitCode {
    if let Some(backend) = backends::available().find(|backend| backend.name() == BACKEND) {
        backend.choose();
    }
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["list"] => PROGRAMS.iter().for_each(|(name, _)| println!("{name}")),
        ["backend"] => println!("{}", femtows::mask::backend_name()),
        ["run", wanted] => {
            let Some((_, program)) = PROGRAMS.iter().find(|(name, _)| *name == wanted) else {
                eprintln!("no program {wanted}");
                return ExitCode::FAILURE;
            };
            println!("{}", program());
        }
        _ => {
            for (name, program) in PROGRAMS {
                println!("{name}: {} frames; benches/instructions.sh counts", program());
            }
        }
    }
    ExitCode::SUCCESS
}

/// What is counted. The script knows it by its name.
#[inline(never)]
fn collected(work: &mut dyn FnMut()) {
    work();
    // Keeps the call from being a jump, of which callgrind would not see the end.
    black_box(&work);
}

/// Warms up, then counts; `frames` are those of one round.
fn count(frames: usize, mut round: impl FnMut()) -> usize {
    (0..WARM_UP).for_each(|_| round());
    (0..ROUNDS).for_each(|_| collected(&mut round));
    ROUNDS * frames
}

/// A batch of frames is found, and unmasked if a client sent it.
fn parse(role: Role, len: usize) -> usize {
    let frames = frames_in_buffer(len).min(BATCH);
    let mut wire = frames_for(role, len, frames);
    let rules = Rules::default();
    let mut receiver = Receiver::new(role, &rules);
    let mut found = 0;
    let counted = count(frames, || {
        let mut rest = &mut wire[..];
        while let Ok(Some(head)) = receiver.poll(rest, &rules) {
            let (frame, tail) = rest.split_at_mut(head.wire_len());
            black_box(&mut frame[head.header.header_len()..]);
            found += 1;
            rest = tail;
        }
    });
    assert_eq!(found, (WARM_UP + ROUNDS) * frames, "a frame was not found");
    counted
}

/// A batch of frames is queued, and leaves.
fn encode(role: Role, len: usize) -> usize {
    let payload = vec![b'x'; len];
    let mut end = End::new(role);
    count(BATCH, || {
        for _ in 0..BATCH {
            end.send(black_box(&payload));
        }
        end.flush();
    })
}

/// A server without its socket: a batch of frames is sent back.
fn connection(len: usize) -> usize {
    let frames = frames_in_buffer(len).min(BATCH);
    let mut wire = frames_for(Role::Server, len, frames);
    let mut end = End::new(Role::Server);
    count(frames, || end.echo(&mut wire))
}

/// A server on its loop: `frames` arrive at once, are delivered to a listener in one turn, and are sent back.
fn event_loop(len: usize, frames: usize) -> usize {
    let mut server = LoopServer::new();
    let wire = frames_for(Role::Server, len, frames);
    let mut answer = vec![0; frames_for(Role::Client, len, frames).len()];
    for _ in 0..WARM_UP {
        server.exchange(&wire, frames, &mut answer, |turn| turn());
    }
    for _ in 0..ROUNDS {
        server.exchange(&wire, frames, &mut answer, |turn| collected(turn));
    }
    assert!(answer.ends_with(&vec![b'x'; len]), "another answer than was sent");
    ROUNDS * frames
}

/// A request of the usual headers is read and checked, and the response written.
fn handshake() -> usize {
    const REQUEST: &[u8] = b"GET /feed HTTP/1.1\r\nHost: stream.example.com\r\nConnection: Upgrade\r\n\
        User-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nUpgrade: websocket\r\nOrigin: https://www.example.com\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let mut out = Vec::with_capacity(512);
    count(1, || {
        out.clear();
        let mut handshake = ServerHandshake::new(HandshakeLimits::default());
        let progress = handshake.receive(black_box(REQUEST));
        let ServerProgress::Request { request, .. } = progress else { panic!("{progress:?}") };
        encode_default_switching(&request, &mut out).expect("an upgrade");
        black_box(&out);
    })
}

/// A server on its event loop, and a client that is nothing but a socket.
struct LoopServer {
    event_loop: WSLoop,
    client: TcpStream,
    /// Frames delivered so far.
    delivered: Rc<Cell<usize>>,
}

struct Echo(Rc<Cell<usize>>);

impl WSListener for Echo {
    fn on_ws_frame(&mut self, transport: &WSTransport, frame: &mut WSFrame<'_>) -> WSResult {
        transport.send_frame(frame.msg_type(), frame.payload(), frame.send_options());
        self.0.set(self.0.get() + 1);
        Ok(())
    }
}

impl LoopServer {
    fn new() -> Self {
        let mut event_loop = WSLoop::new(WSLoopConfig::default()).expect("a loop");
        let delivered = Rc::new(Cell::new(0));
        let counter = Rc::clone(&delivered);
        let server = ws_create_server(
            &event_loop.handle(),
            move |_: &WSUpgradeRequest| Echo(Rc::clone(&counter)),
            "127.0.0.1:0",
            WSServerConfig::default(),
        )
        .expect("a server");
        let mut client = TcpStream::connect(server.local_addr()).expect("the server listens");
        client.set_nodelay(true).expect("TCP");
        client.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        client
            .write_all(
                b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            )
            .expect("a request");
        while server.connections() == 0 {
            event_loop.run_once(Some(PATIENCE)).expect("a turn");
        }
        let mut response = Vec::new();
        while !response.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            client.read_exact(&mut byte).expect("a response");
            response.extend(byte);
        }
        Self { event_loop, client, delivered }
    }

    /// Sends `wire`, turns the loop through `run` until the listener has seen all `frames`, and takes the answer.
    fn exchange(&mut self, wire: &[u8], frames: usize, answer: &mut [u8], run: impl Fn(&mut dyn FnMut())) {
        self.client.write_all(wire).expect("room in the socket");
        let all = self.delivered.get() + frames;
        while self.delivered.get() < all {
            run(&mut || self.event_loop.run_once(Some(PATIENCE)).expect("a turn"));
        }
        self.client.read_exact(answer).expect("the answer");
    }
}
