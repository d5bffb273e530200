//! Ends in the middle of something.

use femtows::{WSDisconnectCause, WSDisconnectSide, WSServerConfig};

use crate::own_process;
use crate::scene::Scene;
use crate::support::wire::Frame;
use crate::way::Way;

/// How TCP ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Behind `close_notify`, if there is TLS.
    Said,
    Cut,
    Reset,
}

/// Every prefix of a CLOSE frame, and every end behind it.
#[test]
fn t09_a_close_that_is_cut_short_is_no_close() {
    let _process = own_process();
    for way in Way::all() {
        let scene = Scene::set(&way, WSServerConfig::default());
        for end in [End::Said, End::Cut, End::Reset] {
            let whole = scene.connect().encode(&Frame::close(1000, "bye"));
            scene.next_end();
            for len in 0..whole.len() {
                let mut peer = scene.connect();
                peer.send_and_sync(&[]);
                peer.write(&whole[..len]);
                match end {
                    End::Said => peer.shutdown_write(),
                    End::Cut => peer.cut_write(),
                    End::Reset => {}
                }
                if end == End::Reset {
                    peer.reset();
                } else {
                    peer.expect_gone();
                }
                let info = scene.next_end();
                let wanted = match end {
                    End::Reset => WSDisconnectCause::Io(std::io::ErrorKind::ConnectionReset),
                    End::Cut if way.is_secure() => WSDisconnectCause::Truncated,
                    End::Said | End::Cut => WSDisconnectCause::PeerEof,
                };
                let told = (info.cause, info.side, info.code.0);
                assert_eq!(told, (wanted, WSDisconnectSide::Remote, 1006), "{way:?}: {end:?} after {len}");
            }
        }
        scene.ends_well();
    }
}

/// Behind a whole closing handshake nobody misses `close_notify`.
#[test]
fn t09_a_whole_close_and_a_cut_is_a_closing_handshake() {
    let _process = own_process();
    for way in Way::all() {
        let scene = Scene::set(&way, WSServerConfig::default());
        let mut peer = scene.connect();
        peer.send(&Frame::close(1000, "bye"));
        peer.cut_write();
        assert_eq!(peer.read_frame().close_code(), Some(1000));
        peer.expect_eof();
        let info = scene.next_end();
        assert_eq!((info.cause, info.code.0), (WSDisconnectCause::Closed, 1000), "{way:?}");
        scene.ends_well();
    }
}

/// Behind a CLOSE of this end that the peer does not answer, a cut is the peer's fault, and told as such.
#[test]
fn t09_a_cut_instead_of_an_answer_is_told() {
    let _process = own_process();
    for way in Way::all() {
        let scene = Scene::set(&way, WSServerConfig::default());
        for end in [End::Said, End::Cut] {
            let mut peer = scene.connect();
            peer.send_and_sync(&[]);
            scene.close_newest(4002);
            assert_eq!(peer.read_frame().close_code(), Some(4002));
            match end {
                End::Said => peer.shutdown_write(),
                _ => peer.cut_write(),
            }
            peer.expect_gone();
            let info = scene.next_end();
            assert_ne!(info.cause, WSDisconnectCause::Closed, "{way:?}: {end:?}");
            assert_eq!(info.bytes_unsent, 0, "{way:?}: {end:?}");
        }
        scene.ends_well();
    }
}
