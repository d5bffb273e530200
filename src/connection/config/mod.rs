//! Settings of connections: one setter per field, each with its default, its unit and what it trades.

mod error;
mod liveness;

use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "deflate")]
use crate::deflate::WSDeflateConfig;
use crate::handshake::HandshakeLimits;
use crate::net::SocketOptions;
use crate::proto::{Rules, WSOverflowPolicy};

pub use error::WSConfigError;
pub(crate) use liveness::{LivenessConfig, ReplyTimeout, liveness_setters};

/// When sent frames are handed to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum WSWriteStrategy {
    /// Frames sent while the loop dispatches one event are gathered and leave together when that dispatch ends, in one
    /// system call per connection. Best throughput, and no later than the end of the callback that sent.
    #[default]
    Cork,
    /// Every send is handed to the kernel before it returns. For a callback that goes on computing after it sent.
    Immediate,
}

/// Bounds against abuse: what a peer may make this end spend.
#[derive(Clone, Debug)]
pub struct WSLimits {
    pub(crate) max_frame_size: usize,
    pub(crate) max_message_size: usize,
    pub(crate) max_fragments: u32,
    pub(crate) max_outbound: usize,
    pub(crate) overflow_policy: WSOverflowPolicy,
    pub(crate) max_head_size: usize,
    pub(crate) max_headers: usize,
}

impl Default for WSLimits {
    fn default() -> Self {
        let (rules, head) = (Rules::default(), HandshakeLimits::default());
        Self {
            max_frame_size: rules.max_frame_size as usize,
            max_message_size: rules.max_message_size as usize,
            max_fragments: rules.max_fragments,
            max_outbound: rules.max_outbound,
            overflow_policy: rules.overflow_policy,
            max_head_size: head.max_head,
            max_headers: head.max_headers,
        }
    }
}

impl WSLimits {
    /// Largest payload of a data frame, in bytes; a larger one closes with 1009. Default 10 MiB.
    #[must_use]
    pub fn max_frame_size(mut self, bytes: usize) -> Self {
        self.max_frame_size = bytes;
        self
    }

    /// Sets the largest message over all its fragments, in bytes, for a
    /// [`WSMessageListener`](crate::WSMessageListener) and for tasks. A larger one closes with 1009
    /// as soon as a header makes it certain. Default 1 MiB. A message of one frame is bounded by
    /// [`max_frame_size`](Self::max_frame_size), too. For a compressed message, and any listener, it is
    /// the inflated size.
    #[must_use]
    pub fn max_message_size(mut self, bytes: usize) -> Self {
        self.max_message_size = bytes;
        self
    }

    /// Most fragments of one message for a [`WSMessageListener`](crate::WSMessageListener); more close with 1009; 0
    /// counts as 1. Default 1 048 576.
    #[must_use]
    pub fn max_fragments(mut self, fragments: u32) -> Self {
        self.max_fragments = fragments;
        self
    }

    /// Most bytes that may wait to be sent on one connection, frame headers included. Default 16 MiB.
    ///
    /// The bound is strict: a frame is accepted only if what waits and the whole of the frame fit together. It also bounds
    /// the largest frame that can be sent.
    #[must_use]
    pub fn max_outbound(mut self, bytes: usize) -> Self {
        self.max_outbound = bytes;
        self
    }

    /// What happens to a frame beyond [`max_outbound`](Self::max_outbound). Default: close the connection.
    #[must_use]
    pub fn overflow_policy(mut self, policy: WSOverflowPolicy) -> Self {
        self.overflow_policy = policy;
        self
    }

    /// Largest HTTP head of the opening handshake, in bytes; a larger request is answered with 431. Default 16 KiB.
    #[must_use]
    pub fn max_head_size(mut self, bytes: usize) -> Self {
        self.max_head_size = bytes;
        self
    }

    /// Most headers in an HTTP head; a request with more is answered with 431. Default 128.
    #[must_use]
    pub fn max_headers(mut self, headers: usize) -> Self {
        self.max_headers = headers;
        self
    }

