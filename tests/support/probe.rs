//! A listener that tells what it sees.

use std::fmt;
use std::sync::mpsc::{Receiver, Sender, channel};

use femtows::{WSDisconnectInfo, WSFrame, WSListener, WSResult, WSTransport};

use super::PATIENCE;
use super::running;
use super::wire::Frame;

/// A callback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Connected,
    Frame(Frame),
    PauseWriting,
    ResumeWriting,
    Disconnected(WSDisconnectInfo),
}

pub(crate) type Log = Sender<Event>;
type Hook<R = ()> = Box<dyn FnMut(&WSTransport) -> R + Send>;
type FrameHook = Box<dyn FnMut(&WSTransport, &mut WSFrame<'_>) -> WSResult + Send>;

/// Logs each callback, then does what it was told to.
pub(crate) struct Probe {
    log: Log,
    connected: Hook<WSResult>,
    frame: FrameHook,
    disconnected: Hook,
    pause_writing: Hook,
    resume_writing: Hook,
}

/// Where probes log to, and what they logged.
pub(crate) fn log() -> (Log, Events) {
    let (log, events) = channel();
    (log, Events(events))
}

impl Probe {
    /// Does nothing but log.
    pub(crate) fn new(log: &Log) -> Self {
        Self {
            log: log.clone(),
            connected: Box::new(|_| Ok(())),
            frame: Box::new(|_, _| Ok(())),
            disconnected: Box::new(|_| ()),
            pause_writing: Box::new(|_| ()),
            resume_writing: Box::new(|_| ()),
        }
    }

    /// Sends every data frame back as it came.
    pub(crate) fn echo(self) -> Self {
        self.on_frame(echo)
    }

    pub(crate) fn on_connected(
        mut self,
        hook: impl FnMut(&WSTransport) -> WSResult + Send + 'static,
    ) -> Self {
        self.connected = Box::new(hook);
        self
    }

    pub(crate) fn on_frame(
        mut self,
        hook: impl FnMut(&WSTransport, &mut WSFrame<'_>) -> WSResult + Send + 'static,
    ) -> Self {
        self.frame = Box::new(hook);
        self
    }

    pub(crate) fn on_disconnected(mut self, hook: impl FnMut(&WSTransport) + Send + 'static) -> Self {
        self.disconnected = Box::new(hook);
        self
    }

    pub(crate) fn on_pause_writing(mut self, hook: impl FnMut(&WSTransport) + Send + 'static) -> Self {
        self.pause_writing = Box::new(hook);
        self
    }

    pub(crate) fn on_resume_writing(mut self, hook: impl FnMut(&WSTransport) + Send + 'static) -> Self {
        self.resume_writing = Box::new(hook);
        self
    }

    /// A test that has ended listens no more.
    fn tell(&self, event: Event) {
        let _ = self.log.send(event);
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the body of a callback")]
pub(crate) fn echo(transport: &WSTransport, frame: &mut WSFrame<'_>) -> WSResult {
    if !frame.msg_type().is_control() {
        transport.send_frame(frame.msg_type(), frame.payload(), frame.send_options());
    }
    Ok(())
}

impl WSListener for Probe {
    fn on_ws_connected(&mut self, transport: &WSTransport) -> WSResult {
        running::remember(transport);
        self.tell(Event::Connected);
        (self.connected)(transport)
    }

    fn on_ws_frame(&mut self, transport: &WSTransport, frame: &mut WSFrame<'_>) -> WSResult {
        let rsv = u8::from(frame.rsv1()) << 2 | u8::from(frame.rsv2()) << 1 | u8::from(frame.rsv3());
        let copy = Frame::new(frame.msg_type().opcode(), frame.payload()).bits(frame.fin(), rsv);
        self.tell(Event::Frame(copy));
        (self.frame)(transport, frame)
    }

    fn on_ws_disconnected(&mut self, transport: &WSTransport) {
        let info = transport.disconnect_info().expect("a connection that has ended says why");
        self.tell(Event::Disconnected(info.clone()));
        (self.disconnected)(transport);
    }

    fn pause_writing(&mut self, transport: &WSTransport) {
        self.tell(Event::PauseWriting);
        (self.pause_writing)(transport);
    }

    fn resume_writing(&mut self, transport: &WSTransport) {
        self.tell(Event::ResumeWriting);
        (self.resume_writing)(transport);
    }
}

/// What probes logged.
pub(crate) struct Events(Receiver<Event>);

impl Events {
    pub(crate) fn next(&self) -> Event {
        self.0.recv_timeout(PATIENCE).expect("a further event")
    }

    pub(crate) fn expect(&self, wanted: &Event) {
        assert_eq!(self.next(), *wanted);
    }

    pub(crate) fn connected(&self) {
        self.expect(&Event::Connected);
    }

    pub(crate) fn frame(&self) -> Frame {
        match self.next() {
            Event::Frame(frame) => frame,
            other => panic!("a frame was expected, not {other:?}"),
        }
    }

    /// The next event is the end.
    pub(crate) fn disconnected(&self) -> WSDisconnectInfo {
        match self.next() {
            Event::Disconnected(info) => info,
            other => panic!("the end was expected, not {other:?}"),
        }
    }

    /// The end, whatever comes before it.
    pub(crate) fn until_disconnected(&self) -> WSDisconnectInfo {
        loop {
            if let Event::Disconnected(info) = self.next() {
                return info;
            }
        }
    }

    /// What is there already.
    pub(crate) fn so_far(&self) -> Vec<Event> {
        self.0.try_iter().collect()
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}
