//! One server on several threads, each with a loop of its own.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::net::{ListenError, Listening};
use crate::proto::WSCloseCode;
use crate::runtime::{
    WSError, WSListenerError, WSLoop, WSLoopHandle, WSLoopRemote, WSMetricsSnapshot, WSRemoteError,
};
use crate::server::{WSPerCoreConfig, WSServerConfig, WSSpread};
use crate::sys;
#[cfg(feature = "tls")]
use crate::tls::{WSServerTls, WSTlsConfigError};

use super::{WSIntoUpgrade, WSServeError, WSServer, WSServerRemote, WSUpgradeRequest};

/// [`ws_create_server`](crate::ws_create_server) on several threads: each has a loop of its own, and a connection stays on the thread
/// that it came to.
///
/// `make_factory` runs once on each thread, with that thread's loop, and makes the factory of its connections. It is cloned and sent to
/// the threads; the factory and the listeners need not be `Send`. What all threads share goes into `make_factory`.
///
/// Each loop counts for itself: with [`max_connections`](WSServerConfig::max_connections) of 1000,
/// four threads hold 4000. With [`WSSpread::RoundRobin`] a connection counts before it is handed to
/// its thread, so that connections do not pile up in front of a busy loop. A thread without room is
/// passed over; a connection for which no thread has room is closed.
///
/// ```no_run
/// # use femtows::*;
/// # struct Echo;
/// # impl WSListener for Echo {
/// #     fn on_ws_frame(&mut self, _: &WSTransport, _: &mut WSFrame<'_>) -> WSResult { Ok(()) }
/// # }
/// # fn main() -> Result<(), WSError> {
/// let make_factory = |_: &WSLoopHandle| |_: &WSUpgradeRequest| Echo;
/// let threads = WSPerCoreConfig::default().pin(true);
/// let server = ws_serve_per_core(make_factory, "0.0.0.0:9001", WSServerConfig::default(), threads)?;
/// server.join()?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`WSError::Io`] if an address cannot be bound, which it names, or the system has no room for the
/// threads and their loops; [`WSError::Listener`] if
/// `make_factory` panics. No thread is left running then.
#[expect(clippy::needless_pass_by_value, reason = "configurations are handed over, as to ws_create_server")]
pub fn ws_serve_per_core<M, F, R>(
    make_factory: M,
    addr: impl ToSocketAddrs,
    config: WSServerConfig,
    threads: WSPerCoreConfig,
) -> Result<WSServerThreads, WSError>
where
    M: FnOnce(&WSLoopHandle) -> F + Clone + Send + 'static,
    F: FnMut(&WSUpgradeRequest) -> R + 'static,
    R: WSIntoUpgrade,
{
    let count = match threads.threads {
        0 => thread::available_parallelism().map_or(1, NonZero::get),
        count => count,
    };
    let (local_addrs, mut sockets) = bind(addr, &config, threads.spread, count)?;
    let cpus = if threads.pin { sys::allowed_cpus() } else { Vec::new() };
    let mut server = WSServerThreads { local_addrs, members: Vec::new(), orders: Orders::default() };
    let accepts_itself = |number| threads.spread == WSSpread::Kernel || number == 0;
    // The thread that may hand connections to the others comes last.
    for number in (0..count).rev() {
        let shared = Arc::new(AtomicUsize::new(0));
        let start = Start {
            make_factory: make_factory.clone(),
            config: WSServerConfig { open_connections: Some(Arc::clone(&shared)), ..config.clone() },
            threads: threads.clone(),
            cpu: threads.pin.then(|| cpus.get(number % cpus.len().max(1)).copied().unwrap_or(usize::MAX)),
            sockets: if accepts_itself(number) { sockets.pop().unwrap_or_default() } else { Vec::new() },
            successors: match threads.spread {
                WSSpread::RoundRobin if number == 0 => {
                    server.members.iter().map(|member| member.server.clone()).collect()
                }
                _ => Vec::new(),
            },
            orders: Arc::clone(&server.orders),
        };
        let (started, ready) = channel();
        let thread = thread::Builder::new()
            .name(format!("{}-{number}", threads.thread_name))
            .spawn(move || start.run(&started))
            .map_err(|error| WSError::io("cannot start a thread", error));
        let failure = match thread {
            Err(error) => Some(error),
            Ok(thread) => match ready.recv() {
                Ok(server_remote) => {
                    server.members.insert(0, Member { server: server_remote, connections: shared, thread });
                    None
                }
                Err(_) => outcome(thread).err(),
            },
        };
        if let Some(error) = failure {
            server.stop();
            let _ = server.join();
            return Err(error);
        }
    }
    Ok(server)
}

