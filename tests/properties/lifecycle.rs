//! The rules of a connection's life, one test each: how it ends, how long it lasts, what it reports.

use std::io::ErrorKind;
use std::time::Duration;

use femtows::proto::{AutoPing, Event, KeepAliveRules, Payload, Role, Rules, SendOptions, WSOverflowPolicy};
use femtows::{
    WSAutoPingStrategy, WSCloseCode, WSDisconnectCause, WSDisconnectSide, WSDropReason, WSMsgType,
};

use WSDisconnectCause::{
    CloseTimeout, Closed, Disconnected, IdleTimeout, Io, LifetimeOver, ListenerError, LoopClosed, Overflow,
    PeerEof, PingTimeout, ProtocolError, Truncated, WriteTimeout,
};

use crate::model::caller::Caller;

const SECOND: Duration = Duration::from_secs(1);

fn server() -> Caller {
    Caller::new(Role::Server, Rules::default())
}

fn client() -> Caller {
    Caller::new(Role::Client, Rules::default())
}

fn with_rules(change: impl FnOnce(&mut Rules)) -> Caller {
    let mut rules = Rules::default();
    change(&mut rules);
    Caller::new(Role::Server, rules)
}

/// Seconds until the timer fires.
fn timer(caller: &Caller) -> Option<f64> {
    caller.timer.map(|at| (at - caller.now).as_secs_f64())
}

#[track_caller]
fn assert_open(caller: &Caller) {
    assert_eq!(caller.ended, None);
}

#[track_caller]
fn assert_ended(caller: &Caller, cause: WSDisconnectCause, side: WSDisconnectSide, code: u16, unsent: usize) {
    let info = caller.ended.as_ref().expect("the connection has ended");
    assert_eq!((info.cause, info.side, info.code.0, info.bytes_unsent), (cause, side, code, unsent));
    assert!(!caller.connection.has_actions() && caller.timer.is_none());
}

use WSDisconnectSide::{Local, Remote};

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

// --- the write timeout -----------------------------------------------------------------------------

fn with_write_timeout() -> Caller {
    let mut caller = with_rules(|rules| rules.write_timeout = Some(30 * SECOND));
    caller.room = 100;
    caller.send(1000).expect("queued");
    caller
}

#[test]
fn a_kernel_that_takes_nothing_ends_the_connection() {
    let mut caller = with_write_timeout();
    assert_eq!(timer(&caller), Some(30.0));
    caller.advance(Duration::from_nanos(29_999_999_999));
    assert_open(&caller);
    caller.advance(Duration::from_nanos(1));
    assert_ended(&caller, WriteTimeout, Local, 1006, 904);
}

#[test]
fn progress_of_writes_does_not_move_the_timer() {
    let mut caller = with_write_timeout();
    caller.advance_secs(20);
    caller.grant(1);
    assert_eq!((timer(&caller), caller.timer_changes), (Some(10.0), 1));
    caller.advance_secs(10);
    assert_eq!((timer(&caller), caller.timer_changes), (Some(20.0), 2), "counted from the progress");
    caller.advance_secs(20);
    assert_ended(&caller, WriteTimeout, Local, 1006, 903);
}

#[test]
fn a_last_write_finds_room_that_was_not_announced() {
    let mut caller = with_write_timeout();
    caller.room = 10;
    caller.advance_secs(30);
    assert_eq!(timer(&caller), Some(30.0));
    caller.room = usize::MAX;
    caller.advance_secs(30);
    assert_eq!((caller.timer, caller.writable), (None, false));
    caller.advance_secs(100);
    assert_open(&caller);
}

#[test]
fn bytes_that_leave_the_stream_are_progress() {
    let mut caller = with_write_timeout();
    caller.stream.held = 50;
    caller.call(|_, _, _| ());
    caller.advance_secs(20);
    caller.stream.held = 40;
    caller.call(|_, _, _| ());
    caller.advance_secs(10);
    assert_eq!(timer(&caller), Some(20.0));
}

#[test]
fn a_kernel_that_takes_everything_stops_the_write_timeout() {
    let mut caller = with_write_timeout();
    caller.grant(usize::MAX);
    assert_eq!(caller.timer, None);
    caller.room = 0;
    caller.advance_secs(20);
    caller.send(1).expect("queued");
    assert_eq!(timer(&caller), Some(30.0), "counted anew");
}

// --- liveness --------------------------------------------------------------------------------------

fn with_pings(strategy: WSAutoPingStrategy) -> Caller {
    let auto_ping = AutoPing { strategy, idle_timeout: 10 * SECOND, reply_timeout: 3 * SECOND };
    with_rules(|rules| {
        rules.keep_alive = KeepAliveRules { auto_ping: Some(auto_ping), ..KeepAliveRules::default() };
    })
}

