use std::any::Any;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::proto::WSCloseCode;
use crate::runtime::{WSError, WSListenerError, WSLoopHandle, WSLoopRemote, WSRemoteError};

use super::accept::AcceptorRemote;

/// A server on several threads: see [`ws_serve_per_core`](crate::ws_serve_per_core). `Send` and `Sync`.
///
/// Dropping it changes nothing: the threads serve on.
pub struct WSServerThreads {
    /// At least one.
    local_addrs: Vec<SocketAddr>,
    members: Vec<Member>,
    orders: Orders,
}

/// One of the threads.
pub(super) struct Member {
    pub(super) acceptor: AcceptorRemote,
    /// Its open connections.
    pub(super) connections: Arc<AtomicUsize>,
    pub(super) thread: JoinHandle<Result<usize, WSError>>,
}

/// What threads have to do when their loops have stopped; nothing: to end.
pub(super) type Orders = Arc<Mutex<Option<Shutdown>>>;

#[derive(Clone)]
pub(super) struct Shutdown {
    pub(super) code: WSCloseCode,
    pub(super) reason: Box<str>,
    pub(super) over: Duration,
    pub(super) deadline: Duration,
}

impl WSServerThreads {
    pub(super) fn new(local_addrs: Vec<SocketAddr>) -> Self {
        Self { local_addrs, members: Vec::new(), orders: Orders::default() }
    }

    pub(super) fn add(&mut self, member: Member) {
        self.members.push(member);
    }

    /// They were added the last one first.
    pub(super) fn in_order(&mut self) {
        self.members.reverse();
    }

    pub(super) fn acceptors(&self) -> Vec<AcceptorRemote> {
        self.members.iter().map(|member| member.acceptor.clone()).collect()
    }

    pub(super) fn orders(&self) -> Orders {
        Arc::clone(&self.orders)
    }

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
        self.members.iter().map(|member| member.acceptor.on_loop())
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

    /// Changes certificate, key and all else that is said of TLS on all threads, for connections that are accepted from now on; see
    /// [`WSServer::set_tls`](crate::WSServer::set_tls). Each thread takes it up in its next turn.
    ///
    /// # Errors
    /// [`WSError::TlsConfig`] if it cannot be used; then nothing has changed on any thread.
    #[cfg(feature = "tls")]
    pub fn set_tls(&self, tls: &crate::tls::WSServerTls) -> Result<(), WSError> {
        // Clones share what is built here, so that no thread can fail.
        tls.build()?;
        for member in &self.members {
            // An error says that this loop has ended.
            let _ = member.acceptor.set_tls(tls.clone());
        }
        Ok(())
    }

    /// Stops accepting on all threads. Open connections live on.
    pub fn close(&self) {
        for member in &self.members {
            // An error says that this loop has ended.
            let _ = member.acceptor.close();
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
        let outcomes: Vec<_> =
            self.members.into_iter().map(|member| Self::outcome(member.thread.join())).collect();
        outcomes.into_iter().sum()
    }

    pub(super) fn outcome(
        joined: Result<Result<usize, WSError>, Box<dyn Any + Send>>,
    ) -> Result<usize, WSError> {
        joined.unwrap_or_else(|panic| Err(WSListenerError::from_panic(&*panic).into()))
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
