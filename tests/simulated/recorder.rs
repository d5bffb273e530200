//! A listener that remembers what happened to it.

use std::cell::{Ref, RefCell};
use std::rc::Rc;

use femtows::*;

/// What a [`Recorder`] was told. Clones share the memory.
#[derive(Clone, Default)]
pub(crate) struct Log {
    entries: Rc<RefCell<Vec<Entry>>>,
    transport: Rc<RefCell<Option<WSTransport>>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Connected,
    Frame(WSMsgType, Vec<u8>),
    PauseWriting,
    ResumeWriting,
    Disconnected(WSDisconnectCause),
}

/// The logs of a server's connections, in their order. Clones share the memory.
#[derive(Clone, Default)]
pub(crate) struct Logs(Rc<RefCell<Vec<Log>>>);

impl Logs {
    /// Returns a factory whose listeners record into logs of their own.
    pub(crate) fn factory(&self) -> impl Fn(&WSUpgradeRequest) -> Recorder + 'static {
        let logs = self.clone();
        move |_| {
            let log = Log::default();
            logs.0.borrow_mut().push(log.clone());
            Recorder::new(&log)
        }
    }

    pub(crate) fn nth(&self, nth: usize) -> Log {
        self.0.borrow()[nth].clone()
    }
}

impl Log {
    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.entries.borrow().clone()
    }

    pub(crate) fn count(&self, entry: &Entry) -> usize {
        self.entries.borrow().iter().filter(|seen| *seen == entry).count()
    }

    pub(crate) fn last(&self) -> Option<Entry> {
        self.entries.borrow().last().cloned()
    }

    /// Payloads of the frames of one type.
    pub(crate) fn payloads(&self, msg_type: WSMsgType) -> Vec<Vec<u8>> {
        let payload = |entry: &Entry| match entry {
            Entry::Frame(kind, payload) if *kind == msg_type => Some(payload.clone()),
            _ => None,
        };
        self.entries.borrow().iter().filter_map(payload).collect()
    }

    pub(crate) fn transport(&self) -> Ref<'_, WSTransport> {
        Ref::map(self.transport.borrow(), |transport| transport.as_ref().expect("the connection was open"))
    }

    /// Callbacks come in pairs, and nothing comes after the last.
    pub(crate) fn assert_paired(&self) {
        let entries = self.entries();
        let ends = entries.iter().filter(|entry| matches!(entry, Entry::Disconnected(_))).count();
        assert_eq!(self.count(&Entry::Connected), ends, "{entries:?}");
        assert!(entries.is_empty() || matches!(entries.last(), Some(Entry::Disconnected(_))), "{entries:?}");
    }

    fn push(&self, entry: Entry) {
        self.entries.borrow_mut().push(entry);
    }
}

#[derive(Default)]
pub(crate) struct Recorder {
    log: Log,
    echo: bool,
}

impl Recorder {
    pub(crate) fn new(log: &Log) -> Self {
        Self { log: log.clone(), echo: false }
    }

    /// Sends data frames back.
    pub(crate) fn echo(log: &Log) -> Self {
        Self { log: log.clone(), echo: true }
    }
}

impl WSListener for Recorder {
    fn on_ws_connected(&mut self, transport: &WSTransport) -> WSResult {
        self.log.push(Entry::Connected);
        self.log.transport.replace(Some(transport.clone()));
        Ok(())
    }

    fn on_ws_frame(&mut self, transport: &WSTransport, frame: &mut WSFrame<'_>) -> WSResult {
        self.log.push(Entry::Frame(frame.msg_type(), frame.payload().to_vec()));
        if self.echo && !frame.msg_type().is_control() {
            transport.send(frame.msg_type(), frame.payload());
        }
        Ok(())
    }

    fn on_ws_disconnected(&mut self, transport: &WSTransport) {
        let cause = transport.disconnect_info().map(|info| info.cause);
        self.log.push(Entry::Disconnected(cause.expect("the connection has ended")));
    }

    fn pause_writing(&mut self, _: &WSTransport) {
        self.log.push(Entry::PauseWriting);
    }

    fn resume_writing(&mut self, _: &WSTransport) {
        self.log.push(Entry::ResumeWriting);
    }
}
