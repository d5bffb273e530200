//! The rules of the timer and of the backlog, one test each: write timeout, liveness, watermarks.

use std::time::Duration;

use crate::proto::WSDisconnectCause::{CloseTimeout, IdleTimeout, LifetimeOver, PingTimeout, WriteTimeout};
use crate::proto::WSDisconnectSide::Local;
use crate::proto::{AutoPing, Event, KeepAliveRules, WSAutoPingStrategy, WSCloseCode};

use super::lifecycle::{SECOND, assert_ended, assert_open, server, timer, with_rules};
use crate::proto::model::caller::Caller;

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