/// Waits for a thread. Returns what it returned; a panic is an error.
fn outcome(thread: JoinHandle<Result<usize, WSError>>) -> Result<usize, WSError> {
    thread.join().unwrap_or_else(|panic| Err(WSListenerError::from_panic(&*panic).into()))
}

/// Returns the addresses, and the sockets of each thread that listens.
fn bind(
    addr: impl ToSocketAddrs,
    config: &WSServerConfig,
    spread: WSSpread,
    threads: usize,
) -> Result<(Vec<SocketAddr>, Vec<Vec<Listening>>), WSServeError> {
    let mut options = config.listen;
    options.reuse_port |= spread == WSSpread::Kernel && threads > 1;
    let first = Listening::bind(addr, options)?;
    let mut local_addrs = Vec::new();
    for socket in &first {
        local_addrs.extend(socket.local_addr().map_err(ListenError::from)?);
    }
    let mut sockets = vec![first];
    while spread == WSSpread::Kernel && sockets.len() < threads {
        sockets.push(Listening::bind(&local_addrs[..], options)?);
    }
    Ok((local_addrs, sockets))
}

/// What a thread begins with.
struct Start<M> {
    make_factory: M,
    config: WSServerConfig,
    threads: WSPerCoreConfig,
    cpu: Option<usize>,
    /// Empty if another thread accepts for this one.
    sockets: Vec<Listening>,
    /// The other threads' servers, if this one accepts for them.
    successors: Vec<WSServerRemote>,
    orders: Orders,
}

impl<M> Start<M> {
    /// Serves until it is told to stop. Returns how many connections a shutdown had to abort.
    fn run<F, R>(self, started: &Sender<WSServerRemote>) -> Result<usize, WSError>
    where
        M: FnOnce(&WSLoopHandle) -> F,
        F: FnMut(&WSUpgradeRequest) -> R + 'static,
        R: WSIntoUpgrade,
    {
        if let Some(cpu) = self.cpu
            && let Err(error) = sys::pin_thread(cpu)
        {
            log::warn!("cannot pin a thread: {error}");
        }
        let mut event_loop = WSLoop::new(self.threads.loop_config)?;
        let handle = event_loop.handle();
        let factory = (self.make_factory)(&handle);
        let server = WSServer::start(&handle, factory, self.config)?;
        let acceptor = server.acceptor().remote().ok_or(WSError::Disconnected)?;
        if !self.successors.is_empty() {
            let all = std::iter::once(acceptor.clone()).chain(self.successors).collect();
            server.acceptor().hand_round(all);
        }
        let server = server.listen(self.sockets)?;
        let _ = started.send(acceptor);
        event_loop.run()?;
        let shutdown = self.orders.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match shutdown {
            Some(order) => {
                event_loop.block_on(server.shutdown(order.code, &order.reason, order.over, order.deadline))
            }
            None => Ok(0),
        }
    }
}

/// A server on several threads: see [`ws_serve_per_core`]. `Send` and `Sync`.
///
/// Dropping it changes nothing: the threads serve on.
pub struct WSServerThreads {
    /// At least one.
    local_addrs: Vec<SocketAddr>,
    members: Vec<Member>,
    orders: Orders,
}

/// One of the threads.
struct Member {
    server: WSServerRemote,
    /// Its open connections.
    connections: Arc<AtomicUsize>,
    thread: JoinHandle<Result<usize, WSError>>,
}

/// What threads have to do when their loops have stopped; nothing: to end.
type Orders = Arc<Mutex<Option<Shutdown>>>;

#[derive(Clone)]
struct Shutdown {
    code: WSCloseCode,
    reason: Box<str>,
    over: Duration,
    deadline: Duration,
}

