//! Many messages at once.

use std::cell::Cell;
use std::rc::Rc;

use femtows::message::*;
use femtows::testkit::{Peer, Random, TestKit};
use femtows::{SendOptions, WSMsgType};

use crate::ends::*;

const QUEUES: [usize; 4] = [0, 1, 2, 16];

/// A hundred messages in one buffer, and what comes behind them.
fn burst(peer: &Peer, tail: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in 0..100 {
        let text = number.to_string();
        bytes.extend(peer.encode_frame(WSMsgType::Text, text.as_bytes(), SendOptions::default()));
    }
    bytes.extend(tail);
    bytes
}

fn hundred() -> Vec<String> {
    (0..100).map(|number| number.to_string()).collect()
}

#[test]
fn a_burst_arrives_in_order_however_slow_the_reader() {
    for queue in QUEUES {
        for pause in [0, 1, 7] {
            let mut kit = TestKit::new(1);
            let (ws, mut peer) = raw_pair(&mut kit, WebSocketConfig::default().message_queue_size(queue));
            let close =
                peer.encode_frame(WSMsgType::Close, &close_payload(1000, "all"), SendOptions::default());
            let bytes = burst(&peer, &close);
            assert_eq!(peer.write(&bytes), bytes.len());
            let (handle, log) = (kit.handle(), Log::new());
            let got = log.clone();
            let reader = kit.handle().spawn(async move {
                loop {
                    if pause > 0 && got.len() % pause == 0 {
                        handle.sleep(SECOND).await;
                    }
                    match ws.receive_text().await {
                        Ok(text) => got.add(text),
                        Err(error) => return code(Err::<(), _>(error)),
                    }
                }
            });
            assert_eq!(kit.block_on(reader), 1000, "queue {queue}, pause {pause}");
            kit.run_until_idle();
            assert_eq!(log.take(), hundred(), "queue {queue}, pause {pause}");
            assert_eq!(closes(&mut peer), [close_payload(1000, "all")]);
        }
    }
}

/// Takes what is held: the messages that can be received without a further turn of the loop.
fn held(kit: &mut TestKit, ws: &WebSocket) -> usize {
    let taken = Rc::new(Cell::new(0));
    let (counter, ws) = (Rc::clone(&taken), ws.clone());
    let before = kit.now();
    kit.block_on(async {
        let mut texts = ws.iter_text();
        std::future::poll_fn(|cx| {
            let mut stream = std::pin::Pin::new(&mut texts);
            while futures_core::Stream::poll_next(stream.as_mut(), cx).is_ready() {
                counter.set(counter.get() + 1);
            }
            std::task::Poll::Ready(())
        })
        .await;
    });
    assert_eq!(kit.now(), before);
    taken.get()
}

#[test]
fn what_nobody_receives_is_held_up_to_the_size_of_the_queue() {
    for queue in QUEUES {
        let mut kit = TestKit::new(1);
        let (ws, mut peer) = raw_pair(&mut kit, WebSocketConfig::default().message_queue_size(queue));
        let bytes = burst(&peer, b"");
        peer.write(&bytes);
        kit.run_until_idle();
        assert!(ws.transport().expect("open").is_reading_paused());
        // The whole burst again, which stays in the kernel.
        peer.write(&bytes);
        kit.run_until_idle();
        assert_eq!(peer.link().to_server().unread(), bytes.len());
        let mut received = 0;
        while received < 200 {
            let taken = held(&mut kit, &ws);
            assert_eq!(taken, queue.min(200 - received), "queue {queue}");
            received += taken;
            kit.run_until_idle();
            if queue == 0 {
                kit.block_on(ws.receive_text()).expect("a message is taken when a receiver waits");
                received += 1;
            }
        }
        // A queue of none is full unless a receiver waits.
        assert_eq!(ws.transport().expect("open").is_reading_paused(), queue == 0);
        assert_eq!(peer.link().to_server().unread(), 0);
    }
}

#[test]
fn early_messages_are_held_up_to_the_size_of_the_queue() {
    for queue in QUEUES {
        let mut kit = TestKit::new(1);
        let accepted = Slot::new();
        let mut peer =
            raw(&mut kit, give_away(&accepted), WebSocketConfig::default().message_queue_size(queue));
        let mut bytes = request("/", "");
        bytes.extend(burst(&peer, b""));
        peer.write(&bytes);
        kit.run_until_idle();
        let ws: WebSocket = accepted.take();
        let taken = held(&mut kit, &ws);
        assert_eq!(taken, queue);
        let rest: Vec<String> = kit.block_on(async {
            let mut rest = Vec::new();
            while rest.len() + taken < 100 {
                rest.push(ws.receive_text().await.expect("open"));
            }
            rest
        });
        assert_eq!(rest, hundred()[taken..]);
    }
}

