//! Loops on threads of their own, with a server or a client on them.

use std::cell::RefCell;
use std::future::Future;
use std::net::SocketAddr;
use std::panic;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};

use femtows::{
    WSConnectConfig, WSConnectError, WSError, WSIntoUpgrade, WSListener, WSLoop, WSLoopConfig, WSLoopHandle,
    WSLoopRemote, WSServerConfig, WSTransport, WSUpgradeRequest, ws_connect, ws_create_server,
};

use super::PATIENCE;

thread_local! {
    /// The connections that probes have seen on this thread's loop, in the order of their opening.
    static OPENED: RefCell<Vec<WSTransport>> = const { RefCell::new(Vec::new()) };
}

pub(crate) fn remember(transport: &WSTransport) {
    OPENED.with_borrow_mut(|opened| opened.push(transport.clone()));
}

/// The connections that probes have seen on this thread's loop.
pub(crate) fn opened() -> Vec<WSTransport> {
    OPENED.with_borrow(Vec::clone)
}

/// A loop that runs on a thread of its own until this is dropped.
pub(crate) struct LoopThread {
    pub(crate) remote: WSLoopRemote,
    thread: Option<JoinHandle<()>>,
    /// Disconnected once the loop is gone.
    gone: Receiver<()>,
}

impl LoopThread {
    pub(crate) fn start(config: WSLoopConfig) -> Self {
        let (started, remote) = channel();
        let (alive, gone) = channel();
        let thread = thread::spawn(move || {
            let _alive: Sender<()> = alive;
            let mut event_loop = WSLoop::new(config).unwrap();
            started.send(event_loop.handle().remote()).unwrap();
            event_loop.run().unwrap();
            drop(event_loop);
            OPENED.take();
        });
        Self { remote: remote.recv_timeout(PATIENCE).unwrap(), thread: Some(thread), gone }
    }

    /// Runs `question` on the loop and waits for the answer.
    pub(crate) fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&WSLoopHandle) -> T + Send + 'static,
    ) -> T {
        let (answer, answered) = channel();
        self.remote.post(move |handle| answer.send(question(handle)).unwrap()).unwrap();
        answered.recv_timeout(PATIENCE).expect("an answer from the loop")
    }

    /// Asks the `nth` connection that a probe has seen on this loop.
    pub(crate) fn ask_transport<T: Send + 'static>(
        &self,
        nth: usize,
        question: impl FnOnce(&WSTransport) -> T + Send + 'static,
    ) -> T {
        self.ask(move |_| {
            let transport = OPENED.with_borrow(|opened| opened[nth].clone());
            question(&transport)
        })
    }

    /// Drops the loop and waits until that is done.
    pub(crate) fn stop(mut self) {
        self.join();
    }

    fn join(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        self.remote.stop();
        if self.gone.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            assert!(thread::panicking(), "the loop does not end");
            return;
        }
        if let Err(cause) = thread.join()
            && !thread::panicking()
        {
            panic::resume_unwind(cause);
        }
    }
}

impl Drop for LoopThread {
    fn drop(&mut self) {
        self.join();
    }
}

/// A server on a loop of its own.
pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    pub(crate) on: LoopThread,
}

pub(crate) fn serve<F, R>(config: WSServerConfig, factory: F) -> Server
where
    F: FnMut(&WSUpgradeRequest) -> R + Send + 'static,
    R: WSIntoUpgrade,
{
    serve_on(WSLoopConfig::default(), config, factory)
}

/// A server on a loop of its own, which is to be as `on` says.
pub(crate) fn serve_on<F, R>(on: WSLoopConfig, config: WSServerConfig, factory: F) -> Server
where
    F: FnMut(&WSUpgradeRequest) -> R + Send + 'static,
    R: WSIntoUpgrade,
{
    let on = LoopThread::start(on);
    let addr =
        on.ask(move |handle| ws_create_server(handle, factory, "127.0.0.1:0", config).unwrap().local_addr());
    Server { addr, on }
}

impl Server {
    pub(crate) fn url(&self, path: &str) -> String {
        format!("ws://{}{path}", self.addr)
    }

    /// Slots in use, without that of the listening socket.
    pub(crate) fn slots(&self) -> usize {
        self.on.ask(WSLoopHandle::slots) - 1
    }
}

/// A client on a loop of its own.
pub(crate) struct Client {
    pub(crate) on: LoopThread,
    opened: Receiver<Result<(), WSConnectError>>,
    ended: Receiver<Result<(), WSError>>,
}

/// Begins to connect.
pub(crate) fn connect<L: WSListener + Send + 'static>(
    url: &str,
    config: WSConnectConfig,
    listener: L,
) -> Client {
    let on = LoopThread::start(WSLoopConfig::default());
    let (tell_opened, opened) = channel();
    let (tell_ended, ended) = channel();
    let url = url.to_owned();
    on.ask(move |handle| {
        let connecting = ws_connect(handle, listener, &url, config);
        let task = async move {
            match connecting.await {
                Ok(transport) => {
                    let _ = tell_opened.send(Ok(()));
                    let _ = tell_ended.send(transport.wait_disconnected().await);
                }
                Err(error) => drop(tell_opened.send(Err(error))),
            }
        };
        handle.spawn(task).detach();
    });
    Client { on, opened, ended }
}

impl Client {
    /// What `ws_connect` said.
    pub(crate) fn opened(&self) -> Result<(), WSConnectError> {
        self.opened.recv_timeout(PATIENCE).expect("the opening ends")
    }

    /// What `wait_disconnected` said.
    pub(crate) fn ended(&self) -> Result<(), WSError> {
        self.ended.recv_timeout(PATIENCE).expect("the connection ends")
    }
}

/// `block_on` with an end.
pub(crate) fn block_on<F: Future>(event_loop: &mut WSLoop, future: F) -> F::Output {
    let handle = event_loop.handle();
    event_loop.block_on(handle.timeout(PATIENCE, future)).unwrap().expect("a result in time")
}
