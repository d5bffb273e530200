//! The rules of a connection's life, one test each: how it ends, how long it lasts, what it reports.

use std::io::ErrorKind;
use std::time::Duration;

use crate::proto::WSDisconnectCause::{
    CloseTimeout, Closed, Disconnected, Io, ListenerError, LoopClosed, Overflow, PeerEof, ProtocolError,
    Truncated,
};
use crate::proto::WSDisconnectSide::{Local, Remote};
use crate::proto::{
    Event, Payload, Role, Rules, SendOptions, WSDisconnectCause, WSDisconnectSide, WSDropReason, WSMsgType,
    WSOverflowPolicy,
};

use crate::proto::model::caller::Caller;

pub(super) const SECOND: Duration = Duration::from_secs(1);

pub(super) fn server() -> Caller {
    Caller::new(Role::Server, Rules::default())
}

pub(super) fn client() -> Caller {
    Caller::new(Role::Client, Rules::default())
}

pub(super) fn with_rules(change: impl FnOnce(&mut Rules)) -> Caller {
    let mut rules = Rules::default();
    change(&mut rules);
    Caller::new(Role::Server, rules)
}

/// Seconds until the timer fires.
pub(super) fn timer(caller: &Caller) -> Option<f64> {
    caller.timer.map(|at| (at - caller.now).as_secs_f64())
}

#[track_caller]
pub(super) fn assert_open(caller: &Caller) {
    assert_eq!(caller.ended, None);
}

#[track_caller]
pub(super) fn assert_ended(
    caller: &Caller,
    cause: WSDisconnectCause,
    side: WSDisconnectSide,
    code: u16,
    unsent: usize,
) {
    let info = caller.ended.as_ref().expect("the connection has ended");
    assert_eq!((info.cause, info.side, info.code.0, info.bytes_unsent), (cause, side, code, unsent));
    assert!(!caller.connection.has_actions() && caller.timer.is_none());
}

// --- nothing to do ---------------------------------------------------------------------------------

#[test]
fn an_open_connection_has_no_actions() {
    for mut caller in [server(), client()] {
        for _ in 0..3 {
            caller.send(1000).expect("sent");
            let (now, before) = (caller.now, caller.connection.has_actions());
            caller.connection.handle_arrival(now);
            assert!(!before && !caller.connection.has_actions());
        }
        assert_eq!((caller.timer_changes, caller.writable, caller.reads), (0, false, 0));
        assert!(caller.written.len() > 3000 && caller.events.is_empty());
    }
}

// --- closing handshakes ----------------------------------------------------------------------------

#[test]
fn a_drained_server_closes_tcp_after_the_handshake() {
    let mut peer_first = server();
    peer_first.receive_close(4001);
    assert_ended(&peer_first, Closed, Remote, 4001, 0);
    assert_eq!((peer_first.shutdowns, peer_first.timer_changes), (0, 0));

    let mut local_first = server();
    assert!(local_first.send_close(4002));
    assert_open(&local_first);
    assert_eq!(timer(&local_first), Some(10.0), "one deadline for the whole handshake");
    local_first.receive_close(4001);
    assert_ended(&local_first, Closed, Local, 4002, 0);
}

#[test]
fn a_server_with_unread_bytes_half_closes_and_reads_on() {
    for pauses in [false, true] {
        let mut caller = server();
        caller.stream.unread = !pauses;
        if pauses {
            caller.call(|connection, _, _| connection.pause_reading());
        }
        caller.receive_close(4001);
        assert_open(&caller);
        assert_eq!((caller.shutdowns, caller.reads, timer(&caller)), (1, 1, Some(2.0)));
        caller.receive_end();
        assert_ended(&caller, Closed, Remote, 4001, 0);
    }
}

#[test]
fn a_lingering_server_gives_up_after_two_seconds() {
    let mut caller = server();
    caller.stream.unread = true;
    caller.receive_close(4001);
    caller.advance_secs(2);
    assert_ended(&caller, Disconnected, Local, 4001, 0);
}

