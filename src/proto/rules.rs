use std::time::Duration;

use super::KeepAliveRules;

/// Which end of the connection this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Sends masked frames, takes unmasked ones; lets the server close TCP first.
    Client,
    /// Sends unmasked frames, takes masked ones; closes TCP first.
    Server,
}

/// What happens to a frame that does not fit under [`Rules::max_outbound`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum WSOverflowPolicy {
    /// The connection is aborted: its peer reads too slowly to be served. The frame and what was queued are lost.
    #[default]
    Close,
    /// The frame is dropped and counted; the connection and what was queued live on.
    ///
    /// A dropped fragment would tear its message. So if it is a fragment that does not fit, the connection is closed.
    DropNew,
}

/// How a connection behaves; shared by all connections of one server.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Rules {
    /// Largest payload of a data frame, in bytes; a larger one is 1009. Default 10 MiB.
    pub max_frame_size: u64,
    /// Largest message, summed over its fragments, in bytes; checked for whole-message listeners. Default 1 MiB.
    pub max_message_size: u64,
    /// Most fragments of one message; checked for whole-message listeners; 0 counts as 1. Default 1 048 576.
    pub max_fragments: u32,
    /// Most bytes that may wait to be sent, frame headers included: queued + this frame <= limit. Default 16 MiB.
    pub max_outbound: usize,
    /// Payloads of at least so many bytes are not copied into the send queue if that can be avoided.
    /// Default 16 KiB.
    pub no_copy_threshold: usize,
    /// What happens beyond `max_outbound`.
    pub overflow_policy: WSOverflowPolicy,
    /// Let frames with reserved bits through to the listener instead of failing with 1002. Default false.
    pub allow_reserved_bits: bool,
    /// Check the UTF-8 of text frames as they arrive, failing with 1007 at the first bad byte. Default false.
    pub validate_utf8: bool,
    /// Answer PING with PONG; answered pings are not delivered. Default true.
    pub enable_auto_pong: bool,
    /// Answer a CLOSE that the listener left unanswered. Default true.
    pub enable_auto_close: bool,
    /// How long the closing handshake, or a graceful disconnect, may take in all. Default 10 s.
    pub close_timeout: Duration,
    /// Pings, the idle timeout and the lifetime. Default none.
    pub keep_alive: KeepAliveRules,
    /// How long the kernel may refuse every byte of a backlog before the connection is aborted. Default forever.
    pub write_timeout: Option<Duration>,
    /// Backlog, in bytes, at or below which writing is resumed. Default 16 KiB.
    pub low_watermark: usize,
    /// Backlog, in bytes, above which writing is paused. Default 64 KiB.
    pub high_watermark: usize,
    /// Hold data frames while writing is paused. Default false.
    pub hold_data_on_backlog: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            max_frame_size: 10 << 20,
            max_message_size: 1 << 20,
            max_fragments: 1 << 20,
            max_outbound: 16 << 20,
            no_copy_threshold: 16 << 10,
            overflow_policy: WSOverflowPolicy::default(),
            allow_reserved_bits: false,
            validate_utf8: false,
            enable_auto_pong: true,
            enable_auto_close: true,
            close_timeout: Duration::from_secs(10),
            keep_alive: KeepAliveRules::default(),
            write_timeout: None,
            low_watermark: 16 * 1024,
            high_watermark: 64 * 1024,
            hold_data_on_backlog: false,
        }
    }
}