    pub(crate) fn handshake(&self) -> HandshakeLimits {
        HandshakeLimits { max_head: self.max_head_size, max_headers: self.max_headers }
    }
}

/// Settings that trade one kind of speed for another; none changes what a peer can see.
#[derive(Clone, Debug)]
pub struct WSTuning {
    pub(crate) write_strategy: WSWriteStrategy,
    pub(crate) no_copy_threshold: usize,
    pub(crate) low_watermark: usize,
    pub(crate) high_watermark: usize,
    pub(crate) socket: SocketOptions,
    pub(crate) keep_handshake: bool,
    pub(crate) receive_timestamps: bool,
}

impl Default for WSTuning {
    fn default() -> Self {
        Self {
            write_strategy: WSWriteStrategy::default(),
            no_copy_threshold: 16 * 1024,
            low_watermark: 16 * 1024,
            high_watermark: 64 * 1024,
            socket: SocketOptions { no_delay: true, quick_ack: true },
            keep_handshake: true,
            receive_timestamps: false,
        }
    }
}

impl WSTuning {
    /// When frames are handed to the kernel. Default [`WSWriteStrategy::Cork`].
    #[must_use]
    pub fn write_strategy(mut self, strategy: WSWriteStrategy) -> Self {
        self.write_strategy = strategy;
        self
    }

    /// Payloads of at least this many bytes go to the kernel from the caller's memory, in one `writev` with what waits before
    /// them; smaller ones are copied and gathered. Default 16 KiB.
    #[must_use]
    pub fn no_copy_threshold(mut self, bytes: usize) -> Self {
        self.no_copy_threshold = bytes;
        self
    }

    /// `pause_writing` fires when more than `high` bytes wait that the kernel refused, `resume_writing` when no more than `low`
    /// are left. Default 16 KiB and 64 KiB. `low` is lowered to `high` if it is above it.
    #[must_use]
    pub fn write_watermarks(mut self, low: usize, high: usize) -> Self {
        self.low_watermark = low.min(high);
        self.high_watermark = high;
        self
    }

    /// `TCP_NODELAY`: send small segments at once. Default true.
    #[must_use]
    pub fn no_delay(mut self, on: bool) -> Self {
        self.socket.no_delay = on;
        self
    }

    /// `TCP_QUICKACK` (Linux): acknowledge at once when the connection opens; the kernel may leave that mode by itself.
    /// Default true.
    #[must_use]
    pub fn quick_ack(mut self, on: bool) -> Self {
        self.socket.quick_ack = on;
        self
    }

    /// Whether [`WSTransport::request`](crate::WSTransport::request) and `response` stay available, at the price of their
    /// memory. Default true.
    #[must_use]
    pub fn keep_handshake(mut self, on: bool) -> Self {
        self.keep_handshake = on;
        self
    }

    /// Whether the kernel notes when it received what arrives (`SO_TIMESTAMPNS`, Linux), for
    /// [`WSFrame::received_at`](crate::WSFrame::received_at); at the price of a slower system call per read. On other systems
    /// without effect. Default false.
    #[must_use]
    pub fn receive_timestamps(mut self, on: bool) -> Self {
        self.receive_timestamps = on;
        self
    }
}

/// What server and client configurations have in common.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionConfig {
    pub(crate) limits: WSLimits,
    pub(crate) tuning: WSTuning,
    pub(crate) liveness: LivenessConfig,
    pub(crate) handshake_timeout: Option<Duration>,
    pub(crate) close_timeout: Duration,
    pub(crate) write_timeout: Option<Duration>,
    pub(crate) disconnect_on_error: bool,
    pub(crate) pause_reading_on_backlog: bool,
    pub(crate) enable_auto_pong: bool,
    pub(crate) enable_auto_close: bool,
    pub(crate) validate_utf8: bool,
    pub(crate) allow_reserved_bits: bool,
    #[cfg(feature = "deflate")]
    pub(crate) deflate: Option<WSDeflateConfig>,
}

