use super::WSLoopConfig;

/// How the connections of a server with several threads find their thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WSSpread {
    /// Each thread listens on a socket of its own at the same address (`SO_REUSEPORT`), and the kernel chooses one by a hash of the
    /// peer's address and port. No thread waits for another; a few connections may be spread unevenly. Other processes of the same
    /// user may listen at that address, too. Default on Linux, the only system where it is sure that the kernel balances.
    Kernel,
    /// The first thread accepts, and hands the connections to all threads in turn, itself included. Exactly even, at the price of a
    /// wake-up per connection. A thread that holds
    /// [`max_connections`](crate::WSServerConfig::max_connections) is passed over. Default
    /// elsewhere.
    RoundRobin,
}

impl Default for WSSpread {
    fn default() -> Self {
        if cfg!(target_os = "linux") { Self::Kernel } else { Self::RoundRobin }
    }
}

/// The threads of [`ws_serve_per_core`](crate::ws_serve_per_core).
#[derive(Clone, Debug)]
pub struct WSPerCoreConfig {
    pub(crate) threads: usize,
    pub(crate) pin: bool,
    pub(crate) spread: WSSpread,
    pub(crate) loop_config: WSLoopConfig,
    pub(crate) thread_name: String,
}

impl Default for WSPerCoreConfig {
    fn default() -> Self {
        Self {
            threads: 0,
            pin: false,
            spread: WSSpread::default(),
            loop_config: WSLoopConfig::default(),
            thread_name: "femtows".into(),
        }
    }
}

impl WSPerCoreConfig {
    /// Number of threads. Default zero: as many as the process can run in parallel.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// Whether each thread is kept on a core of its own, of those that the process may use. Linux only: elsewhere, and where it is
    /// refused, the threads run unpinned, which is logged. Default false.
    #[must_use]
    pub fn pin(mut self, on: bool) -> Self {
        self.pin = on;
        self
    }

    /// How connections find their thread. Default [`WSSpread::default`].
    #[must_use]
    pub fn spread(mut self, spread: WSSpread) -> Self {
        self.spread = spread;
        self
    }

    /// Configuration of each thread's loop. Its limits hold for each loop by itself.
    #[must_use]
    pub fn loop_config(mut self, config: WSLoopConfig) -> Self {
        self.loop_config = config;
        self
    }

    /// What the threads are called; a number follows. Default `femtows`.
    #[must_use]
    pub fn thread_name(mut self, name: impl Into<String>) -> Self {
        self.thread_name = name.into();
        self
    }
}