fn arrive(caller: &mut Caller) {
    caller.call(|connection, now, _| connection.handle_arrival(now));
}

#[test]
fn arrivals_do_not_move_the_timer() {
    let mut caller = with_pings(WSAutoPingStrategy::PingWhenIdle);
    assert_eq!(timer(&caller), Some(10.0));
    caller.advance_secs(9);
    arrive(&mut caller);
    assert_eq!(caller.timer_changes, 1);
    caller.advance_secs(1);
    assert_eq!((timer(&caller), caller.events.len()), (Some(9.0), 0));
    caller.advance_secs(9);
    assert_eq!((caller.events.as_slice(), timer(&caller)), (&[Event::SendPing][..], Some(3.0)));
    assert_eq!(caller.written, [0x89, 0]);
}

#[test]
fn an_unanswered_ping_closes_and_does_not_wait() {
    let mut caller = with_pings(WSAutoPingStrategy::PingWhenIdle);
    caller.advance_secs(13);
    assert_ended(&caller, PingTimeout, Local, 1001, 0);
    let reason = "peer has not replied to ping/heartbeat request within 3 second(s)";
    assert_eq!(&*caller.ended.as_ref().unwrap().reason, reason);
    assert!(caller.written.ends_with(reason.as_bytes()), "CLOSE has left");
}

#[test]
fn a_ping_timeout_of_a_blocked_connection_leaves_its_close_behind() {
    let mut caller = with_pings(WSAutoPingStrategy::PingWhenIdle);
    caller.room = 0;
    caller.advance_secs(13);
    let info = caller.ended.as_ref().unwrap();
    assert_eq!((info.cause, info.code, caller.written.len()), (PingTimeout, WSCloseCode::GOING_AWAY, 0));
    assert!(info.bytes_unsent > 60, "PING and CLOSE");
}

#[test]
fn an_answered_ping_begins_a_new_wait() {
    let mut caller = with_pings(WSAutoPingStrategy::PingPeriodically);
    caller.advance_secs(11);
    assert!(caller.call(|connection, _, _| connection.pong_received()));
    assert!(!caller.connection.pong_received());
    caller.advance_secs(9);
    assert_eq!(caller.events, [Event::SendPing, Event::SendPing]);
}

#[test]
fn a_ping_of_the_application_is_awaited_without_auto_ping() {
    let mut caller = server();
    caller.send_ping().expect("sent");
    assert_eq!(caller.timer, None);
    assert!(caller.connection.pong_received());
}

#[test]
fn no_second_ping_is_due_before_the_first_was_sent() {
    let mut caller = with_pings(WSAutoPingStrategy::PingWhenIdle);
    caller.busy = true;
    caller.advance_secs(60);
    assert_eq!((caller.timer, caller.events.len()), (None, 0));
    caller.busy = false;
    caller.run_events();
    assert_eq!((caller.events.as_slice(), timer(&caller)), (&[Event::SendPing][..], Some(3.0)));
}

#[test]
fn silence_of_a_peer_that_cannot_be_heard_is_excused() {
    type Change = fn(&mut Caller);
    let deafening: [(&str, Change); 2] = [
        ("paused", |caller| caller.call(|connection, _, _| connection.pause_reading())),
        ("unread", |caller| caller.stream.unread = true),
    ];
    for (what, change) in deafening {
        let mut caller = with_pings(WSAutoPingStrategy::PingWhenIdle);
        change(&mut caller);
        caller.advance_secs(25);
        assert_eq!((caller.events.len(), timer(&caller)), (0, Some(5.0)), "{what}");
    }
}

#[test]
fn silence_behind_a_backlog_is_excused_if_the_backlog_holds_data() {
    let mut caller = with_rules(|rules| {
        rules.keep_alive.idle_timeout = Some(10 * SECOND);
        rules.hold_data_on_backlog = true;
        rules.high_watermark = 100;
        rules.low_watermark = 10;
    });
    caller.room = 0;
    caller.send(200).expect("queued");
    assert_eq!(caller.connection.poll(&mut [0x82, 0x80, 0, 0, 0, 0]).map(|head| head.is_some()), Ok(false));
    assert!(caller.connection.is_data_held());
    caller.advance_secs(10);
    assert_open(&caller);
    caller.advance_secs(5);
    caller.grant(usize::MAX);
    assert_eq!(caller.reads, 1);
    caller.advance_secs(9);
    assert_open(&caller);
    caller.advance_secs(1);
    assert!(caller.is_close_sent(), "ten seconds after it was heard again");
}

