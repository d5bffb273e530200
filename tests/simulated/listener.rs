//! The listener at both ends: checks what comes, and does something now and then.

use std::rc::Rc;

use femtows::*;

use crate::actions::{act_unless_calm, close};
use crate::coverage::{Event, count, count_end};
use crate::world::{EndId, World, peer};

/// The message of the panics that belong to a schedule.
pub(crate) const SCHEDULED_PANIC: &str = "this panic is part of the schedule";

pub(crate) struct Checker {
    world: Rc<World>,
    id: EndId,
}

impl Checker {
    pub(crate) fn new(world: &Rc<World>, id: EndId) -> Self {
        Self { world: Rc::clone(world), id }
    }

    /// The listener as the plan of its end wants it.
    pub(crate) fn boxed(world: &Rc<World>, id: EndId) -> Box<dyn WSListener> {
        let checker = Self::new(world, id);
        let messages = world.with(id, |end| end.plan.messages);
        if messages { Box::new(WSMessageAdapter::new(checker)) } else { Box::new(checker) }
    }

    fn connected(&self, transport: &WSTransport) -> WSResult {
        let (world, id) = (&self.world, self.id);
        world.note(|| format!("{id}: on_ws_connected"));
        count(Event::Connected);
        let waiter = world.handle.spawn(transport.wait_disconnected());
        world.with(id, |end| {
            end.connected += 1;
            end.transport = Some(transport.clone());
            end.waiter = Some(waiter);
            world.check(end.connected == 1 && end.disconnected == 0, || format!("end {id}: connected twice"));
        });
        self.misbehave()
    }

    fn disconnected(&self, transport: &WSTransport) {
        let (world, id) = (&self.world, self.id);
        world.note(|| format!("{id}: on_ws_disconnected: {:?}", transport.disconnect_info()));
        world.check(transport.is_disconnected(), || format!("end {id}: told of an end that has not come"));
        self.check_alive("on_ws_disconnected");
        if let Some(info) = transport.disconnect_info() {
            // The peer sends nothing but good frames.
            world.check(info.cause != WSDisconnectCause::ProtocolError, || format!("end {id}: {info}"));
            count_end(info.cause);
        }
        world.with(id, |end| end.disconnected += 1);
        let _ = self.misbehave();
    }

    fn writing(&self, transport: &WSTransport, paused: bool) {
        let (world, id) = (&self.world, self.id);
        world.note(|| format!("{id}: {}", if paused { "pause_writing" } else { "resume_writing" }));
        self.check_alive("pause_writing or resume_writing");
        world.with(id, |end| {
            world.check(end.writing_paused != paused, || format!("end {id}: writing paused {paused} twice"));
            end.writing_paused = paused;
        });
        count(if paused { Event::WritingPaused } else { Event::WritingResumed });
        world.check_end(id, transport);
        let _ = self.misbehave();
    }

    /// What holds when anything is delivered.
    fn received(&self, transport: &WSTransport, is_data: bool) {
        let (world, id) = (&self.world, self.id);
        self.check_alive("a frame");
        // Control frames come though data is held.
        let comes_anyway = !is_data && world.with(id, |end| end.plan.pause_on_backlog);
        world.check(comes_anyway || !transport.is_reading_paused(), || {
            format!("end {id}: delivery while reading is paused")
        });
        world.check(!transport.is_disconnected(), || format!("end {id}: delivery after the end"));
        let closed = world.with(id, |end| end.close_received);
        world.check(!closed, || format!("end {id}: delivery after CLOSE"));
    }

    fn check_alive(&self, what: &str) {
        let alive = self.world.with(self.id, |end| end.connected == 1 && end.disconnected == 0);
        self.world.check(alive, || format!("end {}: {what} outside of the connection's life", self.id));
    }

    /// A control frame. Whether it is one that needs no comparison with what was sent.
    fn control(&self, transport: &WSTransport, frame: &WSFrame<'_>) -> bool {
        let (world, id) = (&self.world, self.id);
        match frame.msg_type() {
            WSMsgType::Close => {
                count(Event::CloseDelivered);
                self.close(transport, frame);
            }
            WSMsgType::Pong if frame.payload().starts_with(b"ping ") => {
                let known = world.with(id, |end| end.out.pong_received(frame.payload()));
                world.check_ok(id, known);
                count(Event::PongDelivered);
            }
            _ => return false,
        }
        true
    }

