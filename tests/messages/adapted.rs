//! Listeners on whole messages.

use std::cell::RefCell;
use std::rc::Rc;

use femtows::testkit::TestKit;
use femtows::{
    SendOptions, WSFrame, WSMessage, WSMessageAdapter, WSMessageListener, WSMsgType, WSResult,
    WSServerConfig, WSTransport, WSUpgradeRequest,
};

use crate::ends::*;

/// Takes every text for a heartbeat.
struct Heartbeats {
    seen: Log,
    asked: Rc<std::cell::Cell<usize>>,
}

impl WSMessageListener for Heartbeats {
    fn on_ws_message(&mut self, _: &WSTransport, message: WSMessage<'_>) -> WSResult {
        self.seen.add(String::from_utf8_lossy(message.as_bytes()).into_owned());
        Ok(())
    }

    fn is_user_specific_pong(&mut self, frame: &WSFrame<'_>) -> bool {
        self.asked.set(self.asked.get() + 1);
        frame.msg_type() != WSMsgType::Binary
    }
}

#[test]
fn a_piece_of_a_message_is_never_taken_for_a_heartbeat() {
    let mut kit = TestKit::new(1);
    let (seen, asked) = (Log::new(), Rc::default());
    let (log, count) = (seen.clone(), Rc::clone(&asked));
    let factory = move |_: &WSUpgradeRequest| {
        WSMessageAdapter::new(Heartbeats { seen: log.clone(), asked: Rc::clone(&count) })
    };
    let config = WSServerConfig::default()
        .enable_auto_ping(true)
        .auto_ping_idle_timeout(SECOND)
        .auto_ping_reply_timeout(SECOND);
    let mut peer = kit.raw_server(factory, config);
    peer.upgrade(&mut kit);
    kit.advance(SECOND + SECOND / 4);
    assert_eq!(peer.frames().len(), 1, "an answer is awaited");
    let piece = SendOptions { fin: false, ..SendOptions::default() };
    let mut bytes = peer.encode_frame(WSMsgType::Text, b"in ", piece);
    bytes.extend(peer.encode_frame(WSMsgType::Continuation, b"three ", piece));
    bytes.extend(peer.encode_frame(WSMsgType::Continuation, b"pieces", SendOptions::default()));
    peer.write(&bytes);
    kit.run_until_idle();
    assert_eq!((seen.take(), asked.get()), (vec!["in three pieces".to_owned()], 0));
    peer.send_frame(WSMsgType::Text, b"heartbeat");
    kit.run_until_idle();
    assert_eq!((seen.take(), asked.get()), (vec![], 1), "a whole one is");
}

/// Wire length, whether it was compressed, whether it is the last in the buffer, and the tail behind it.
type Facts = (usize, bool, bool, usize);

#[derive(Clone, Default)]
struct Recorder(Rc<RefCell<Vec<Facts>>>);

impl WSMessageListener for Recorder {
    fn on_ws_message(&mut self, _: &WSTransport, message: WSMessage<'_>) -> WSResult {
        let (last, tail) = (message.last_in_buffer(), message.tail_size());
        self.0.borrow_mut().push((message.wire_len(), message.is_compressed(), last, tail));
        Ok(())
    }
}

#[test]
fn messages_have_their_bytes_on_the_wire_and_what_is_behind_them() {
    let mut kit = TestKit::new(1);
    let seen = Recorder::default();
    let listener = seen.clone();
    let factory = move |_: &WSUpgradeRequest| WSMessageAdapter::new(listener.clone());
    let mut peer = kit.raw_server(factory, WSServerConfig::default());
    peer.upgrade(&mut kit);
    let piece = SendOptions { fin: false, ..SendOptions::default() };
    let whole = peer.encode_frame(WSMsgType::Text, b"whole", SendOptions::default());
    let pieces = [
        peer.encode_frame(WSMsgType::Binary, b"in ", piece),
        peer.encode_frame(WSMsgType::Continuation, b"three ", piece),
        peer.encode_frame(WSMsgType::Continuation, b"pieces", SendOptions::default()),
    ]
    .concat();
    peer.write(&[&whole[..], &pieces, &whole, &whole[..3]].concat());
    kit.run_until_idle();
    let expected = [
        (whole.len(), false, false, pieces.len() + whole.len() + 3),
        (pieces.len(), false, false, whole.len() + 3),
        (whole.len(), false, true, 3),
    ];
    assert_eq!(seen.0.take(), expected);
}