impl Default for ConnectionConfig {
    fn default() -> Self {
        let rules = Rules::default();
        Self {
            limits: WSLimits::default(),
            tuning: WSTuning::default(),
            liveness: LivenessConfig::default(),
            handshake_timeout: Some(Duration::from_secs(5)),
            close_timeout: rules.close_timeout,
            write_timeout: None,
            disconnect_on_error: true,
            pause_reading_on_backlog: false,
            enable_auto_pong: rules.enable_auto_pong,
            enable_auto_close: rules.enable_auto_close,
            validate_utf8: rules.validate_utf8,
            allow_reserved_bits: rules.allow_reserved_bits,
            #[cfg(feature = "deflate")]
            deflate: None,
        }
    }
}

impl ConnectionConfig {
    /// What cannot be kept is the caller's fault, and told before anything is opened.
    pub(crate) fn check(&self) -> Result<(), WSConfigError> {
        #[cfg(feature = "deflate")]
        if let Some(deflate) = &self.deflate {
            deflate.check().map_err(WSConfigError::Argument)?;
        }
        if self.write_timeout.is_some_and(|timeout| timeout.is_zero()) {
            return Err(WSConfigError::Argument("write_timeout must be more than zero"));
        }
        self.liveness.check()
    }

    pub(crate) fn rules(&self) -> Arc<Rules> {
        Arc::new(Rules {
            max_frame_size: self.limits.max_frame_size as u64,
            max_message_size: self.limits.max_message_size as u64,
            max_fragments: self.limits.max_fragments,
            max_outbound: self.limits.max_outbound,
            no_copy_threshold: self.tuning.no_copy_threshold,
            overflow_policy: self.limits.overflow_policy,
            allow_reserved_bits: self.allow_reserved_bits,
            validate_utf8: self.validate_utf8,
            enable_auto_pong: self.enable_auto_pong,
            enable_auto_close: self.enable_auto_close,
            close_timeout: self.close_timeout,
            keep_alive: self.liveness.rules(),
            write_timeout: self.write_timeout,
            low_watermark: self.tuning.low_watermark,
            high_watermark: self.tuning.high_watermark,
            hold_data_on_backlog: self.pause_reading_on_backlog,
        })
    }
}

