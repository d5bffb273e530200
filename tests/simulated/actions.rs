//! What a schedule does with a connection: from outside, from callbacks, from timers and from tasks.

use std::rc::Rc;
use std::time::Duration;

use femtows::*;

use crate::model::NextFrame;
use crate::world::{EndId, World, peer};

/// Does one thing, chosen at random, with this end.
pub(crate) fn act(world: &Rc<World>, id: EndId) {
    let Some(transport) = world.transport(id) else { return };
    match world.below(100) {
        0..=54 => send_data(world, id, &transport),
        55..=62 => send_control(world, id, &transport),
        63..=66 => later(world, id),
        67..=69 => spawn(world, id),
        70..=72 => soon(world, id),
        73..=77 => pause_reading(world, id, &transport),
        78..=82 => {
            world.note(|| format!("{id}: resume_reading"));
            transport.resume_reading();
        }
        83..=86 => transport.flush(),
        87..=88 => {
            let (low, high) = (world.below(2000), world.below(2000));
            transport.set_write_watermarks(low, high);
            world.with(id, |end| end.watermarks = (low.min(high), high));
        }
        89..=90 => close(world, id, &transport),
        91 if !world.gentle => {
            let graceful = world.chance(60);
            world.note(|| format!("{id}: disconnect({graceful})"));
            if graceful {
                transport.disconnect();
            } else {
                transport.abort();
            }
        }
        _ => {
            // Several in a row: this is what fills a queue.
            for _ in 0..world.below(12) {
                send_data(world, id, &transport);
            }
        }
    }
    world.check_end(id, &transport);
}

fn later(world: &Rc<World>, id: EndId) {
    let (delay, again) = (Duration::from_millis(world.below(50) as u64), Rc::clone(world));
    world.handle.call_later(delay, move || act_unless_calm(&again, id)).detach();
}

fn soon(world: &Rc<World>, id: EndId) {
    let again = Rc::clone(world);
    world.handle.call_soon(move || act_unless_calm(&again, id));
}

fn spawn(world: &Rc<World>, id: EndId) {
    let (again, handle) = (Rc::clone(world), world.handle.clone());
    let task = world.handle.spawn(async move {
        act_unless_calm(&again, id);
        handle.sleep(Duration::from_millis(again.below(20) as u64)).await;
        act_unless_calm(&again, id);
    });
    task.detach();
}

pub(crate) fn act_unless_calm(world: &Rc<World>, id: EndId) {
    if !world.calm.get() {
        act(world, id);
    }
}

fn pause_reading(world: &Rc<World>, id: EndId, transport: &WSTransport) {
    world.note(|| format!("{id}: pause_reading"));
    transport.pause_reading();
    if world.chance(50) {
        let transport = transport.clone();
        let delay = Duration::from_millis(world.below(100) as u64);
        world.handle.call_later(delay, move || transport.resume_reading()).detach();
    }
}

pub(crate) fn close(world: &World, id: EndId, transport: &WSTransport) {
    let code = [WSCloseCode::OK, WSCloseCode::NO_INFO, WSCloseCode(4321)][world.below(3)];
    let sent = transport.close(code, "enough").unwrap();
    world.note(|| format!("{id}: send_close({code:?}) -> {sent}"));
    world.check(!transport.close(WSCloseCode::OK, "").unwrap(), || {
        format!("end {id}: a second CLOSE was sent")
    });
}

fn send_data(world: &World, id: EndId, transport: &WSTransport) {
    world.with(id, |end| {
        let (max_len, fragments) = (end.plan.max_len, end.plan.fragments);
        let frame = end.out.next_frame(&mut world.random.borrow_mut(), max_len, fragments);
        let status = send_somehow(world, transport, &frame);
        let len = frame.piece.bytes().len();
        world.note(|| {
            format!("{id}: send {:?} fin {} of {len}: {status:?}", frame.msg_type, frame.options.fin)
        });
        match status {
            WSSendStatus::Dropped(WSDropReason::Overflow) => {
                end.out.dropped_frames += 1;
                end.out.dropped_bytes += len as u64;
            }
            WSSendStatus::Dropped(reason) => check_drop(world, id, transport, reason),
            status => {
                end.out.accepted(&frame);
                check_status(world, id, transport, status);
            }
        }
    });
}

/// Sends in one of the ways that there are; all must do the same.
fn send_somehow(world: &World, transport: &WSTransport, frame: &NextFrame) -> WSSendStatus {
    let NextFrame { msg_type, options, piece } = frame;
    let payload = piece.bytes();
    match world.below(6) {
        0 if *options == SendOptions::default() => transport.send_buffer(*msg_type, WSBuffer::from(payload)),
        1 => transport.send_prepared_frame(&WSPreparedFrame::with_options(*msg_type, payload, *options)),
        2 => {
            let offset = WS_HEADROOM + world.below(3);
            let mut memory = vec![0; offset];
            memory.extend_from_slice(payload);
            transport
                .send_reuse_external_buffer(*msg_type, &mut memory, offset, *options)
                .expect("the offset leaves room for a header")
        }
        3 if options.fin => transport.send(*msg_type, payload),
        _ => transport.send_frame(*msg_type, payload, *options),
    }
}

fn send_control(world: &World, id: EndId, transport: &WSTransport) {
    let answered = world.with(peer(id), |end| end.plan.auto_pong);
    let ping = world.chance(60);
    world.with(id, |end| {
        let payload = end.out.next_control(if ping { "ping " } else { "pong " });
        let sent = if ping { transport.send_ping(&payload) } else { transport.send_pong(&payload) };
        let status = sent.expect("the payload is short");
        world.note(|| format!("{id}: send {}: {status:?}", String::from_utf8_lossy(&payload)));
        match status {
            WSSendStatus::Dropped(WSDropReason::Overflow) => {
                end.out.dropped_frames += 1;
                end.out.dropped_bytes += payload.len() as u64;
            }
            WSSendStatus::Dropped(reason) => check_drop(world, id, transport, reason),
            status => {
                match (ping, answered) {
                    (true, true) => end.out.ping_accepted(),
                    (true, false) => end.out.control_accepted(WSMsgType::Ping, payload),
                    (false, _) => end.out.control_accepted(WSMsgType::Pong, payload),
                }
                check_status(world, id, transport, status);
            }
        }
    });
}

fn check_status(world: &World, id: EndId, transport: &WSTransport, status: WSSendStatus) {
    let waiting = transport.buffered_amount();
    let honest = (status == WSSendStatus::Sent) == (waiting == 0) || transport.is_disconnected();
    world.check(honest, || format!("end {id}: {status:?}, and {waiting} bytes wait"));
}

/// Whether a frame was dropped for a reason that is there.
fn check_drop(world: &World, id: EndId, transport: &WSTransport, reason: WSDropReason) {
    let close_sent = transport.is_close_frame_sent();
    let honest = match reason {
        WSDropReason::CloseSent => close_sent,
        WSDropReason::Disconnected => !close_sent,
        _ => false,
    };
    world.check(honest, || format!("end {id}: dropped for {reason:?}"));
    let gentle = world.gentle && reason == WSDropReason::Disconnected;
    world
        .check(!gentle || transport.is_disconnected(), || format!("end {id}: dropped on an open connection"));
}
