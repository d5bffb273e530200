//! Failures in the callbacks of liveness: the one connection ends, its neighbour does not notice.

use std::time::Duration;

use femtows::testkit::TestKit;
use femtows::*;

use crate::recorder::{Log, Recorder};

const SECOND: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failing {
    SendPing,
    IsPong,
}

/// Panics where it is told to.
struct Heartbeat {
    recorder: Recorder,
    failing: Failing,
}

impl WSListener for Heartbeat {
    fn on_ws_connected(&mut self, transport: &WSTransport) -> WSResult {
        self.recorder.on_ws_connected(transport)
    }

    fn on_ws_frame(&mut self, _: &WSTransport, _: &mut WSFrame<'_>) -> WSResult {
        Ok(())
    }

    fn on_ws_disconnected(&mut self, transport: &WSTransport) {
        self.recorder.on_ws_disconnected(transport);
    }

    fn send_user_specific_ping(&mut self, transport: &WSTransport) -> WSResult {
        assert_ne!(self.failing, Failing::SendPing, "it failed");
        transport.send_ping([])?;
        Ok(())
    }

    fn is_user_specific_pong(&mut self, frame: &WSFrame<'_>) -> bool {
        assert_ne!(self.failing, Failing::IsPong, "it failed");
        frame.msg_type() == WSMsgType::Pong
    }
}

struct Echo;

impl WSListener for Echo {
    fn on_ws_frame(&mut self, transport: &WSTransport, frame: &mut WSFrame<'_>) -> WSResult {
        transport.send(frame.msg_type(), frame.payload());
        Ok(())
    }
}

#[test]
fn t05_panic_in_the_callbacks_of_liveness() {
    for failing in [Failing::SendPing, Failing::IsPong] {
        let mut kit = TestKit::new(8);
        let log = Log::default();
        let mut neighbour = kit.raw_server(|_: &WSUpgradeRequest| Echo, WSServerConfig::default());
        neighbour.upgrade(&mut kit);
        let server = log.clone();
        let factory = move |_: &WSUpgradeRequest| Heartbeat { recorder: Recorder::new(&server), failing };
        let config = WSServerConfig::default().enable_auto_ping(true).auto_ping_idle_timeout(20 * SECOND);
        let mut peer = kit.raw_server(factory, config);
        peer.upgrade(&mut kit);
        kit.advance(20 * SECOND);
        let mut frames = peer.frames();
        if failing == Failing::IsPong {
            assert_eq!(frames[0].msg_type, WSMsgType::Ping);
            peer.send_frame(WSMsgType::Pong, b"");
            kit.run_until_idle();
            frames = peer.frames();
        }
        assert_eq!(frames[0].payload, 1011u16.to_be_bytes(), "{failing:?}");
        peer.close();
        kit.run_until_idle();
        let info = log.transport().disconnect_info().cloned().expect("the connection has ended");
        assert_eq!(info.cause, WSDisconnectCause::ListenerError);
        log.assert_paired();
        neighbour.send_frame(WSMsgType::Text, b"still there?");
        kit.run_until_idle();
        assert_eq!(neighbour.frames()[0].payload, b"still there?");
    }
}
