//! Messages that tasks take straight from a read, against what a listener on messages does with the
//! same bytes.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use femtows::message::*;
use femtows::testkit::{Peer, PeerFrame, Random, TestKit};
use femtows::{
    SendOptions, WSFrame, WSListener, WSLoopHandle, WSMessage, WSMessageAdapter, WSMessageListener,
    WSMsgType, WSResult, WSServerConfig, WSTask, WSTransport, WSTuning, WSUpgradeRequest,
};

use crate::ends::*;
use crate::polls::{Dropped, step_back, until};

const SCHEDULES: u64 = 600;
const QUEUES: [usize; 3] = [0, 1, 32];

/// Sends every message back, and notes it.
struct Echo(Log<Message>);

impl WSMessageListener for Echo {
    fn on_ws_message(&mut self, transport: &WSTransport, message: WSMessage<'_>) -> WSResult {
        transport.send(message.msg_type(), message);
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
    /// Frames follow behind the end, which a peer must not send.
    overruns: bool,
    /// No message is longer than a few hundred bytes: they may go through slow links.
    is_short: bool,
}

impl Script {
    fn new(random: &mut Random, peer: &Peer) -> Self {
        let is_short = random.chance(30);
        let mut wire = Vec::new();
        for number in 0..random.below(if is_short { 500 } else { 200 }) {
            push_frames(&mut wire, random, peer, number, is_short);
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
        let overruns = end != End::Fin && random.chance(50);
        if overruns {
            push_frames(&mut wire, random, peer, 1000, is_short);
        }
        Self { pieces: split(&wire, random), end, overruns, is_short }
    }

    /// Writes all pieces. Stops if the other end does not read any more.
    fn write(&self, kit: &mut TestKit, peer: &mut Peer) {
        'pieces: for piece in &self.pieces {
            let (mut rest, mut idle) = (&piece[..], 0);
            while !rest.is_empty() {
                let written = peer.write(rest);
                rest = &rest[written..];
                kit.run_until_idle();
                idle = if written == 0 { idle + 1 } else { 0 };
                if idle == 100 {
                    break 'pieces;
                }
            }
        }
        if self.end == End::Fin {
            peer.shutdown_write();
        }
        kit.run_until_idle();
    }
}

/// A message in one frame or several, with PINGs in between.
fn push_frames(wire: &mut Vec<u8>, random: &mut Random, peer: &Peer, number: usize, is_short: bool) {
    let msg_type = random.pick(&[WSMsgType::Text, WSMsgType::Binary]);
    // Around the longest length in seven bits, and around that from which on frames are long.
    let lens = [0, 5, 20, 20, 20, 125, 126, 130, 208, 4095, 4096, 4097, 4100, 70_000];
    let len: usize = lens[random.below(if is_short { 9 } else { lens.len() })];
    let mut text = format!("{number}:");
    text.extend(std::iter::repeat_n('x', len.saturating_sub(text.len())));
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

/// What the tasks of a connection share.
struct World {
    random: RefCell<Random>,
    handle: WSLoopHandle,
    received: Log<Message>,
    /// Answers that were sent.
    answered: Log<String>,
}

impl World {
    fn below(&self, n: usize) -> usize {
        self.random.borrow_mut().below(n)
    }
}

/// Receives until the connection is closed, answers some messages, gives up, and disturbs the
/// connection after one message of `disturb`.
async fn receive(ws: WebSocket, world: Rc<World>, disturb: usize) -> u16 {
    loop {
        let fate = match world.below(6) {
            0 => Dropped::After(world.below(3)),
            1 => Dropped::WokenAfter(world.below(3)),
            _ => Dropped::After(usize::MAX),
        };
        match until(fate, ws.get_message()).await {
            None => continue,
            Some(Ok(message)) => {
                world.received.add(message.clone());
                let number = message.into_text().split(':').next().unwrap_or_default().to_owned();
                if world.below(3) == 0 && ws.send_text(&number).await.is_ok() {
                    world.answered.add(number);
                }
            }
            Some(Err(WebSocketError::Closed(closed))) => return closed.reason.code.0,
            Some(Err(error)) => panic!("{error}"),
        }
        if world.below(disturb) == 0 {
            disturb_once(&ws, &world).await;
        }
    }
}

async fn disturb_once(ws: &WebSocket, world: &World) {
    let transport = ws.transport().expect("open").clone();
    match world.below(6) {
        0 => {
            transport.pause_reading();
            let delay = Duration::from_millis(world.below(3) as u64);
            world.handle.call_later(delay, move || transport.resume_reading()).detach();
        }
        1 => {
            transport.pause_reading();
            if world.below(2) == 0 {
                step_back().await;
            }
            transport.resume_reading();
        }
        2 => transport.flush(),
        3 => world.handle.sleep(Duration::from_millis(world.below(3) as u64)).await,
        4 => step_back().await,
        _ => {
            // The connection may be closing.
            let _ = transport.send_ping("x");
        }
    }
}

/// A configuration that receiving has to heed.
fn disturbed_config(random: &mut Random) -> WebSocketConfig {
    let mut server = WSServerConfig::default();
    if random.chance(33) {
        server = server.idle_timeout(Some(Duration::from_secs(1000)));
    }
    if random.chance(33) {
        let tuning = WSTuning::default().write_watermarks(10, 60);
        server = server.tuning(tuning).pause_reading_on_backlog(true);
    }
    WebSocketConfig::default().server(server).message_queue_size(random.pick(&[0, 1, 2, 16, 32]))
}

/// Links that read and write little at a time.
fn narrow(peer: &Peer, random: &mut Random, script: &Script) {
    if script.is_short {
        peer.link().to_server().max_read(random.pick(&[1, 7, 100, 5000]));
    }
    if random.chance(50) {
        peer.link().to_client().capacity(random.pick(&[20, 100]));
    }
}

/// One schedule: tasks receive, answer, give up and disturb, and every message arrives once.
fn run(seed: u64) {
    let (messages, _) = reference(seed);
    let accepted = Slot::new();
    let mut random = Random::new(!seed);
    let config = disturbed_config(&mut random);
    let (mut kit, mut peer, script) = scripted(seed, give_away(&accepted), config);
    narrow(&peer, &mut random, &script);
    kit.spurious_events(random.pick(&[0, 20]));
    let ws: WebSocket = accepted.take();
    let (count, disturb) = (1 + seed as usize % 3, 1 + random.below(20));
    let world = Rc::new(World {
        random: RefCell::new(random),
        handle: kit.handle(),
        received: Log::new(),
        answered: Log::new(),
    });
    let tasks: Vec<_> =
        (0..count).map(|_| kit.handle().spawn(receive(ws.clone(), Rc::clone(&world), disturb))).collect();
    let answers = RefCell::new(Vec::new());
    for piece in &script.pieces {
        if peer.write(piece) < piece.len() {
            // There is room: the connection is gone.
            assert!(!matches!(script.end, End::Open | End::Fin), "seed {seed}");
            break;
        }
        match world.below(3) {
            0 => {
                kit.turn();
            }
            1 => kit.run_until_idle(),
            _ => kit.advance(Duration::from_millis(world.below(3) as u64)),
        }
        answers.borrow_mut().extend(peer.frames());
    }
    if script.end == End::Fin {
        peer.shutdown_write();
    }
    let mut run_until = |kit: &mut TestKit, is_done: &dyn Fn() -> bool| {
        for _ in 0..200_000 {
            if is_done() {
                break;
            }
            kit.advance(Duration::from_millis(1));
            answers.borrow_mut().extend(peer.frames());
        }
    };
    run_until(&mut kit, &|| world.received.len() == messages.len());
    if script.end == End::Open {
        ws.close(4001, "enough").expect("open");
    }
    run_until(&mut kit, &|| tasks.iter().all(WSTask::is_finished));
    drop(ws);
    // Whatever was sent before it has arrived then.
    run_until(&mut kit, &|| answers.borrow().iter().any(|frame| frame.msg_type == WSMsgType::Close));
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
    // A server that closes TCP with unread bytes resets it, which may overtake its last frames.
    let is_whole = script.end == End::Open || !script.overruns;
    check(seed, count, &world, &messages, &answers.borrow(), is_whole);
}

/// With one task, everything keeps its order; several may overtake each other.
fn check(
    seed: u64,
    tasks: usize,
    world: &World,
    messages: &[Message],
    answers: &[PeerFrame],
    is_whole: bool,
) {
    let parts = |message: Message| (message.is_text(), message.into_bytes());
    let mut received: Vec<_> = world.received.take().into_iter().map(parts).collect();
    let mut sent: Vec<_> = messages.iter().cloned().map(parts).collect();
    let mut answered: Vec<_> = world.answered.take().into_iter().map(String::into_bytes).collect();
    let answers = answers.iter().filter(|frame| frame.msg_type == WSMsgType::Text);
    let mut answers: Vec<_> = answers.map(|frame| frame.payload.clone()).collect();
    if tasks > 1 {
        received.sort_unstable();
        sent.sort_unstable();
        answered.sort_unstable();
        answers.sort_unstable();
    }
    assert!(received == sent, "seed {seed}: {} messages of {}", received.len(), sent.len());
    if !is_whole {
        answered.retain(|answer| answers.contains(answer));
    }
    assert!(answers == answered, "seed {seed}: {} answers of {}", answers.len(), answered.len());
}

#[test]
fn every_message_arrives_once_whatever_tasks_do_meanwhile() {
    let seeds = std::env::var("SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(SCHEDULES);
    (0..seeds).for_each(run);
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
