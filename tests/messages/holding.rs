//! A full queue: delivery stops before the data message that does not fit, and nothing else stops.

use femtows::message::*;
use femtows::proto::Role;
use femtows::testkit::{Peer, Random, TestKit};
use femtows::{SendOptions, WSMsgType, WSServerConfig};

use crate::ends::*;

fn frame(peer: &Peer, msg_type: WSMsgType, payload: &[u8]) -> Vec<u8> {
    peer.encode_frame(msg_type, payload, SendOptions::default())
}

/// `M1 PING M2 PING CLOSE`.
fn wire(peer: &Peer) -> Vec<u8> {
    [
        frame(peer, WSMsgType::Text, b"M1"),
        frame(peer, WSMsgType::Ping, b"first"),
        frame(peer, WSMsgType::Text, b"M2"),
        frame(peer, WSMsgType::Ping, b"second"),
        frame(peer, WSMsgType::Close, &close_payload(4000, "")),
    ]
    .concat()
}

/// The payloads of the PONG frames that came.
fn pongs(peer: &mut Peer) -> Vec<String> {
    let frames = peer.frames().into_iter().filter(|frame| frame.msg_type == WSMsgType::Pong);
    frames.map(|frame| String::from_utf8(frame.payload).expect("the tests' own")).collect()
}

/// Writes all of it at once, or one byte at a time.
fn write(kit: &mut TestKit, peer: &mut Peer, bytes: &[u8], bytewise: bool) {
    let step = if bytewise { 1 } else { bytes.len() };
    for piece in bytes.chunks(step) {
        assert_eq!(peer.write(piece), piece.len());
        kit.run_until_idle();
    }
}

#[test]
fn a_ping_before_message_n_plus_1_is_answered() {
    for bytewise in [false, true] {
        let mut kit = TestKit::new(1);
        let (_ws, mut peer) = raw_pair(&mut kit, WebSocketConfig::default());
        let bytes = wire(&peer);
        write(&mut kit, &mut peer, &bytes, bytewise);
        assert_eq!(pongs(&mut peer), ["first"], "bytewise: {bytewise}");
    }
}

#[test]
fn control_frames_behind_message_n_plus_1_wait_until_there_is_room() {
    for bytewise in [false, true] {
        let mut kit = TestKit::new(1);
        let (ws, mut peer) = raw_pair(&mut kit, WebSocketConfig::default());
        let bytes = wire(&peer);
        write(&mut kit, &mut peer, &bytes, bytewise);
        peer.frames();
        assert!(!ws.is_closed(), "CLOSE is behind the second message");
        assert_eq!(kit.block_on(ws.receive_text()).expect("open"), "M1");
        kit.run_until_idle();
        assert_eq!(pongs(&mut peer), ["second"], "bytewise: {bytewise}");
        assert_eq!(ws.close_reason(), Some(reason(4000, "")));
        assert_eq!(kit.block_on(ws.receive_text()).expect("it came before CLOSE"), "M2");
        assert_eq!(code(kit.block_on(ws.receive_text())), 4000);
    }
}

#[test]
fn a_queue_of_none_holds_what_lies_behind_the_message_of_a_receiver() {
    let mut kit = TestKit::new(1);
    let (ws, mut peer) = raw_pair(&mut kit, WebSocketConfig::default().message_queue_size(0));
    let other = ws.clone();
    let receiving = kit.handle().spawn(async move { other.receive_text().await.expect("open") });
    kit.run_until_idle();
    let frames = [(WSMsgType::Text, "1"), (WSMsgType::Text, "2"), (WSMsgType::Ping, "behind 2")];
    let bytes: Vec<u8> =
        frames.iter().flat_map(|&(msg_type, payload)| frame(&peer, msg_type, payload.as_bytes())).collect();
    peer.write(&bytes);
    kit.run_until_idle();
    assert_eq!(kit.block_on(receiving), "1");
    assert!(pongs(&mut peer).is_empty(), "message 2 stays unparsed");
    assert_eq!(kit.block_on(ws.receive_text()).expect("open"), "2");
    kit.run_until_idle();
    assert_eq!(pongs(&mut peer), ["behind 2"]);
}

