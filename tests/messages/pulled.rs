//! Tasks that take messages from what has arrived, and disturb that meanwhile.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use femtows::message::*;
use femtows::testkit::{Peer, Random, TestKit};
use femtows::{SendOptions, WSMsgType, WSServerConfig};

use crate::ends::*;
use crate::polls::{Dropped, step_back, until};

/// What the tasks share.
struct World {
    dice: RefCell<Random>,
    received: RefCell<Vec<usize>>,
    /// Answers that were sent, in order.
    sent: RefCell<Vec<usize>>,
    handle: femtows::WSLoopHandle,
    ended: Cell<usize>,
}

impl World {
    fn below(&self, n: usize) -> usize {
        self.dice.borrow_mut().below(n)
    }
}

async fn read_all(ws: WebSocket, world: Rc<World>, disturb: usize) {
    loop {
        let fate = match world.below(6) {
            0 => Dropped::After(world.below(3)),
            1 => Dropped::WokenAfter(world.below(3)),
            _ => Dropped::After(usize::MAX),
        };
        match until(fate, ws.get_message()).await {
            None => continue,
            Some(Err(_)) => break,
            Some(Ok(message)) => {
                let bytes = message.into_bytes();
                let number = usize::from_le_bytes(bytes[..8].try_into().unwrap());
                assert!(bytes[8..].iter().all(|&byte| byte == number as u8), "message {number}");
                world.received.borrow_mut().push(number);
                if world.below(3) == 0 && ws.send_bytes(number.to_le_bytes()).await.is_ok() {
                    world.sent.borrow_mut().push(number);
                }
            }
        }
        if world.below(disturb) == 0 {
            match world.below(6) {
                0 => {
                    let transport = ws.transport().unwrap().clone();
                    transport.pause_reading();
                    let delay = Duration::from_millis(world.below(3) as u64);
                    world.handle.call_later(delay, move || transport.resume_reading()).detach();
                }
                1 => {
                    let transport = ws.transport().unwrap().clone();
                    transport.pause_reading();
                    if world.below(2) == 0 {
                        step_back().await;
                    }
                    transport.resume_reading();
                }
                2 => ws.transport().unwrap().flush(),
                3 => {
                    let delay = Duration::from_millis(world.below(3) as u64);
                    world.handle.sleep(delay).await;
                }
                4 => step_back().await,
                _ => {
                    let _ = ws.transport().unwrap().send_ping("x");
                }
            }
        }
    }
    world.ended.set(world.ended.get() + 1);
}

/// Messages from `number` on, some of them in two frames, and PINGs.
fn burst(world: &World, peer: &Peer, number: &mut usize, longest: usize) -> Vec<u8> {
    let mut wire = Vec::new();
    for _ in 0..world.below(160) {
        let len = [0, 0, 1, 5, 110, 117, 118, 200, 4087, 4088, 4089, 70_000][world.below(longest)];
        let payload: Vec<u8> =
            number.to_le_bytes().into_iter().chain(std::iter::repeat_n(*number as u8, len)).collect();
        *number += 1;
        if world.below(10) == 0 {
            let (front, back) = payload.split_at(world.below(payload.len()));
            let first = SendOptions { fin: false, ..SendOptions::default() };
            wire.extend(peer.encode_frame(WSMsgType::Binary, front, first));
            if world.below(2) == 0 {
                wire.extend(peer.encode_frame(WSMsgType::Ping, b"", SendOptions::default()));
            }
            wire.extend(peer.encode_frame(WSMsgType::Continuation, back, SendOptions::default()));
        } else {
            wire.extend(peer.encode_frame(WSMsgType::Binary, &payload, SendOptions::default()));
        }
        if world.below(20) == 0 {
            wire.extend(peer.encode_frame(WSMsgType::Ping, b"", SendOptions::default()));
        }
    }
    wire
}

fn run(seed: u64) {
    let mut kit = TestKit::new(seed);
    let world = Rc::new(World {
        dice: RefCell::new(Random::new(seed)),
        received: RefCell::default(),
        sent: RefCell::default(),
        handle: kit.handle(),
        ended: Cell::new(0),
    });
    kit.spurious_events([0, 20][world.below(2)]);
    let queue = [0, 1, 2, 16][world.below(4)];
    let mut server = WSServerConfig::default();
    if world.below(3) == 0 {
        server = server.idle_timeout(Some(Duration::from_secs(1000)));
    }
    if world.below(3) == 0 {
        let tuning = femtows::WSTuning::default().write_watermarks(10, 60);
        server = server.tuning(tuning).pause_reading_on_backlog(true);
    }
    let config = WebSocketConfig::default().server(server).message_queue_size(queue);
    let (ws, mut peer) = raw_pair(&mut kit, config);
    peer.link().to_server().capacity(1 << 22);
    // Few bytes at a time, or long messages.
    let longest = if world.below(2) == 0 {
        peer.link().to_server().max_read([1, 7, 100, 5000][world.below(4)]);
        8
    } else {
        12
    };
    if world.below(2) == 0 {
        peer.link().to_client().capacity([20, 100][world.below(2)]);
    }
    let readers = 1 + world.below(3);
    let disturb = 1 + world.below(20);
    for _ in 0..readers {
        kit.handle().spawn(read_all(ws.clone(), Rc::clone(&world), disturb)).detach();
    }
    let mut answers = Vec::new();
    let mut number = 0usize;
    for _ in 0..6 {
        let wire = burst(&world, &peer, &mut number, longest);
        let mut rest = &wire[..];
        while !rest.is_empty() {
            let piece = 1 + world.below(rest.len());
            let written = peer.write(&rest[..piece]);
            rest = &rest[written..];
            if written == 0 {
                kit.advance(Duration::from_millis(1));
            }
            if world.below(2) == 0 {
                kit.run_until_idle();
            } else {
                kit.turn();
            }
            answers.extend(peer.frames());
        }
    }
    for _ in 0..200_000 {
        if world.received.borrow().len() == number {
            break;
        }
        kit.advance(Duration::from_millis(1));
        answers.extend(peer.frames());
    }
    let mut received = world.received.borrow().clone();
    assert_eq!(received.len(), number, "seed {seed}");
    if readers > 1 {
        received.sort_unstable();
    }
    assert!(received.iter().copied().eq(0..number), "seed {seed}");
    peer.send_frame(WSMsgType::Close, &close_payload(4000, ""));
    for _ in 0..100_000 {
        if world.ended.get() == readers && answers.iter().any(|frame| frame.msg_type == WSMsgType::Close) {
            break;
        }
        kit.advance(Duration::from_millis(1));
        answers.extend(peer.frames());
    }
    assert_eq!(world.ended.get(), readers, "seed {seed}");
    let answers: Vec<usize> = answers
        .iter()
        .filter(|frame| frame.msg_type == WSMsgType::Binary)
        .map(|frame| usize::from_le_bytes(frame.payload[..].try_into().unwrap()))
        .collect();
    if readers == 1 {
        assert_eq!(answers, *world.sent.borrow(), "seed {seed}");
    }
    assert_eq!(answers.len(), world.sent.borrow().len(), "seed {seed}");
}

#[test]
fn whatever_tasks_do_meanwhile_every_message_arrives_once() {
    let seeds = std::env::var("SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(300);
    (0..seeds).for_each(run);
}