#[test]
fn resumed_reading_begins_the_silence_anew() {
    let mut caller = with_pings(WSAutoPingStrategy::PingWhenIdle);
    caller.call(|connection, _, _| connection.pause_reading());
    caller.advance_secs(9);
    caller.call(|connection, _, _| connection.resume_reading());
    assert_eq!(caller.reads, 1);
    caller.advance_secs(9);
    assert_eq!((caller.events.len(), timer(&caller)), (0, Some(1.0)));
}

#[test]
fn idle_timeout_and_lifetime_close_with_1001() {
    let idle: fn(&mut KeepAliveRules) = |rules| rules.idle_timeout = Some(SECOND * 3 / 2);
    let lifetime: fn(&mut KeepAliveRules) = |rules| rules.max_lifetime = Some(20 * SECOND);
    for (change, seconds, cause, reason) in [
        (idle, 2, IdleTimeout, "nothing received for 1.5 second(s)"),
        (lifetime, 20, LifetimeOver, "open for 20 second(s), the maximum"),
    ] {
        let mut caller = with_rules(|rules| change(&mut rules.keep_alive));
        caller.advance_secs(seconds);
        assert_open(&caller);
        let sent = caller.connection.close_handshake().and_then(|close| close.sent.clone()).expect("CLOSE");
        assert_eq!((sent.code.0, &*sent.reason), (1001, reason));
        caller.receive_close(1001);
        assert_ended(&caller, cause, Local, 1001, 0);
    }
}

#[test]
fn an_ending_connection_is_not_watched() {
    let mut caller = with_pings(WSAutoPingStrategy::PingWhenIdle);
    caller.advance_secs(9);
    caller.send_close(4001);
    caller.advance_secs(9);
    assert_eq!((caller.events.len(), timer(&caller)), (0, Some(1.0)));
    caller.advance_secs(1);
    assert_ended(&caller, CloseTimeout, Local, 4001, 0);
}

// --- watermarks ------------------------------------------------------------------------------------

fn with_watermarks() -> Caller {
    let mut caller = server();
    caller.room = 0;
    caller.call(|connection, _, _| connection.set_watermarks(100, 1000));
    caller
}

#[test]
fn each_crossing_is_reported_once() {
    let mut caller = with_watermarks();
    caller.send(900).expect("queued");
    assert_eq!(caller.events, []);
    caller.send(900).expect("queued");
    caller.send(900).expect("queued");
    assert_eq!(caller.events, [Event::PauseWriting]);
    caller.grant(2600);
    assert_eq!(caller.events.len(), 1, "above the low watermark");
    caller.grant(12);
    assert_eq!(caller.events, [Event::PauseWriting, Event::ResumeWriting]);
}

#[test]
fn a_crossing_that_was_undone_is_not_reported() {
    let mut caller = with_watermarks();
    caller.busy = true;
    caller.send(2000).expect("queued");
    caller.grant(usize::MAX);
    caller.busy = false;
    caller.run_events();
    assert_eq!(caller.events, []);
}

#[test]
fn a_sender_that_asked_is_resumed_without_having_been_paused() {
    let mut caller = with_watermarks();
    caller.busy = true;
    caller.send(2000).expect("queued");
    assert!(caller.connection.awaits_resume());
    caller.grant(usize::MAX);
    assert!(!caller.connection.awaits_resume());
    caller.busy = false;
    caller.run_events();
    assert_eq!(caller.events, [Event::ResumeWriting]);
}

#[test]
fn bytes_that_the_stream_holds_count_and_corked_ones_do_not() {
    let mut caller = server();
    caller.call(|connection, _, _| connection.set_watermarks(100, 1000));
    caller.send(5000).expect("sent");
    assert_eq!(caller.events, []);
    caller.room = 10;
    caller.stream.held = 990;
    caller.send(20).expect("queued");
    assert_eq!(caller.events, [Event::PauseWriting]);
}

#[test]
fn new_watermarks_apply_at_once() {
    let mut caller = with_watermarks();
    caller.send(500).expect("queued");
    caller.call(|connection, _, _| connection.set_watermarks(600, 400));
    assert_eq!(caller.events, [Event::PauseWriting]);
    // Low is at most high.
    caller.grant(caller.connection.queued() - 401);
    assert_eq!(caller.events, [Event::PauseWriting]);
    caller.grant(1);
    assert_eq!(caller.events, [Event::PauseWriting, Event::ResumeWriting]);
    caller.call(|connection, _, _| connection.set_watermarks(600, 600));
    assert_eq!(caller.events, [Event::PauseWriting, Event::ResumeWriting]);
}