#[test]
fn a_full_queue_sees_a_close_with_no_message_in_front() {
    for (queue, texts) in [(0, 0), (1, 1), (2, 2)] {
        let mut kit = TestKit::new(1);
        let config = WebSocketConfig::default().message_queue_size(queue);
        let (ws, mut peer) = raw_pair(&mut kit, config);
        for _ in 0..texts {
            peer.send_frame(WSMsgType::Text, b"queued");
        }
        peer.send_frame(WSMsgType::Close, &close_payload(4000, ""));
        kit.run_until_idle();
        assert_eq!(ws.close_reason(), Some(reason(4000, "")), "queue {queue}");
        assert_eq!(closes(&mut peer).len(), 1, "it is answered");
    }
}

/// A message is too big as soon as its header is parsed, so that shows when it is.
#[test]
fn message_n_plus_1_stays_unparsed() {
    for queue in [0, 1, 2] {
        let mut kit = TestKit::new(1);
        let config = WebSocketConfig::default().message_queue_size(queue).max_message_size(100);
        let (ws, mut peer) = raw_pair(&mut kit, config);
        for _ in 0..queue {
            peer.send_frame(WSMsgType::Text, b"queued");
        }
        peer.send_frame(WSMsgType::Binary, &[0; 101]);
        kit.run_until_idle();
        assert!(!ws.is_closed(), "queue {queue}");
        for _ in 0..queue {
            assert_eq!(kit.block_on(ws.receive_text()).expect("queued"), "queued");
        }
        assert_eq!(code(kit.block_on(ws.receive_text())), 1009, "queue {queue}");
    }
}

#[test]
fn a_fragmented_message_stops_at_its_first_frame_only() {
    for queue in [0, 1, 2] {
        let mut kit = TestKit::new(1);
        let config = WebSocketConfig::default().message_queue_size(queue);
        let (ws, mut peer) = raw_pair(&mut kit, config);
        let not_fin = SendOptions { fin: false, ..SendOptions::default() };
        for number in 0..=queue {
            let first = peer.encode_frame(WSMsgType::Text, b"frag", not_fin);
            peer.write(&first);
            peer.send_frame(WSMsgType::Ping, number.to_string().as_bytes());
            kit.run_until_idle();
            peer.send_frame(WSMsgType::Continuation, b"ment");
            kit.run_until_idle();
        }
        let served: Vec<_> = (0..queue).map(|number| number.to_string()).collect();
        assert_eq!(pongs(&mut peer), served, "the last message has not begun");
        for _ in 0..=queue {
            assert_eq!(kit.block_on(ws.receive_text()).expect("open"), "fragment");
        }
        kit.run_until_idle();
        assert_eq!(pongs(&mut peer), [queue.to_string()]);
    }
}

#[test]
fn what_lies_behind_message_n_plus_1_stays_in_the_kernel() {
    for queue in [0, 1, 2] {
        let mut kit = TestKit::new(1);
        let config = WebSocketConfig::default().message_queue_size(queue);
        let (_ws, mut peer) = raw_pair(&mut kit, config);
        for _ in 0..queue {
            peer.send_frame(WSMsgType::Text, b"queued");
        }
        kit.run_until_idle();
        let bytes = frame(&peer, WSMsgType::Binary, &vec![0; 100_000]);
        assert_eq!(peer.write(&bytes), bytes.len());
        kit.run_until_idle();
        // One small read finds that a data frame comes.
        let unread = peer.link().to_server().unread();
        assert!(unread >= bytes.len() - 4096, "queue {queue}: {unread} bytes");
    }
}