#[test]
fn a_client_waits_two_seconds_for_the_server_to_end_tcp() {
    for ends in [false, true] {
        let mut caller = client();
        caller.send_close(4002);
        assert_eq!(caller.events, []);
        caller.receive_close(4001);
        assert_eq!(caller.events, [Event::HandshakeClosed]);
        assert!(caller.connection.is_closed_cleanly());
        assert_eq!((timer(&caller), caller.shutdowns), (Some(2.0), 0));
        if ends {
            caller.receive_end();
        } else {
            caller.advance_secs(2);
        }
        assert_ended(&caller, Closed, Local, 4002, 0);
    }
}

#[test]
fn lingering_does_not_outlast_the_closing_deadline() {
    let mut caller = client();
    caller.send_close(4002);
    caller.advance_secs(9);
    caller.receive_close(4001);
    assert_eq!(timer(&caller), Some(1.0));
}

#[test]
fn an_unanswered_close_ends_at_the_closing_deadline() {
    for mut caller in [server(), client()] {
        caller.send_close(4002);
        caller.advance(Duration::from_nanos(9_999_999_999));
        assert_open(&caller);
        caller.advance(Duration::from_nanos(1));
        assert_ended(&caller, CloseTimeout, Local, 4002, 0);
    }
}

#[test]
fn a_close_that_the_kernel_refuses_delays_the_end() {
    let mut caller = server();
    caller.room = 0;
    caller.receive_close(4001);
    assert_open(&caller);
    assert!(caller.writable);
    caller.grant(usize::MAX);
    assert_ended(&caller, Closed, Remote, 4001, 0);
}

#[test]
fn an_unanswered_close_of_the_peer_has_no_deadline() {
    let mut caller = with_rules(|rules| rules.enable_auto_close = false);
    caller.receive_close(4001);
    assert_open(&caller);
    assert_eq!(caller.timer, None);
    caller.receive_end();
    assert_ended(&caller, PeerEof, Remote, 4001, 0);
}

// --- failures --------------------------------------------------------------------------------------

#[test]
fn a_failed_connection_half_closes_once_close_has_left() {
    for ends in [true, false] {
        let mut caller = client();
        caller.room = 3;
        assert!(caller.fail(1002, ProtocolError));
        assert_eq!((caller.shutdowns, timer(&caller)), (0, Some(10.0)));
        caller.grant(usize::MAX);
        assert_eq!((caller.shutdowns, caller.reads, timer(&caller)), (1, 1, Some(2.0)));
        if ends {
            caller.receive_end();
        } else {
            caller.advance_secs(2);
        }
        assert_ended(&caller, ProtocolError, Local, 1002, 0);
    }
}

#[test]
fn the_first_failure_is_the_cause() {
    let mut caller = server();
    assert!(caller.fail(1011, ListenerError));
    assert!(!caller.fail(1002, ProtocolError), "only the first error is kept");
    assert!(!caller.call(|connection, _, _| connection.abort(Io(ErrorKind::ConnectionReset))));
    assert_ended(&caller, ListenerError, Local, 1011, 0);
    assert!(!caller.fail(1002, ProtocolError), "after the end");
}

#[test]
fn a_failure_during_the_handshake_is_the_cause() {
    let mut caller = server();
    caller.send_close(4001);
    assert!(caller.fail(1011, ListenerError));
    caller.receive_end();
    assert_ended(&caller, ListenerError, Local, 4001, 0);
}

#[test]
fn an_io_error_ends_the_connection_at_once() {
    let mut caller = server();
    caller.room = 0;
    caller.send(100).expect("queued");
    let is_first = caller.call(|connection, _, _| connection.abort(Io(ErrorKind::ConnectionReset)));
    assert!(is_first);
    assert_ended(&caller, Io(ErrorKind::ConnectionReset), Remote, 1006, 102);
    assert_eq!(caller.send(1), Err(WSDropReason::Disconnected));
}

