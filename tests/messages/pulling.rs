//! Messages that tasks take straight from a read, against what a listener on messages does with the
//! same bytes.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use femtows::message::*;
use femtows::testkit::{Peer, PeerFrame, Random, TestKit};
use femtows::{
    SendOptions, WSFrame, WSListener, WSMessage, WSMessageAdapter, WSMessageListener, WSMsgType, WSResult,
    WSTransport, WSUpgradeRequest,
};

use crate::ends::*;
use crate::polls::{Dropped, step_back, until};

const SCHEDULES: u64 = 600;
const QUEUES: [usize; 3] = [0, 1, 32];

/// Sends every message back, and notes it.
struct Echo(Log<Message>);

impl WSMessageListener for Echo {
    fn on_ws_message(&mut self, transport: &WSTransport, message: WSMessage<'_>) -> WSResult {
        transport.send_message(message.msg_type(), message);
        self.0.add(message.into());
        Ok(())
    }
}

/// How the bytes of a schedule end.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Open,
    Close,
    BadText,
    BadHeader,
    Fin,
}

/// What a peer sends, in pieces.
struct Script {
    pieces: Vec<Vec<u8>>,
    end: End,
}

impl Script {
    fn new(random: &mut Random, peer: &Peer) -> Self {
        let mut wire = Vec::new();
        for number in 0..random.below(200) {
            push_frames(&mut wire, random, peer, number);
        }
        let end = random.pick(&[End::Open, End::Close, End::BadText, End::BadHeader, End::Fin]);
        let mut whole = |msg_type, payload: &[u8]| {
            wire.extend(peer.encode_frame(msg_type, payload, SendOptions::default()));
        };
        match end {
            End::Open | End::Fin => {}
            End::Close => whole(WSMsgType::Close, &close_payload(4000, "script")),
            End::BadText => whole(WSMsgType::Text, b"bad \xff text"),
            End::BadHeader => wire.extend([0xf1, 0x80, 0, 0, 0, 0]),
        }
        // What is behind an end has no effect, but for an open one.
        if end != End::Fin && random.chance(50) {
            push_frames(&mut wire, random, peer, 1000);
        }
        Self { pieces: split(&wire, random), end }
    }

    /// Writes all pieces; `run` lets the other end read. Stops if it does not read any more.
    fn write_with(&self, peer: &mut Peer, mut run: impl FnMut()) {
        for piece in &self.pieces {
            let (mut rest, mut idle) = (&piece[..], 0);
            while !rest.is_empty() {
                let written = peer.write(rest);
                rest = &rest[written..];
                run();
                idle = if written == 0 { idle + 1 } else { 0 };
                if idle == 100 {
                    return;
                }
            }
        }
    }

    fn write(&self, kit: &mut TestKit, peer: &mut Peer) {
        self.write_with(peer, || kit.run_until_idle());
        if self.end == End::Fin {
            peer.shutdown_write();
        }
        kit.run_until_idle();
    }
}

/// A message in one frame or several, with PINGs in between.
fn push_frames(wire: &mut Vec<u8>, random: &mut Random, peer: &Peer, number: usize) {
    let msg_type = random.pick(&[WSMsgType::Text, WSMsgType::Binary]);
    let len = random.pick(&[0, 1, 20, 20, 20, 130, 4100, 70_000]);
    let text = format!("{number}:{}", "x".repeat(len));
    let pieces = if random.chance(20) { 1 + random.below(3) } else { 1 };
    let step = text.len().div_ceil(pieces);
    for (nth, piece) in text.as_bytes().chunks(step).enumerate() {
        let options = SendOptions { fin: (nth + 1) * step >= text.len(), ..SendOptions::default() };
        let msg_type = if nth == 0 { msg_type } else { WSMsgType::Continuation };
        wire.extend(peer.encode_frame(msg_type, piece, options));
        if random.chance(10) {
            let ping = format!("ping {number}");
            wire.extend(peer.encode_frame(WSMsgType::Ping, ping.as_bytes(), SendOptions::default()));
        }
    }
}