#[test]
fn a_reset_is_noticed_behind_a_full_queue() {
    let mut kit = TestKit::new(1);
    let (ws, mut peer) = raw_pair(&mut kit, WebSocketConfig::default());
    peer.send_frame(WSMsgType::Text, b"M1");
    peer.send_frame(WSMsgType::Text, b"M2");
    kit.run_until_idle();
    peer.link().reset();
    kit.run_until_idle();
    assert_eq!(ws.close_reason(), Some(reason(1006, "")));
    assert_eq!(code(kit.block_on(ws.send_text("into the void"))), 1006);
    assert_eq!(kit.block_on(ws.receive_text()).expect("it was queued"), "M1");
    assert_eq!(code(kit.block_on(ws.receive_text())), 1006);
}

#[test]
fn a_reset_that_comes_with_the_messages_is_noticed() {
    let mut kit = TestKit::new(1);
    let (ws, mut peer) = raw_pair(&mut kit, WebSocketConfig::default());
    peer.send_frame(WSMsgType::Text, b"M1");
    peer.send_frame(WSMsgType::Text, b"M2");
    peer.link().to_server().release(usize::MAX);
    peer.link().reset();
    kit.run_until_idle();
    assert_eq!(code(kit.block_on(ws.send_text("into the void"))), 1006);
}

#[test]
fn an_end_of_stream_behind_a_full_queue_ends_the_connection_after_the_disconnect_timeout() {
    let mut kit = TestKit::new(1);
    let (ws, mut peer) = raw_pair(&mut kit, WebSocketConfig::default().disconnect_timeout(3 * SECOND));
    peer.send_frame(WSMsgType::Text, b"M1");
    peer.send_frame(WSMsgType::Text, b"M2");
    peer.shutdown_write();
    kit.advance(2 * SECOND);
    kit.block_on(ws.send_text("the peer may still read")).expect("its write side is open");
    kit.advance(SECOND);
    assert_eq!(ws.close_reason(), Some(reason(1006, "")));
    assert_eq!(code(kit.block_on(ws.send_text("into the void"))), 1006);
    assert!(peer.link().is_closed(Role::Server));
}

#[test]
fn a_slow_receiver_gets_everything_before_the_end_of_stream() {
    for queue in [0, 1, 2] {
        let mut kit = TestKit::new(1);
        let config = WebSocketConfig::default().message_queue_size(queue).disconnect_timeout(3 * SECOND);
        let (ws, mut peer) = raw_pair(&mut kit, config);
        for number in 0..10 {
            peer.send_frame(WSMsgType::Text, number.to_string().as_bytes());
        }
        peer.shutdown_write();
        for number in 0..10 {
            kit.advance(2 * SECOND);
            assert_eq!(kit.block_on(ws.receive_text()).expect("open"), number.to_string(), "queue {queue}");
        }
        assert_eq!(code(kit.block_on(ws.receive_text())), 1006, "queue {queue}");
    }
}

#[test]
fn a_reset_is_noticed_by_a_sender_that_waits_behind_a_full_queue() {
    let mut kit = TestKit::new(1);
    let (ws, mut peer) = raw_pair(&mut kit, WebSocketConfig::default());
    peer.link().to_client().capacity(1000);
    peer.send_frame(WSMsgType::Text, b"M1");
    peer.send_frame(WSMsgType::Text, b"M2");
    let sender = ws.clone();
    let task = kit.handle().spawn(async move {
        loop {
            if let Err(error) = sender.send_bytes(vec![0; 100_000]).await {
                break code(Err::<(), _>(error));
            }
        }
    });
    kit.run_until_idle();
    assert!(!task.is_finished(), "the backlog is full");
    peer.link().reset();
    assert_eq!(kit.block_on(task), 1006);
}

/// Sends only, and discards what comes.
fn discarding(kit: &mut TestKit, queue: usize) -> (WebSocket, Peer) {
    let (ws, mut peer) = raw_pair(kit, WebSocketConfig::default().message_queue_size(queue));
    for text in ["queued", "held"] {
        peer.send_frame(WSMsgType::Text, text.as_bytes());
    }
    kit.run_until_idle();
    ws.discard_incoming();
    (ws, peer)
}