#[test]
fn an_io_error_after_the_handshake_is_a_clean_end() {
    let mut caller = client();
    caller.receive_close(4001);
    caller.call(|connection, _, _| connection.abort(Io(ErrorKind::ConnectionReset)));
    assert_ended(&caller, Closed, Remote, 4001, 0);
}

#[test]
fn of_several_ends_the_first_counts() {
    let mut caller = server();
    let is_first =
        caller.call(|connection, _, _| (connection.abort(LoopClosed), connection.abort(CloseTimeout)));
    assert_eq!(is_first, (true, false));
    assert_ended(&caller, LoopClosed, Local, 1006, 0);
}

#[test]
fn a_frame_beyond_the_limit_aborts_unless_it_may_be_dropped() {
    for (policy, msg_type, ends) in [
        (WSOverflowPolicy::Close, WSMsgType::Binary, true),
        (WSOverflowPolicy::DropNew, WSMsgType::Binary, false),
        (WSOverflowPolicy::DropNew, WSMsgType::Continuation, true),
    ] {
        let mut caller = with_rules(|rules| {
            rules.max_outbound = 100;
            rules.overflow_policy = policy;
        });
        let sent = caller.call(|connection, _, out| {
            connection.send(msg_type, Payload::Borrowed(&[0; 200]), SendOptions::default(), out)
        });
        assert_eq!(sent, Err(WSDropReason::Overflow));
        if ends {
            assert_ended(&caller, Overflow, Local, 1006, 0);
        } else {
            assert_open(&caller);
        }
    }
}

// --- disconnect ------------------------------------------------------------------------------------

#[test]
fn a_graceful_disconnect_flushes_and_half_closes() {
    let mut caller = server();
    caller.room = 50;
    caller.send(100).expect("queued");
    caller.disconnect(true);
    assert_eq!(caller.send(1), Err(WSDropReason::Disconnected));
    assert_eq!((caller.shutdowns, timer(&caller)), (0, Some(10.0)));
    caller.grant(usize::MAX);
    assert_eq!((caller.written.len(), caller.shutdowns, timer(&caller)), (102, 1, Some(2.0)));
    caller.receive_end();
    assert_ended(&caller, Disconnected, Local, 1006, 0);
}

#[test]
fn a_graceful_disconnect_ends_at_the_closing_deadline() {
    let mut caller = server();
    caller.room = 50;
    caller.send(100).expect("queued");
    caller.disconnect(true);
    caller.advance_secs(10);
    assert_ended(&caller, CloseTimeout, Local, 1006, 52);
}

#[test]
fn an_abrupt_disconnect_writes_once() {
    let mut caller = server();
    caller.room = 60;
    // Not driven in between: the frame is corked.
    caller
        .call(|connection, now, out| {
            let sent =
                connection.send(WSMsgType::Binary, Payload::Borrowed(&[0; 100]), SendOptions::default(), out);
            connection.disconnect(false, now);
            sent
        })
        .expect("queued");
    assert_eq!(caller.send(1), Err(WSDropReason::Disconnected));
    assert_ended(&caller, Disconnected, Local, 1006, 42);
    assert_eq!(caller.written.len(), 60);
}

#[test]
fn an_abrupt_disconnect_does_not_write_what_was_refused() {
    let mut caller = server();
    caller.room = 0;
    caller.send(100).expect("queued");
    caller.room = usize::MAX;
    caller.disconnect(false);
    assert_ended(&caller, Disconnected, Local, 1006, 102);
    assert_eq!(caller.written.len(), 0);
}

#[test]
fn an_error_of_the_last_write_is_how_the_connection_ended() {
    let mut caller = server();
    caller.write_error = Some(ErrorKind::BrokenPipe);
    caller
        .call(|connection, now, out| {
            let sent =
                connection.send(WSMsgType::Binary, Payload::Borrowed(b"1"), SendOptions::default(), out);
            connection.disconnect(false, now);
            sent
        })
        .expect("queued");
    assert_ended(&caller, Io(ErrorKind::BrokenPipe), Remote, 1006, 3);
}

// --- the peer's end --------------------------------------------------------------------------------

