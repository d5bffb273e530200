//! Sends from everywhere, in any order, to several connections: everything accepted leaves, in order.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use femtows::testkit::{Peer, Random, TestKit};
use femtows::*;

/// Lengths around which the ways of sending part.
const LENGTHS: [usize; 14] = [0, 1, 2, 17, 124, 125, 126, 127, 1000, 1010, 3000, 65_535, 65_536, 70_000];

#[derive(Default)]
struct End {
    transport: Option<WSTransport>,
    accepted: Vec<(WSMsgType, Vec<u8>)>,
    sent: usize,
}

struct World {
    random: RefCell<Random>,
    ends: Vec<RefCell<End>>,
    handle: WSLoopHandle,
    left: RefCell<usize>,
}

impl World {
    fn below(&self, n: usize) -> usize {
        self.random.borrow_mut().below(n)
    }

    /// A few sends to any connections, from here or from what runs later.
    fn act(self: &Rc<Self>) {
        for _ in 0..self.below(6) {
            if *self.left.borrow() == 0 {
                return;
            }
            *self.left.borrow_mut() -= 1;
            let world = Rc::clone(self);
            match self.below(12) {
                0 => self.handle.call_soon(move || world.act()),
                1 => self.handle.spawn(async move { world.act() }).detach(),
                2 => self.handle.call_later(Duration::from_millis(1), move || world.act()).detach(),
                _ => self.send(self.below(self.ends.len())),
            }
        }
    }

    fn send(&self, to: usize) {
        let Some(transport) = self.ends[to].borrow().transport.clone() else { return };
        let len = LENGTHS[self.below(LENGTHS.len())];
        let number = self.ends[to].borrow().sent;
        self.ends[to].borrow_mut().sent += 1;
        let payload: Vec<u8> = number.to_le_bytes().into_iter().cycle().take(len).collect();
        let (msg_type, status) = match self.below(12) {
            0 if len <= 125 => (WSMsgType::Ping, transport.send_ping(&payload).unwrap()),
            1 => {
                let frame = WSPreparedFrame::new(WSMsgType::Binary, &payload);
                (WSMsgType::Binary, transport.send_prepared_frame(&frame))
            }
            2 => {
                let mut buffer = WSBuffer::with_capacity(len);
                buffer.extend_from_slice(&payload);
                (WSMsgType::Binary, transport.send_buffer(WSMsgType::Binary, buffer))
            }
            3 => {
                let mut memory = [&[0; WS_HEADROOM][..], &payload].concat();
                let status = transport.send_reuse_external_buffer(
                    WSMsgType::Binary,
                    &mut memory,
                    WS_HEADROOM,
                    SendOptions::default(),
                );
                (WSMsgType::Binary, status.unwrap())
            }
            4 => return transport.flush(),
            5 => {
                (WSMsgType::Binary, transport.send_frame(WSMsgType::Binary, &payload, SendOptions::default()))
            }
            _ => (WSMsgType::Binary, transport.send(WSMsgType::Binary, &payload)),
        };
        if status.is_accepted() {
            self.ends[to].borrow_mut().accepted.push((msg_type, payload));
        }
    }
}

struct Sender(Rc<World>, usize);

impl WSListener for Sender {
    fn on_ws_connected(&mut self, transport: &WSTransport) -> WSResult {
        self.0.ends[self.1].borrow_mut().transport = Some(transport.clone());
        Ok(())
    }

    fn on_ws_frame(&mut self, _: &WSTransport, _: &mut WSFrame<'_>) -> WSResult {
        self.0.act();
        Ok(())
    }

    fn pause_writing(&mut self, _: &WSTransport) {
        self.0.act();
    }

    fn resume_writing(&mut self, _: &WSTransport) {
        self.0.act();
    }
}

fn run(seed: u64) {
    let mut kit = TestKit::new(seed);
    let mut random = Random::new(seed);
    let strategy =
        [WSWriteStrategy::Cork, WSWriteStrategy::Cork, WSWriteStrategy::Immediate][random.below(3)];
    let max_outbound = [800, 1024, 2000, 70_100, 1 << 20, 16 << 20][random.below(6)];
    let threshold = [100, 126, 1000, 65_536][random.below(4)];
    let world = Rc::new(World {
        random: RefCell::new(Random::new(seed + 1)),
        ends: (0..3).map(|_| RefCell::default()).collect(),
        handle: kit.handle(),
        left: RefCell::new(0),
    });
    let tuning = WSTuning::default()
        .write_strategy(strategy)
        .no_copy_threshold(threshold)
        .write_watermarks(max_outbound / 4, max_outbound / 2);
    let limits = WSLimits::default().max_outbound(max_outbound).overflow_policy(WSOverflowPolicy::DropNew);
    let config = WSServerConfig::default().tuning(tuning).limits(limits).write_timeout(None);
    let mut peers: Vec<Peer> = (0..3)
        .map(|nth| {
            let world = Rc::clone(&world);
            let mut peer =
                kit.raw_server(move |_: &WSUpgradeRequest| Sender(Rc::clone(&world), nth), config.clone());
            peer.upgrade(&mut kit);
            peer
        })
        .collect();
    for peer in &peers {
        if random.chance(50) {
            peer.link().to_client().capacity([300, 5000, 200_000][random.below(3)]);
        }
        if random.chance(30) {
            peer.link().to_client().max_write([1, 100, 4000][random.below(3)]);
        }
    }
    let mut received = vec![Vec::new(); 3];
    for round in 0..60 {
        *world.left.borrow_mut() = 60;
        let nth = random.below(3);
        match random.below(4) {
            0 => world.act(),
            1 => {
                let world = Rc::clone(&world);
                kit.block_on(async move { world.act() });
            }
            _ => {
                for _ in 0..random.below(5) {
                    peers[nth].send_frame(WSMsgType::Binary, b"go");
                }
            }
        }
        if random.chance(70) || round == 59 {
            kit.run_until_idle();
        } else {
            kit.turn();
        }
        for (peer, received) in peers.iter_mut().zip(&mut received) {
            received.extend(peer.frames().into_iter().map(|frame| (frame.msg_type, frame.payload)));
        }
    }
    *world.left.borrow_mut() = 0;
    for _ in 0..20_000 {
        kit.advance(Duration::from_millis(1));
        let mut all = true;
        for (nth, peer) in peers.iter_mut().enumerate() {
            received[nth].extend(peer.frames().into_iter().map(|frame| (frame.msg_type, frame.payload)));
            all &= received[nth].len() == world.ends[nth].borrow().accepted.len();
        }
        if all {
            break;
        }
    }
    for (nth, received) in received.iter().enumerate() {
        let end = world.ends[nth].borrow();
        assert!(
            *received == end.accepted,
            "seed {seed}, {nth}: {} of {}",
            received.len(),
            end.accepted.len()
        );
        assert_eq!(end.transport.as_ref().unwrap().buffered_amount(), 0);
    }
    for end in &world.ends {
        end.borrow_mut().transport = None;
    }
}

#[test]
fn what_is_sent_from_anywhere_leaves_in_order() {
    let seeds = std::env::var("SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(15);
    (0..seeds).for_each(run);
}