#[test]
fn discard_incoming_reads_on_behind_any_number_of_messages() {
    for queue in [0, 1, 2] {
        let mut kit = TestKit::new(1);
        let (ws, mut peer) = discarding(&mut kit, queue);
        let not_fin = SendOptions { fin: false, ..SendOptions::default() };
        for number in 0..10 {
            peer.send_frame(WSMsgType::Binary, &[0; 5000]);
            let first = peer.encode_frame(WSMsgType::Text, b"frag", not_fin);
            peer.write(&first);
            peer.send_frame(WSMsgType::Continuation, b"ment");
            peer.send_frame(WSMsgType::Ping, &[number]);
            kit.run_until_idle();
            assert_eq!(peer.frames().pop().map(|frame| frame.payload), Some(vec![number]), "queue {queue}");
        }
        kit.block_on(ws.send_text("still open")).expect("open");
    }
}

#[test]
fn discard_incoming_sees_a_close_behind_messages() {
    for queue in [0, 1, 2] {
        let mut kit = TestKit::new(1);
        let (ws, mut peer) = discarding(&mut kit, queue);
        peer.send_frame(WSMsgType::Close, &close_payload(4000, ""));
        kit.run_until_idle();
        assert_eq!(ws.close_reason(), Some(reason(4000, "")), "queue {queue}");
    }
}

#[test]
fn discard_incoming_leaves_a_receiver_nothing_but_the_end() {
    for queue in [0, 1, 2] {
        let mut kit = TestKit::new(1);
        let (ws, mut peer) = discarding(&mut kit, queue);
        let receiver = ws.clone();
        let task = kit.handle().spawn(async move { code(receiver.get_message().await) });
        peer.send_frame(WSMsgType::Text, b"discarded");
        kit.advance(SECOND);
        assert!(!task.is_finished(), "queue {queue}");
        peer.send_frame(WSMsgType::Close, &close_payload(4000, ""));
        assert_eq!(kit.block_on(task), 4000);
    }
}

#[test]
fn discard_incoming_before_accept_discards_from_the_first_message_on() {
    let mut kit = TestKit::new(1);
    let (request, mut peer) = asked(&mut kit, "/", "");
    let ws = request.into_websocket();
    ws.discard_incoming();
    kit.block_on(ws.accept()).expect("the client waits");
    peer.read();
    for text in ["1", "2", "3"] {
        peer.send_frame(WSMsgType::Text, text.as_bytes());
    }
    peer.send_frame(WSMsgType::Close, &close_payload(4000, ""));
    kit.run_until_idle();
    assert_eq!(ws.close_reason(), Some(reason(4000, "")));
    assert_eq!(code(kit.block_on(ws.get_message())), 4000);
}

/// A message in up to three frames, with PINGs in between and behind. Returns its frames.
fn random_message(
    random: &mut Random,
    peer: &Peer,
    number: usize,
    pings: &mut usize,
) -> Vec<(Vec<u8>, bool)> {
    let mut frames = Vec::new();
    let mut ping = |frames: &mut Vec<(Vec<u8>, bool)>, random: &mut Random| {
        while random.chance(40) {
            frames.push((frame(peer, WSMsgType::Ping, pings.to_string().as_bytes()), true));
            *pings += 1;
        }
    };
    let text = format!("{number}:{}", "x".repeat(random.pick(&[0, 10, 130, 5000, 70_000])));
    let pieces = 1 + random.below(3);
    for (nth, piece) in text.as_bytes().chunks(text.len().div_ceil(pieces)).enumerate() {
        let is_last = (nth + 1) * text.len().div_ceil(pieces) >= text.len();
        let msg_type = if nth == 0 { WSMsgType::Text } else { WSMsgType::Continuation };
        let options = SendOptions { fin: is_last, ..SendOptions::default() };
        frames.push((peer.encode_frame(msg_type, piece, options), false));
        ping(&mut frames, random);
    }
    frames
}