impl WSServerThreads {
    /// Returns the first address that all threads serve.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addrs[0]
    }

    /// Returns all addresses that all threads serve, in the order in which they were given.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.local_addrs
    }

    /// Number of threads.
    pub fn threads(&self) -> usize {
        self.members.len()
    }

    /// The loops.
    pub fn loops(&self) -> impl ExactSizeIterator<Item = &WSLoopRemote> {
        self.members.iter().map(|member| member.server.on_loop())
    }

    /// Calls `f` once on each thread. Threads that have ended are left out.
    ///
    /// To send the same to all connections, clone a [`WSPreparedFrame`](crate::WSPreparedFrame) into it: that is encoded once.
    ///
    /// # Errors
    /// [`WSRemoteError::InboxFull`] if the inbox of a thread is full; the other threads call `f`
    /// all the same.
    pub fn post_each(
        &self,
        f: impl FnOnce(&WSLoopHandle) + Clone + Send + 'static,
    ) -> Result<(), WSRemoteError> {
        let mut outcome = Ok(());
        for on_loop in self.loops() {
            match on_loop.post(f.clone()) {
                // This thread has ended.
                Ok(()) | Err(WSRemoteError::LoopClosed) => {}
                Err(error) => outcome = Err(error),
            }
        }
        outcome
    }

    /// Number of open connections on all threads, without those whose opening or closing is not done. Costs nothing on the threads.
    pub fn connections(&self) -> usize {
        self.connections_by_thread().sum()
    }

    /// Number of open connections on each thread.
    pub fn connections_by_thread(&self) -> impl ExactSizeIterator<Item = usize> {
        self.members.iter().map(|member| member.connections.load(Ordering::Relaxed))
    }

    /// Returns what all threads have counted together, those that have ended included: counters
    /// add up, of times the longest counts. Costs nothing on the threads.
    ///
    /// [`loops`](Self::loops) has the counters of each by [`WSLoopRemote::metrics`].
    pub fn metrics(&self) -> WSMetricsSnapshot {
        self.loops().map(|on_loop| on_loop.metrics().snapshot()).sum()
    }

    /// Changes certificate, key and all else that is said of TLS on all threads, for connections that are accepted from now on; see
    /// [`WSServer::set_tls`](crate::WSServer::set_tls). Each thread takes it up in its next turn.
    ///
    /// # Errors
    /// If it cannot be used; then nothing has changed on any thread.
    #[cfg(feature = "tls")]
    pub fn set_tls(&self, tls: &WSServerTls) -> Result<(), WSTlsConfigError> {
        // Clones share what is built here, so that no thread can fail.
        tls.build()?;
        for member in &self.members {
            // An error says that this loop has ended.
            let _ = member.server.set_tls(tls);
        }
        Ok(())
    }

    /// Stops accepting on all threads. Open connections live on.
    pub fn close(&self) {
        for member in &self.members {
            // An error says that this loop has ended.
            let _ = member.server.close();
        }
    }

    /// Ends all threads; what is open on them is aborted, each connection with its `on_ws_disconnected`. [`join`](Self::join) waits for
    /// it.
    pub fn stop(&self) {
        self.loops().for_each(WSLoopRemote::stop);
    }

    /// Has each thread shut its server down and end: see [`WSServer::shutdown`](crate::WSServer::shutdown). Returns at once;
    /// [`join`](Self::join) waits for it. The first call counts.
    pub fn shutdown(&self, code: WSCloseCode, reason: &str, over: Duration, deadline: Duration) {
        let order = Shutdown { code, reason: reason.into(), over, deadline };
        self.orders.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(order);
        self.stop();
    }

    /// Waits until all threads have ended. Returns how many connections a shutdown had to abort.
    ///
    /// # Errors
    /// The first error of a thread: [`WSError::Io`] if the system cannot be polled, [`WSError::Listener`] if it panicked.
    pub fn join(self) -> Result<usize, WSError> {
        let outcomes: Vec<_> = self.members.into_iter().map(|member| outcome(member.thread)).collect();
        outcomes.into_iter().sum()
    }
}

impl fmt::Debug for WSServerThreads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WSServerThreads")
            .field("local_addrs", &self.local_addrs)
            .field("connections", &self.connections_by_thread().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}