/// All at once, in large pieces, or in small ones.
fn split(wire: &[u8], random: &mut Random) -> Vec<Vec<u8>> {
    let most = random.pick(&[wire.len().max(1), 5000, 40]);
    let mut rest = wire;
    let mut pieces = Vec::new();
    while !rest.is_empty() && pieces.len() < 500 {
        let (piece, behind) = rest.split_at((1 + random.below(most)).min(rest.len()));
        pieces.push(piece.to_vec());
        rest = behind;
    }
    pieces.push(rest.to_vec());
    pieces
}

/// Makes room for all that is written and answered.
fn widen(peer: &Peer) {
    peer.link().to_server().capacity(1 << 26);
    peer.link().to_client().capacity(1 << 26);
}

/// What the listener received, and what the peer did.
fn reference(seed: u64) -> (Vec<Message>, Vec<PeerFrame>) {
    let mut kit = TestKit::new(seed);
    let log = Log::new();
    let noted = log.clone();
    let factory = move |_: &WSUpgradeRequest| WSMessageAdapter::new(Echo(noted.clone()));
    let mut peer = kit.raw_server(factory, WebSocketConfig::default().server_config());
    peer.upgrade(&mut kit);
    widen(&peer);
    Script::new(&mut Random::new(seed), &peer).write(&mut kit, &mut peer);
    (log.take(), peer.frames())
}

/// A connection whose server runs `handler`, and the bytes for it.
fn scripted<A>(seed: u64, handler: impl IntoRoutes<A>, config: WebSocketConfig) -> (TestKit, Peer, Script) {
    let mut kit = TestKit::new(seed);
    let mut peer = raw(&mut kit, handler, config);
    peer.upgrade(&mut kit);
    widen(&peer);
    let script = Script::new(&mut Random::new(seed), &peer);
    (kit, peer, script)
}

#[test]
fn an_echo_task_answers_byte_for_byte_as_a_listener_does() {
    for seed in 0..SCHEDULES {
        let (messages, mut frames) = reference(seed);
        let log = Log::new();
        let noted = log.clone();
        let handler = move |ws: WebSocket| {
            let noted = noted.clone();
            async move {
                ws.accept().await?;
                loop {
                    let message = ws.get_message().await?;
                    noted.add(message.clone());
                    ws.send_message(message).await?;
                }
                #[allow(unreachable_code, reason = "names the type of the error")]
                Ok::<(), WebSocketError>(())
            }
        };
        let queue = QUEUES[seed as usize % QUEUES.len()];
        let config = WebSocketConfig::default().message_queue_size(queue);
        let (mut kit, mut peer, script) = scripted(seed, handler, config);
        script.write(&mut kit, &mut peer);
        assert!(log.take() == messages, "seed {seed}, queue {queue}: other messages");
        let mut answered = peer.frames();
        if script.end == End::Fin {
            // The handler's end closes; a listener's connection just ends.
            answered.retain(|frame| frame.msg_type != WSMsgType::Close);
            frames.retain(|frame| frame.msg_type != WSMsgType::Close);
        }
        assert!(answered == frames, "seed {seed}, queue {queue}: other answers");
    }
}

/// Receives until the connection is closed, and gives up, sleeps or steps back now and then.
async fn receive(
    ws: WebSocket,
    random: Rc<RefCell<Random>>,
    log: Log<Message>,
    handle: femtows::WSLoopHandle,
) -> u16 {
    loop {
        let (fate, pause) = {
            let mut random = random.borrow_mut();
            let fate = random.pick(&[
                Dropped::After(usize::MAX),
                Dropped::After(usize::MAX),
                Dropped::After(0),
                Dropped::After(1),
                Dropped::WokenAfter(1),
            ]);
            (fate, random.below(8))
        };
        match until(fate, ws.get_message()).await {
            Some(Ok(message)) => log.add(message),
            Some(Err(WebSocketError::Closed(closed))) => return closed.reason.code.0,
            Some(Err(error)) => panic!("{error}"),
            None => {}
        }
        match pause {
            0 => handle.sleep(Duration::from_millis(1)).await,
            1 => step_back().await,
            _ => {}
        }
    }
}