#[test]
fn however_a_stream_arrives_it_is_served_up_to_message_n_plus_1() {
    for seed in 0..300 {
        let mut random = Random::new(seed);
        let mut kit = TestKit::new(seed);
        kit.spurious_events(random.pick(&[0, 20]));
        let queue = random.pick(&[0, 1, 2, 5]);
        let (ws, mut peer) = raw_pair(&mut kit, WebSocketConfig::default().message_queue_size(queue));
        peer.link().to_server().capacity(1 << 20).max_read(random.pick(&[1, 7, 5000, usize::MAX]));
        let (mut wire, mut pings) = (Vec::new(), 0);
        // For each PING, in front of which message it comes, or inside of which.
        let mut begun_before = Vec::new();
        for number in 0..12 {
            for (bytes, is_ping) in random_message(&mut random, &peer, number, &mut pings) {
                wire.extend(bytes);
                if is_ping {
                    begun_before.push(number + 1);
                }
            }
        }
        wire.extend(frame(&peer, WSMsgType::Close, &close_payload(4000, "")));
        let mut rest = &wire[..];
        let (mut received, mut answered) = (0, 0);
        loop {
            let piece = if random.chance(50) { rest.len() } else { rest.len().min(random.below(3000)) };
            rest = &rest[peer.write(&rest[..piece])..];
            kit.run_until_idle();
            answered += pongs(&mut peer).len();
            let served = begun_before.iter().filter(|&&begun| begun <= received + queue).count();
            assert!(
                answered <= served,
                "seed {seed}: {answered} of {served} PINGs after {received} messages"
            );
            if !rest.is_empty() {
                continue;
            }
            assert_eq!(answered, served, "seed {seed}: after {received} messages");
            assert_eq!(ws.is_closed(), received + queue >= 12, "seed {seed}: after {received} messages");
            if received == 12 {
                break;
            }
            let text = kit.block_on(ws.receive_text()).expect("open");
            assert!(text.starts_with(&format!("{received}:")), "seed {seed}");
            received += 1;
        }
        assert_eq!(code(kit.block_on(ws.receive_text())), 4000, "seed {seed}");
    }
}

fn auto_ping() -> WebSocketConfig {
    let server = WSServerConfig::default()
        .enable_auto_ping(true)
        .auto_ping_idle_timeout(SECOND)
        .auto_ping_reply_timeout(SECOND);
    WebSocketConfig::default().server(server)
}

#[test]
fn auto_ping_finds_a_dead_peer_behind_a_full_queue() {
    let mut kit = TestKit::new(1);
    let (ws, mut peer) = raw_pair(&mut kit, auto_ping());
    peer.send_frame(WSMsgType::Text, b"M1");
    kit.advance(3 * SECOND);
    assert_eq!(ws.close_reason().expect("no PONG came").code.0, 1001);
}

#[test]
fn auto_ping_hears_a_peer_behind_a_full_queue() {
    let mut kit = TestKit::new(1);
    let (ws, mut peer) = raw_pair(&mut kit, auto_ping());
    peer.send_frame(WSMsgType::Text, b"M1");
    for _ in 0..20 {
        kit.advance(SECOND / 2);
        for ping in peer.frames() {
            peer.send_frame(WSMsgType::Pong, &ping.payload);
        }
    }
    assert!(!ws.is_closed());
}

#[test]
fn silence_is_not_counted_while_message_n_plus_1_waits() {
    let mut kit = TestKit::new(1);
    let (ws, mut peer) = raw_pair(&mut kit, auto_ping());
    for text in ["M1", "M2"] {
        peer.send_frame(WSMsgType::Text, text.as_bytes());
    }
    kit.advance(60 * SECOND);
    assert!(!ws.is_closed());
    for text in ["M1", "M2"] {
        assert_eq!(kit.block_on(ws.receive_text()).expect("open"), text);
    }
    kit.advance(3 * SECOND);
    assert_eq!(ws.close_reason().expect("from here on it counts").code.0, 1001);
}