    fn close(&self, transport: &WSTransport, frame: &WSFrame<'_>) {
        let (world, id) = (&self.world, self.id);
        world.note(|| format!("{id}: CLOSE {:?}", frame.close_code()));
        let (messages, answer) = world.with(id, |end| {
            end.close_received = true;
            (end.plan.messages, !end.plan.auto_close && end.plan.answers_close)
        });
        world.with(peer(id), |sender| {
            let left = sender.out.frames.len();
            world.check(sender.out.all_received(messages), || {
                format!("end {id}: CLOSE with {left} frames missing")
            });
        });
        if answer && !transport.is_close_frame_sent() {
            close(world, id, transport);
        }
    }

    /// Now and then something else is done from inside a callback.
    fn misbehave(&self) -> WSResult {
        let (world, id) = (&self.world, self.id);
        if world.calm.get() || !world.chance(20) {
            return Ok(());
        }
        // Usually with this connection, but any may be used.
        let other = if world.chance(20) { world.below(world.count()) } else { id };
        act_unless_calm(world, other);
        if world.gentle {
            return Ok(());
        }
        match world.below(150) {
            0 => Err("this error is part of the schedule".into()),
            1 => Err(WSProtocolError::new(WSCloseCode::POLICY_VIOLATION, "scheduled").into()),
            2 => panic!("{SCHEDULED_PANIC}"),
            _ => Ok(()),
        }
    }
}

impl WSListener for Checker {
    fn on_ws_connected(&mut self, transport: &WSTransport) -> WSResult {
        self.connected(transport)
    }

    fn on_ws_frame(&mut self, transport: &WSTransport, frame: &mut WSFrame<'_>) -> WSResult {
        self.received(transport, !frame.msg_type().is_control());
        self.world.note(|| format!("{}: {frame:?}", self.id));
        if !frame.msg_type().is_control() || !self.control(transport, frame) {
            let same = self.world.with(peer(self.id), |sender| {
                sender.out.frame_received(frame.msg_type(), frame.fin(), frame.payload())
            });
            self.world.check_ok(self.id, same);
        }
        count(Event::FrameDelivered);
        // In-place parsers write into the payload: nothing may depend on it afterwards.
        frame.payload_mut().fill(0xff);
        self.misbehave()
    }

    fn on_ws_disconnected(&mut self, transport: &WSTransport) {
        self.disconnected(transport);
    }

    fn pause_writing(&mut self, transport: &WSTransport) {
        self.writing(transport, true);
    }

    fn resume_writing(&mut self, transport: &WSTransport) {
        self.writing(transport, false);
    }
}

impl WSMessageListener for Checker {
    fn on_ws_connected(&mut self, transport: &WSTransport) -> WSResult {
        self.connected(transport)
    }

    fn on_ws_message(&mut self, transport: &WSTransport, message: WSMessage<'_>) -> WSResult {
        self.received(transport, true);
        self.world.note(|| format!("{}: message of {}", self.id, message.as_bytes().len()));
        let same = self.world.with(peer(self.id), |sender| {
            sender.out.message_received(message.msg_type(), message.as_bytes())
        });
        self.world.check_ok(self.id, same);
        count(Event::MessageDelivered);
        self.misbehave()
    }

    fn on_ws_control(&mut self, transport: &WSTransport, frame: &mut WSFrame<'_>) -> WSResult {
        self.received(transport, false);
        self.world.note(|| format!("{}: {frame:?}", self.id));
        if !self.control(transport, frame) {
            let same = self
                .world
                .with(peer(self.id), |sender| sender.out.control_received(frame.msg_type(), frame.payload()));
            self.world.check_ok(self.id, same);
        }
        self.misbehave()
    }

    fn on_ws_disconnected(&mut self, transport: &WSTransport) {
        self.disconnected(transport);
    }

    fn pause_writing(&mut self, transport: &WSTransport) {
        self.writing(transport, true);
    }

    fn resume_writing(&mut self, transport: &WSTransport) {
        self.writing(transport, false);
    }
}

impl Drop for Checker {
    fn drop(&mut self) {
        self.world.with(self.id, |end| end.listener_gone = true);
    }
}