#[test]
fn no_message_is_lost_or_torn_however_tasks_receive() {
    for seed in 0..SCHEDULES {
        let (messages, _) = reference(seed);
        let accepted = Slot::new();
        let queue = QUEUES[seed as usize % QUEUES.len()];
        let config = WebSocketConfig::default().message_queue_size(queue);
        let (mut kit, mut peer, script) = scripted(seed, give_away(&accepted), config);
        let ws: WebSocket = accepted.take();
        let random = Rc::new(RefCell::new(Random::new(!seed)));
        let log = Log::new();
        let count = 1 + seed as usize % 3;
        let tasks: Vec<_> = (0..count)
            .map(|_| receive(ws.clone(), Rc::clone(&random), log.clone(), kit.handle()))
            .map(|task| kit.handle().spawn(task))
            .collect();
        script.write_with(&mut peer, || {
            let pause = random.borrow_mut().below(3) as u64;
            kit.advance(Duration::from_millis(pause));
        });
        if script.end == End::Fin {
            peer.shutdown_write();
        }
        kit.advance(5 * SECOND);
        if script.end == End::Open {
            ws.close(4001, "enough").expect("open");
        }
        kit.advance(SECOND);
        let code = match script.end {
            End::Open => 4001,
            End::Close => 4000,
            End::BadText => 1007,
            End::BadHeader => 1002,
            End::Fin => 1006,
        };
        for task in tasks {
            assert_eq!(kit.block_on(task), code, "seed {seed}");
        }
        let received = log.take();
        if count == 1 {
            assert!(received == messages, "seed {seed}, queue {queue}: {} messages", received.len());
        } else {
            let sorted = |messages: &[Message]| {
                let mut bytes: Vec<_> = messages.iter().map(|message| message.as_bytes().to_vec()).collect();
                bytes.sort_unstable();
                bytes
            };
            assert!(sorted(&received) == sorted(&messages), "seed {seed}, queue {queue}");
        }
    }
}

#[test]
fn several_receivers_of_a_burst_are_served_in_turn() {
    let mut kit = TestKit::new(1);
    let (ws, mut peer) = raw_pair(&mut kit, WebSocketConfig::default());
    let log = Log::new();
    for name in 0..3 {
        let (ws, log) = (ws.clone(), log.clone());
        let receive = async move {
            while let Ok(text) = ws.receive_text().await {
                log.add(format!("{name}:{text}"));
            }
        };
        kit.handle().spawn(receive).detach();
    }
    kit.run_until_idle();
    let bytes: Vec<_> = (0..6)
        .flat_map(|n: u32| {
            peer.encode_frame(WSMsgType::Text, n.to_string().as_bytes(), SendOptions::default())
        })
        .collect();
    peer.write(&bytes);
    kit.run_until_idle();
    assert_eq!(log.take(), ["0:0", "1:1", "2:2", "0:3", "1:4", "2:5"]);
}

#[test]
fn a_handler_that_ends_in_a_burst_closes_behind_its_answers() {
    for (panics, close) in [(false, 1000), (true, 1011)] {
        for count in 0..5 {
            let handler = move |ws: WebSocket| async move {
                ws.accept().await.expect("the client waits");
                for _ in 0..count {
                    ws.send_message(ws.get_message().await.expect("open")).await.expect("open");
                }
                ws.get_message().await.expect("open");
                assert!(!panics, "on purpose");
            };
            let mut kit = TestKit::new(1);
            let mut peer = raw(&mut kit, handler, WebSocketConfig::default());
            peer.upgrade(&mut kit);
            let bytes: Vec<_> = (0..10)
                .flat_map(|n: u8| peer.encode_frame(WSMsgType::Binary, &[n], SendOptions::default()))
                .collect();
            peer.write(&bytes);
            kit.run_until_idle();
            let mut frames = peer.frames().into_iter();
            for n in 0..count {
                assert_eq!(frames.next().expect("an echo").payload, [n]);
            }
            assert_eq!(frames.next().expect("CLOSE").payload, close_payload(close, ""));
            assert_eq!(frames.next(), None);
        }
    }
}

