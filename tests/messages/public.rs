//! The preset for servers on the open internet, for tasks.

use std::future::pending;

use femtows::WSMsgType;
use femtows::message::*;
use femtows::proto::Role;
use femtows::testkit::TestKit;

use crate::ends::*;

#[test]
fn public_preset_of_tasks_gives_a_request_5_seconds() {
    let mut kit = TestKit::new(1);
    let peer = raw(&mut kit, |_: WebSocket| pending::<()>(), WebSocketConfig::public());
    kit.advance(nearly(5 * SECOND));
    assert!(!peer.link().is_closed(Role::Server));
    kit.advance(TICK);
    assert!(peer.link().is_closed(Role::Server));
}

#[test]
fn public_preset_of_tasks_pings_after_20_seconds() {
    let mut kit = TestKit::new(1);
    let (_ws, mut peer) = raw_pair(&mut kit, WebSocketConfig::public());
    kit.advance(nearly(20 * SECOND));
    assert_eq!(peer.frames(), []);
    kit.advance(TICK);
    assert_eq!(peer.frames().iter().map(|frame| frame.msg_type).collect::<Vec<_>>(), [WSMsgType::Ping]);
}

#[test]
fn public_preset_of_tasks_closes_a_message_of_more_than_1_mib_with_1009() {
    for (len, expected) in [(1 << 20, None), ((1 << 20) + 1, Some(1009))] {
        let mut kit = TestKit::new(1);
        let (ws, mut peer) = raw_pair(&mut kit, WebSocketConfig::public());
        peer.link().to_server().capacity(usize::MAX);
        peer.send_frame(WSMsgType::Binary, &vec![0; len]);
        kit.run_until_idle();
        assert_eq!(ws.close_reason().map(|reason| reason.code.0), expected, "{len}");
    }
}

#[test]
fn public_preset_of_tasks_waits_10_seconds_for_the_end() {
    let mut kit = TestKit::new(1);
    let (ws, _mute) = raw_pair(&mut kit, WebSocketConfig::public());
    let start = kit.now();
    let late = kit.block_on(ws.aclose(1000, ""));
    assert!(matches!(late, Err(WebSocketError::DisconnectionTimeout)), "{late:?}");
    assert_eq!(kit.now() - start, 10 * SECOND);
}