#[test]
fn a_local_close_drops_what_is_queued_and_sees_the_peers_close_behind_it() {
    for queue in QUEUES {
        let mut kit = TestKit::new(1);
        let (ws, mut peer) = raw_pair(&mut kit, WebSocketConfig::default().message_queue_size(queue));
        let close = peer.encode_frame(WSMsgType::Close, &close_payload(1000, ""), SendOptions::default());
        let bytes = burst(&peer, &close);
        peer.write(&bytes);
        kit.run_until_idle();
        let start = kit.now();
        kit.block_on(async {
            let (closed, received) = (ws.aclose(1000, ""), ws.clone());
            closed.await.expect("the peer's CLOSE is there");
            assert_eq!(code(received.receive_text().await), 1000);
        });
        assert!(kit.now() - start < 60 * SECOND, "the disconnect timeout was not needed");
    }
}

/// Bytes that are gathered at most before the kernel is asked, which alone can find that the queue is long.
const GATHERED: usize = 256 * 1024;

#[test]
fn senders_wait_at_the_high_watermark() {
    let mut kit = TestKit::new(1);
    let tuning = femtows::WSTuning::default().write_watermarks(1000, 100_000);
    let server = WebSocketConfig::default().server(femtows::WSServerConfig::default().tuning(tuning));
    let (ws, mut peer) = raw_pair(&mut kit, server);
    peer.link().to_client().capacity(50_000);
    // One task that never waits by itself, and many.
    let many = ws.clone();
    kit.handle()
        .spawn(async move {
            for number in 0..100u8 {
                many.send_bytes(vec![number; 30_000]).await.expect("open");
            }
        })
        .detach();
    for number in 100..200u8 {
        let ws = ws.clone();
        kit.handle().spawn(async move { ws.send_bytes(vec![number; 30_000]).await.expect("open") }).detach();
    }
    let transport = ws.transport().expect("open").clone();
    let mut received = Vec::new();
    while received.len() < 200 {
        kit.run_until_idle();
        let most = 100_000 + 30_004 + GATHERED;
        assert!(transport.buffered_amount() <= most, "{}", transport.buffered_amount());
        received.extend(peer.frames().into_iter().map(|frame| frame.payload[0]));
    }
    let (one, many): (Vec<_>, Vec<_>) = received.into_iter().partition(|&number| number < 100);
    assert_eq!((one, many), ((0..100).collect(), (100..200).collect()));
}

#[test]
fn messages_of_every_length_arrive_as_they_were_sent() {
    for (mut random, server_reads) in [(Random::new(1), true), (Random::new(2), false)] {
        let mut kit = TestKit::new(1);
        let config = WebSocketConfig::default();
        let (ws, mut peer) =
            if server_reads { raw_pair(&mut kit, config) } else { raw_client(&mut kit, config) };
        let mut sent = Vec::new();
        let mut wire = Vec::new();
        for len in [0, 1, 125, 126, 4095, 4096, 4097, 65_535, 65_536, 300_000].repeat(3) {
            let text: String = (0..len).map(|_| char::from(b'a' + random.below(26) as u8)).collect();
            for msg_type in [WSMsgType::Binary, WSMsgType::Text] {
                let (front, back) = text.as_bytes().split_at(random.below(len + 1));
                let not_fin = SendOptions { fin: false, ..SendOptions::default() };
                if random.chance(50) {
                    wire.extend(peer.encode_frame(msg_type, text.as_bytes(), SendOptions::default()));
                } else {
                    wire.extend(peer.encode_frame(msg_type, front, not_fin));
                    wire.extend(peer.encode_frame(WSMsgType::Continuation, back, SendOptions::default()));
                }
                sent.push(match msg_type {
                    WSMsgType::Binary => Message::from(text.as_bytes()),
                    _ => Message::from(text.as_str()),
                });
            }
        }
        let log = Log::new();
        let received = log.clone();
        let receive = async move {
            while let Ok(message) = ws.get_message().await {
                log.add(message);
            }
        };
        kit.handle().spawn(receive).detach();
        let mut rest = &wire[..];
        while !rest.is_empty() {
            let piece = (random.below(100_000) + 1).min(rest.len());
            rest = &rest[peer.write(&rest[..piece])..];
            kit.run_until_idle();
        }
        assert!(received.take() == sent, "a message is missing, or differs");
    }
}