/// A task with much to receive lets others run in between.
#[test]
fn a_long_burst_does_not_keep_other_tasks_waiting() {
    let mut kit = TestKit::new(1);
    let (ws, mut peer) = raw_pair(&mut kit, WebSocketConfig::default());
    let received = Rc::new(Cell::new(0));
    let seen = Log::new();
    let counter = Rc::clone(&received);
    let receive = async move {
        while ws.get_message().await.is_ok() {
            counter.set(counter.get() + 1);
        }
    };
    kit.handle().spawn(receive).detach();
    let (counter, log) = (Rc::clone(&received), seen.clone());
    let look = async move {
        loop {
            log.add(counter.get());
            step_back().await;
            if counter.get() == 1000 {
                break;
            }
        }
    };
    kit.run_until_idle();
    let bytes: Vec<_> = (0..1000)
        .flat_map(|_| peer.encode_frame(WSMsgType::Binary, b"burst", SendOptions::default()))
        .collect();
    peer.write(&bytes);
    kit.handle().spawn(look).detach();
    kit.run_until_idle();
    assert_eq!(received.get(), 1000);
    let seen = seen.take();
    let longest = seen.windows(2).map(|pair| pair[1] - pair[0]).max();
    assert!(longest.is_some_and(|longest| longest <= 256), "{seen:?}");
}

/// Pausing from a task stops the same read.
#[test]
fn a_task_that_pauses_reading_receives_nothing_more() {
    let mut kit = TestKit::new(1);
    let (ws, mut peer) = raw_pair(&mut kit, WebSocketConfig::default());
    let received = Rc::new(Cell::new(0));
    let (counter, other) = (Rc::clone(&received), ws.clone());
    let receive = async move {
        while other.get_message().await.is_ok() {
            counter.set(counter.get() + 1);
            if counter.get() == 3 {
                other.transport().expect("open").pause_reading();
            }
        }
    };
    kit.handle().spawn(receive).detach();
    kit.run_until_idle();
    let bytes: Vec<_> = (0..10)
        .flat_map(|_| peer.encode_frame(WSMsgType::Binary, b"burst", SendOptions::default()))
        .collect();
    peer.write(&bytes);
    kit.run_until_idle();
    assert_eq!(received.get(), 3);
    ws.transport().expect("open").resume_reading();
    kit.run_until_idle();
    assert_eq!(received.get(), 10);
}

/// A listener around that of a task, which counts frames.
struct Counting<L>(L, Rc<Cell<usize>>);

impl<L: WSListener> WSListener for Counting<L> {
    fn on_ws_connected(&mut self, transport: &WSTransport) -> WSResult {
        self.0.on_ws_connected(transport)
    }

    fn on_ws_frame(&mut self, transport: &WSTransport, frame: &mut WSFrame<'_>) -> WSResult {
        self.1.set(self.1.get() + 1);
        self.0.on_ws_frame(transport, frame)
    }

    fn on_ws_disconnected(&mut self, transport: &WSTransport) {
        self.0.on_ws_disconnected(transport);
    }
}

#[test]
fn a_listener_around_that_of_a_task_sees_every_frame() {
    let mut kit = TestKit::new(1);
    let (listener, pending) = websocket_listener(&kit.handle(), WebSocketConfig::default());
    let count = Rc::new(Cell::new(0));
    let listener = Counting(listener, Rc::clone(&count));
    let (mut peer, client) = kit.raw_client(listener, WebSocketConfig::default().connect_config());
    peer.upgrade(&mut kit);
    kit.block_on(client).expect("the peer accepts");
    let ws = pending.opened();
    let receiving = kit.handle().spawn(async move {
        for expected in ["0", "1", "2", "3"] {
            assert_eq!(ws.receive_text().await.expect("open"), expected);
        }
        code(ws.receive_text().await)
    });
    kit.run_until_idle();
    let mut bytes: Vec<_> = (0..4)
        .flat_map(|n: u32| {
            peer.encode_frame(WSMsgType::Text, n.to_string().as_bytes(), SendOptions::default())
        })
        .collect();
    bytes.extend(peer.encode_frame(WSMsgType::Close, &close_payload(4000, ""), SendOptions::default()));
    peer.write(&bytes);
    kit.run_until_idle();
    assert_eq!(kit.block_on(receiving), 4000);
    assert_eq!(count.get(), 5);
}
