//! One server on several threads, each with a loop of its own.

use std::net::{SocketAddr, ToSocketAddrs};
use std::num::NonZero;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, PoisonError};
use std::thread;

use crate::handshake::WSUpgradeRequest;
use crate::net::{ListenError, Listening};
use crate::runtime::{WSError, WSLoop, WSLoopHandle};
use crate::server::{WSPerCoreConfig, WSServerConfig, WSSpread};
use crate::sys;

use super::accept::AcceptorRemote;
use super::threads::{Member, Orders};
use super::{WSIntoUpgrade, WSServer, WSServerThreads};

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
    let mut server = WSServerThreads::new(local_addrs);
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
                WSSpread::RoundRobin if number == 0 => server.acceptors(),
                _ => Vec::new(),
            },
            orders: server.orders(),
        };
        let (started, remote) = channel();
        let thread = thread::Builder::new()
            .name(format!("{}-{number}", threads.thread_name))
            .spawn(move || start.run(&started))
            .map_err(|error| WSError::io("cannot start a thread", error));
        let failure = match thread {
            Err(error) => Some(error),
            Ok(thread) => match remote.recv() {
                Ok(acceptor) => {
                    server.add(Member { acceptor, connections: shared, thread });
                    None
                }
                Err(_) => WSServerThreads::outcome(thread.join()).err(),
            },
        };
        if let Some(error) = failure {
            server.stop();
            let _ = server.join();
            return Err(error);
        }
    }
    server.in_order();
    Ok(server)
}

/// Returns the addresses, and the sockets of each thread that listens.
fn bind(
    addr: impl ToSocketAddrs,
    config: &WSServerConfig,
    spread: WSSpread,
    threads: usize,
) -> Result<(Vec<SocketAddr>, Vec<Vec<Listening>>), WSError> {
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
    successors: Vec<AcceptorRemote>,
    orders: Orders,
}

impl<M> Start<M> {
    /// Serves until it is told to stop. Returns how many connections a shutdown had to abort.
    fn run<F, R>(self, started: &Sender<AcceptorRemote>) -> Result<usize, WSError>
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
