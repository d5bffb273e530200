//! What may wait on all connections of a loop together.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use femtows::testkit::{Peer, TestKit};
use femtows::*;

use crate::recorder::{Entry, Logs};

const LIMIT: usize = 100_000;

/// Connections whose peers read nothing, and whose kernels hold nothing.
struct Slow {
    kit: TestKit,
    peers: Vec<Peer>,
    logs: Logs,
}

impl Slow {
    fn new(policy: WSBudgetPolicy, count: usize) -> Self {
        let config = WSLoopConfig::default().outbound_budget(LIMIT).budget_policy(policy);
        let mut kit = TestKit::with_config(1, config);
        let logs = Logs::default();
        let server = kit.server(logs.factory(), WSServerConfig::default());
        let connect = |_| {
            let mut peer = kit.connect_to(&server);
            peer.upgrade(&mut kit);
            peer.link().to_client().capacity(1);
            peer.link().to_client().stall();
            peer
        };
        let peers = (0..count).map(connect).collect();
        let slow = Self { kit, peers, logs };
        for nth in 0..count {
            // One byte of it is in the kernel.
            assert_eq!(slow.send(nth, 99), WSSendStatus::Queued);
        }
        assert_eq!(slow.kit.handle().outbound().waiting, 100 * count);
        slow
    }

    fn transport(&self, nth: usize) -> WSTransport {
        self.logs.nth(nth).transport().clone()
    }

    fn send(&self, nth: usize, len: usize) -> WSSendStatus {
        self.transport(nth).send(WSMsgType::Binary, vec![0; len])
    }

    fn is_open(&self, nth: usize) -> bool {
        !self.transport(nth).is_disconnected()
    }

    /// Waiting, aborted, dropped.
    fn counters(&self) -> (usize, u64, u64) {
        let outbound = self.kit.handle().outbound();
        (outbound.waiting, outbound.aborted, outbound.dropped)
    }

    /// Lets a peer receive all of it.
    fn drain(&mut self, nth: usize) {
        self.peers[nth].link().to_client().capacity(1 << 20);
        self.peers[nth].link().to_client().unstall();
        self.kit.run_until_idle();
    }
}

#[test]
fn the_slowest_pays_whoever_is_sent_to() {
    let mut slow = Slow::new(WSBudgetPolicy::CloseSlowest, 3);
    slow.send(0, 59_996);
    slow.send(1, 29_996);
    assert_eq!(slow.counters(), (90_300, 0, 0));
    slow.send(2, 9_696);
    assert_eq!(slow.counters(), (LIMIT, 0, 0), "up to the limit");
    slow.send(2, 1);
    assert_eq!(slow.counters(), (LIMIT + 3 - 60_100, 1, 0));
    assert!(!slow.is_open(0) && slow.is_open(1) && slow.is_open(2));
    slow.kit.run_until_idle();
    let end = slow.logs.nth(0).last();
    assert_eq!(end, Some(Entry::Disconnected(WSDisconnectCause::Overflow)));
    // Of several as many as it takes.
    slow.send(2, 1 << 20);
    assert_eq!(slow.counters().1, 2);
    assert!(slow.is_open(1) && !slow.is_open(2));
}

#[test]
fn who_is_sent_to_pays() {
    let mut slow = Slow::new(WSBudgetPolicy::Close, 2);
    slow.send(0, 90_000);
    let status = slow.send(1, 20_000);
    assert!(!status.is_accepted(), "{status:?}");
    assert!(slow.is_open(0) && !slow.is_open(1));
    assert_eq!(slow.counters(), (90_110, 1, 0));
    slow.kit.run_until_idle();
    let end = slow.logs.nth(1).last();
    assert_eq!(end, Some(Entry::Disconnected(WSDisconnectCause::Overflow)));
}

#[test]
fn what_is_new_is_dropped_and_counted() {
    let mut slow = Slow::new(WSBudgetPolicy::DropNew, 2);
    slow.send(0, 90_000);
    let full = WSSendStatus::Dropped(WSDropReason::Overflow);
    let transport = slow.transport(1);
    let prepared = WSPreparedFrame::new(WSMsgType::Text, vec![0; 20_000]);
    let mut external = vec![0; 20_014];
    assert_eq!(slow.send(1, 20_000), full);
    assert_eq!(transport.send_prepared_frame(&prepared), full);
    assert_eq!(transport.send_buffer(WSMsgType::Text, WSBuffer::from(&vec![0; 20_000][..])), full);
    let reused =
        transport.send_reuse_external_buffer(WSMsgType::Text, &mut external, 14, SendOptions::default());
    assert_eq!(reused.unwrap(), full);
    assert_eq!((transport.dropped().frames, transport.dropped().bytes), (4, 80_000));
    assert_eq!(slow.counters(), (90_210, 0, 4));
    assert_eq!(slow.send(1, 9_780), WSSendStatus::Queued, "what fits passes");
    assert_eq!(transport.send_ping("still there?").unwrap(), WSSendStatus::Queued, "control frames pass");
    // A dropped fragment tears its message.
    let fragment = SendOptions { fin: false, ..SendOptions::default() };
    assert_eq!(transport.send_frame(WSMsgType::Text, vec![0; 20_000], fragment), full);
    assert!(!slow.is_open(1));

    slow.drain(0);
    assert_eq!(slow.counters().0, 0);
    assert_eq!(slow.send(0, LIMIT), WSSendStatus::Sent);
    slow.kit.run_until_idle();
    assert_eq!(slow.peers[0].frames().len(), 3);
}

#[test]
fn the_count_returns_to_zero_however_connections_end() {
    let mut slow = Slow::new(WSBudgetPolicy::CloseSlowest, 5);
    for nth in 0..5 {
        slow.send(nth, 996 * (nth + 1));
    }
    assert_eq!(slow.counters(), (5 * 104 + 996 * 15, 0, 0));
    slow.drain(0);
    slow.transport(1).abort();
    slow.peers[2].close();
    slow.peers[3].link().reset();
    // The one whose peer ended its half may still be sent to, until the close deadline.
    slow.kit.advance(Duration::from_secs(20));
    assert_eq!(slow.counters(), (104 + 996 * 5, 0, 0));
    slow.transport(4).disconnect();
    slow.drain(4);
    assert_eq!(slow.counters(), (0, 0, 0));
}

#[test]
fn what_is_gathered_counts_when_the_kernel_refuses_it() {
    let mut slow = Slow::new(WSBudgetPolicy::CloseSlowest, 1);
    slow.drain(0);
    let transport = slow.transport(0);
    let seen = Rc::new(RefCell::new(Vec::new()));
    let (tell, handle) = (Rc::clone(&seen), slow.kit.handle());
    slow.kit.handle().call_soon(move || {
        for _ in 0..40 {
            transport.send(WSMsgType::Binary, [0; 5_000]);
        }
        tell.borrow_mut().push((handle.outbound().waiting, transport.buffered_amount()));
    });
    slow.kit.run_until_idle();
    assert_eq!(*seen.borrow(), [(0, 40 * 5_004)], "twice the budget, and nothing refused");
    assert!(slow.is_open(0));
    assert_eq!(slow.counters(), (0, 0, 0));
}