#[test]
fn an_end_without_handshake_is_the_peers() {
    for (truncated, cause) in [(false, PeerEof), (true, Truncated)] {
        let mut caller = server();
        caller.stream.truncated = truncated;
        caller.receive_end();
        assert_ended(&caller, cause, Remote, 1006, 0);
    }
}

#[test]
fn after_the_handshake_truncation_does_not_matter() {
    let mut caller = client();
    caller.receive_close(4001);
    caller.stream.truncated = true;
    caller.receive_end();
    assert_ended(&caller, Closed, Remote, 4001, 0);
}

#[test]
fn what_was_queued_before_the_end_still_leaves() {
    for leaves in [false, true] {
        let mut caller = server();
        caller.room = 50;
        caller.send(100).expect("queued");
        caller.receive_end();
        assert_open(&caller);
        assert_eq!(timer(&caller), Some(10.0));
        if leaves {
            caller.grant(usize::MAX);
            assert_eq!((caller.written.len(), caller.shutdowns), (102, 0));
            assert_ended(&caller, PeerEof, Remote, 1006, 0);
        } else {
            caller.advance_secs(10);
            assert_ended(&caller, PeerEof, Remote, 1006, 52);
        }
    }
}

#[test]
fn answers_leave_after_a_half_close_until_the_local_close() {
    let mut caller = server();
    caller.connection.answer_late();
    caller.receive_end();
    caller.receive_end();
    assert_eq!((caller.events.as_slice(), timer(&caller)), (&[Event::PeerEnded][..], Some(10.0)));
    caller.send(10).expect("sent");
    caller.send_close(1000);
    assert_ended(&caller, PeerEof, Remote, 1006, 0);
    assert_eq!(caller.written.len(), 12 + 7, "the frame and CLOSE");
}

#[test]
fn a_half_closed_connection_ends_at_the_closing_deadline() {
    let mut caller = server();
    caller.connection.answer_late();
    caller.receive_end();
    caller.advance_secs(10);
    assert_ended(&caller, PeerEof, Remote, 1006, 0);
}

#[test]
fn no_late_answers_once_a_handshake_has_begun() {
    let mut caller = server();
    caller.connection.answer_late();
    caller.send_close(4001);
    caller.receive_end();
    assert_eq!(caller.events, []);
    assert_ended(&caller, PeerEof, Remote, 4001, 0);
}

#[test]
fn an_end_behind_held_data_counts_at_the_close_timeout() {
    let mut caller = server();
    caller.call(|connection, _, _| connection.hold_data());
    caller.call(|connection, now, _| connection.handle_held_end(now));
    assert_eq!(caller.connection.deadline(), None);
    caller.advance_secs(4);
    caller.call(|connection, now, _| connection.handle_held_end(now));
    assert_eq!(timer(&caller), Some(6.0), "a second event does not prolong it");
    caller.advance_secs(6);
    assert_ended(&caller, PeerEof, Remote, 1006, 0);
}

#[test]
fn release_takes_the_deadline_of_a_held_end_back() {
    let mut caller = server();
    caller.call(|connection, _, _| connection.hold_data());
    caller.call(|connection, now, _| connection.handle_held_end(now));
    caller.advance_secs(5);
    caller.call(|connection, _, _| connection.release_data());
    assert_eq!((caller.timer, caller.reads), (None, 1));
    caller.advance_secs(100);
    assert_open(&caller);
}

#[test]
fn a_close_behind_a_held_end_keeps_its_own_deadline() {
    let mut caller = server();
    caller.call(|connection, _, _| connection.hold_data());
    caller.call(|connection, now, _| connection.handle_held_end(now));
    caller.advance_secs(5);
    caller.send_close(4001);
    assert_eq!(timer(&caller), Some(5.0));
    caller.call(|connection, _, _| connection.release_data());
    assert_eq!(timer(&caller), Some(5.0), "left alone, as it fires early enough");
    caller.advance_secs(5);
    assert_eq!(timer(&caller), Some(5.0));
    caller.advance_secs(5);
    assert_ended(&caller, CloseTimeout, Local, 4001, 0);
}
