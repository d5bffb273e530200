//! The load generator: raw non-blocking sockets, frames that were encoded and masked beforehand, one thread.
//!
//! It knows nothing of any library. What a server must answer is known byte by byte before the first message is sent, so
//! checking an echo is one comparison of memory, and a wrong one ends the measurement instead of being counted.
//!
//! A [`Fleet`] of connections runs a [`Script`] of exchanges in closed loop: each connection sends a request (one message, or
//! several for a pipeline), and the next one when the reply is complete. Each run begins and ends with nothing in flight, so
//! that the server's CPU time before and after is that of exactly the messages that were counted.

mod broadcast;
mod carrier;
mod compressed;
mod connection;
mod fleet;
mod script;
mod tls_stream;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;
use rustls::ClientConfig;

use crate::peers::Reply;

pub(crate) use broadcast::Broadcast;
pub(crate) use carrier::Carrier;
pub(crate) use compressed::{CompressedFleet, CompressedScript, TRADE};
pub(crate) use fleet::{Fleet, Plan, Until};
pub(crate) use script::{Opcode, Script};
pub(crate) use tls_stream::TlsStream;

/// A server that says nothing for this long is given up.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where a server is.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Its address.
    pub(crate) addr: SocketAddr,
    /// What `Host` says.
    pub(crate) host: String,
    /// Path of echo connections.
    pub(crate) path: String,
    /// What it answers with.
    pub(crate) reply: Reply,
    /// What to connect with by TLS; without TLS none.
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

/// How much of each reply is compared with what it must be. Its length always is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// Every byte.
    Full,
    /// Every byte of messages up to 32 KiB, and of every 16th exchange of larger ones; of the others the first and last
    /// 64 bytes of each piece that arrives, so that the generator does not become the bottleneck.
    Sampled,
}

/// How the generator waits for replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Asleep in epoll.
    Sleeping,
    /// Trying each socket in turn without a pause; for few connections.
    Spinning,
}

/// What a run counted.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Messages whose echo was right; for a broadcast, deliveries.
    pub(crate) messages: u64,
    /// From the first send to the last reply.
    pub(crate) elapsed: Duration,
    /// Time of each exchange in nanoseconds, three digits exact.
    pub(crate) times: Histogram<u64>,
}

impl Outcome {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        let minute = 60_000_000_000;
        let times = Histogram::new_with_bounds(1, minute, 3).expect("the bounds are constant and valid");
        Self { messages: 0, elapsed: Duration::ZERO, times }
    }

    /// Counts an exchange.
    pub(crate) fn record(&mut self, time: Duration, messages: usize) {
        self.messages += messages as u64;
        self.times.saturating_record(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }
}

/// Why a measurement does not count.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// A reply differs from what was sent.
    #[error("wrong echo: byte {at} of a reply to {size} bytes x {depth} differs")]
    Wrong {
        /// Position in the reply, headers included.
        at: usize,
        /// Payload of each message.
        size: usize,
        /// Messages in the request.
        depth: usize,
    },
    /// More bytes than the reply has.
    #[error("{0} bytes too many in a reply")]
    Extra(usize),
    /// A reply to a compressed message is not one compressed message in one frame, or not the message.
    #[error("wrong reply to a compressed message: {0}")]
    Reply(&'static str),
    /// The server ended a connection.
    #[error("the server closed a connection")]
    Closed,
    /// Nothing came for too long.
    #[error("no echo for {} s", PATIENCE.as_secs())]
    Silent,
    /// The system refused something.
    #[error("{0}: {1}")]
    Io(&'static str, io::Error),
}