/// The setters that `WSServerConfig` and `WSConnectConfig` share.
macro_rules! connection_setters {
    () => {
        /// Bounds against abuse.
        #[must_use]
        pub fn limits(mut self, limits: WSLimits) -> Self {
            self.connection.limits = limits;
            self
        }

        /// Settings that trade one kind of speed for another.
        #[must_use]
        pub fn tuning(mut self, tuning: WSTuning) -> Self {
            self.connection.tuning = tuning;
            self
        }

        /// Short for [`WSLimits::max_frame_size`].
        #[must_use]
        pub fn max_frame_size(mut self, bytes: usize) -> Self {
            self.connection.limits.max_frame_size = bytes;
            self
        }

        /// Absolute deadline of the whole opening, from the first step of the connect (client) or the accept (server) on.
        /// Single bytes do not extend it. `None`: no deadline. Default 5 s.
        #[must_use]
        pub fn handshake_timeout(mut self, timeout: Option<Duration>) -> Self {
            self.connection.handshake_timeout = timeout;
            self
        }

        /// Absolute deadline of the closing handshake, or of a graceful disconnect, from its first step on. Default 10 s.
        #[must_use]
        pub fn close_timeout(mut self, timeout: Duration) -> Self {
            self.connection.close_timeout = timeout;
            self
        }

        /// Sets the time after which the connection ends if bytes wait to be sent and the kernel
        /// has taken none of them: the peer does not read. The cause is
        /// [`WriteTimeout`](crate::WSDisconnectCause::WriteTimeout). `None`: never. More than zero.
        /// Default 30 s for a server, never for a client.
        ///
        /// Each byte that the kernel takes begins the time anew, so a slow reader is not affected.
        /// It applies while closing, too, within the [`close_timeout`](Self::close_timeout).
        #[must_use]
        pub fn write_timeout(mut self, timeout: Option<Duration>) -> Self {
            self.connection.write_timeout = timeout;
            self
        }

        /// Whether an `Err` from `on_ws_frame` closes the connection with 1011; if not, it is logged. A
        /// [`WSProtocolError`](crate::WSProtocolError) always closes, with its own code. Default true.
        #[must_use]
        pub fn disconnect_on_error(mut self, on: bool) -> Self {
            self.connection.disconnect_on_error = on;
            self
        }

        /// Stops delivery before the next data frame while more than the high watermark
        /// ([`write_watermarks`](crate::WSTuning::write_watermarks)) waits to be sent. Delivery
        /// goes on when the backlog has sunk to the low watermark. Default false.
        ///
        /// For a listener that answers what it receives, such as an echo: a peer that sends without
        /// reading then waits, instead of growing the backlog with its answers. PING, PONG and
        /// CLOSE in front of the next data frame are served meanwhile, and silence is not counted
        /// against the peer. Not for a protocol in which the local end has to receive in order to
        /// finish its sends: two ends that both wait for the other to read wait for ever. Described
        /// in [the manual](crate::manual::back_pressure).
        #[must_use]
        pub fn pause_reading_on_backlog(mut self, on: bool) -> Self {
            self.connection.pause_reading_on_backlog = on;
            self
        }

        /// Whether PINGs are answered here. Answered ones are not delivered to the listener; with `false` the listener sees
        /// them and answers. Default true.
        #[must_use]
        pub fn enable_auto_pong(mut self, on: bool) -> Self {
            self.connection.enable_auto_pong = on;
            self
        }

        /// Answers a CLOSE that the listener left unanswered, with the same code and reason. With
        /// `false` the listener answers and disconnects, as in picows. Default true.
        #[must_use]
        pub fn enable_auto_close(mut self, on: bool) -> Self {
            self.connection.enable_auto_close = on;
            self
        }

        /// Whether text frames are checked for UTF-8 before they reach `on_ws_frame`, as they arrive, closing with 1007 at
        /// the first bad byte (RFC 6455 section 8.1), and compressed ones when they are inflated. Default false: a listener that looks at the text checks it anyway. A
        /// [`WSMessageListener`](crate::WSMessageListener) gets checked text whatever is set here.
        #[must_use]
        pub fn validate_utf8(mut self, on: bool) -> Self {
            self.connection.validate_utf8 = on;
            self
        }

        /// Whether frames with reserved bits set reach the listener, which then knows the extension they belong to. Default
        /// false: they close with 1002 (RFC 6455 section 5.2).
        #[must_use]
        pub fn allow_reserved_bits(mut self, on: bool) -> Self {
            self.connection.allow_reserved_bits = on;
            self
        }

        /// Compression of messages (permessage-deflate, RFC 7692): offered by a client, accepted by a server. Default `None`: neither.
        ///
        /// Nothing else is needed. Whatever sends a message then compresses it
        /// ([`WSTransport`](crate::WSTransport#compression)), and messages that arrive compressed are
        /// inflated before they are delivered. A [`WSListener`](crate::WSListener) gets such a message as
        /// one frame with [`fin`](crate::WSFrame::fin) and without [`rsv1`](crate::WSFrame::rsv1). The
        /// limit of its inflated size is [`max_message_size`](crate::WSLimits::max_message_size).
        #[cfg(feature = "deflate")]
        #[must_use]
        pub fn deflate(mut self, config: impl Into<Option<$crate::deflate::WSDeflateConfig>>) -> Self {
            self.connection.deflate = config.into();
            self
        }
    };
}

pub(crate) use connection_setters;
