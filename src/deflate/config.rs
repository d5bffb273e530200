//! What may be chosen about compression.

use std::time::Duration;

use super::{DeflatePreferences, DeflateSettings, MAX_WINDOW_BITS, MIN_WINDOW_BITS};

/// How messages are compressed (permessage-deflate, RFC 7692); for [`WSServerConfig::deflate`](crate::WSServerConfig::deflate) and
/// [`WSConnectConfig::deflate`](crate::WSConnectConfig::deflate).
///
/// By default no message refers to an earlier one, so that a connection owns no memory for compression: the loop has one compressor for
/// all. Small messages that resemble each other compress much better with context takeover, at the price of memory per connection, from
/// the first compressed message on: a compressor while it [is used](Self::compressor_idle_timeout), and for as long as the connection is
/// open what the peer's messages have said, as far back as later ones may refer to it.
///
/// | per connection with takeover | window 15, memory level 8 | window 12, memory level 5 |
/// |---|---|---|
/// | compressor in use, level 1 | 128 KiB | 16 KiB |
/// | compressor in use, other levels | 372 KiB | 161 KiB |
/// | what the peer has said | at most 32 KiB | at most 4 KiB |
///
/// Values out of range are a [`WSError::InvalidArgument`](crate::WSError::InvalidArgument) of the call that gets the configuration.
///
/// Compression lets whoever can choose part of a message and see the length of what is sent guess the rest of it: do not compress
/// secrets together with what a stranger has written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WSDeflateConfig {
    preferences: DeflatePreferences,
    settings: DeflateSettings,
    threshold: usize,
    pub(crate) compressor_idle_timeout: Option<Duration>,
}

impl Default for WSDeflateConfig {
    fn default() -> Self {
        Self {
            preferences: DeflatePreferences {
                own_context_takeover: false,
                peer_context_takeover: false,
                own_max_window_bits: MAX_WINDOW_BITS,
                peer_max_window_bits: MAX_WINDOW_BITS,
            },
            settings: DeflateSettings { level: 1, memory_level: 8 },
            threshold: 128,
            compressor_idle_timeout: Some(Duration::from_secs(5)),
        }
    }
}

impl WSDeflateConfig {
    /// For many small messages that resemble each other, such as market data: context takeover both ways with windows of 4 KiB, memory
    /// level 5, level 1, from 32 bytes on.
    pub fn small_feeds() -> Self {
        Self::default().context_takeover(true).max_window_bits(12).memory_level(5).threshold(32)
    }

    /// Both [`own_context_takeover`](Self::own_context_takeover) and [`peer_context_takeover`](Self::peer_context_takeover).
    #[must_use]
    pub fn context_takeover(self, on: bool) -> Self {
        self.own_context_takeover(on).peer_context_takeover(on)
    }

    /// Both [`own_max_window_bits`](Self::own_max_window_bits) and [`peer_max_window_bits`](Self::peer_max_window_bits).
    #[must_use]
    pub fn max_window_bits(self, bits: u8) -> Self {
        self.own_max_window_bits(bits).peer_max_window_bits(bits)
    }

    /// Whether messages of this end may refer to its earlier ones, if the peer agrees. Default false.
    #[must_use]
    pub fn own_context_takeover(mut self, on: bool) -> Self {
        self.preferences.own_context_takeover = on;
        self
    }

    /// Whether the peer's messages may refer to its earlier ones. Default false. A server that does not care about the wish of a client
    /// is served all the same, and costs the memory.
    #[must_use]
    pub fn peer_context_takeover(mut self, on: bool) -> Self {
        self.preferences.peer_context_takeover = on;
        self
    }

    /// How far back messages of this end may refer, as a power of two, 8 (256 bytes) to 15 (32 KiB). Default 15.
    ///
    /// With 8, here or by the peer's wish, only messages of at most 256 bytes are compressed, and none refers to an earlier one.
    #[must_use]
    pub fn own_max_window_bits(mut self, bits: u8) -> Self {
        self.preferences.own_max_window_bits = bits;
        self
    }

    /// How far back the peer's messages may refer, as a power of two, 8 (256 bytes) to 15 (32 KiB). Default 15.
    ///
    /// A client that cannot be limited is asked not to refer to earlier messages at all.
    #[must_use]
    pub fn peer_max_window_bits(mut self, bits: u8) -> Self {
        self.preferences.peer_max_window_bits = bits;
        self
    }

    /// Effort of compression, 1 (fast) to 9 (small). Default 1, which has a compressor of its own: one pass with the fixed code of
    /// DEFLATE. From 2 on zlib's (zlib-rs) makes a code for each block.
    #[must_use]
    pub fn level(mut self, level: u8) -> Self {
        self.settings.level = level;
        self
    }

    /// Memory of the compressor, 1 to 9; each step doubles what it is for: at level 1 places of what was said before, two bytes each
    /// (64 KiB at 8), else symbols that wait to be coded. Default 8.
    #[must_use]
    pub fn memory_level(mut self, level: u8) -> Self {
        self.settings.memory_level = level;
        self
    }

    /// Messages of fewer bytes are sent as they are. Default 128: a shorter one hardly gets shorter by itself. With context takeover much shorter ones are worth it.
    #[must_use]
    pub fn threshold(mut self, bytes: usize) -> Self {
        self.threshold = bytes;
        self
    }

    /// After how long without a compressed message of this end the connection gives its compressor back to the loop. Only with
    /// [`own_context_takeover`](Self::own_context_takeover). `None`: never. Default 5 s.
    ///
    /// It happens once this time, and at the latest twice this time, after the last such message. The next message is then the first of a
    /// new context, and longer for it; the peer notices nothing else (RFC 7692 section 7.2.1). With 0 it happens in the next turn
    /// of the loop. What the *peer* may refer to cannot be given back: a smaller
    /// [`peer_max_window_bits`](Self::peer_max_window_bits) makes it less.
    #[must_use]
    pub fn compressor_idle_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.compressor_idle_timeout = timeout;
        self
    }

    /// Returns what is wrong with a value that is out of its range.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        let windows = MIN_WINDOW_BITS..=MAX_WINDOW_BITS;
        let DeflatePreferences { own_max_window_bits, peer_max_window_bits, .. } = &self.preferences;
        if !windows.contains(own_max_window_bits) || !windows.contains(peer_max_window_bits) {
            return Err("window bits of deflate must be within 8 to 15");
        }
        if !(1..=9).contains(&self.settings.level) {
            return Err("the level of deflate must be within 1 to 9");
        }
        if !(1..=9).contains(&self.settings.memory_level) {
            return Err("the memory level of deflate must be within 1 to 9");
        }
        Ok(())
    }

    pub(crate) fn preferences(&self) -> DeflatePreferences {
        self.preferences
    }

    pub(crate) fn settings(&self) -> DeflateSettings {
        self.settings
    }

    /// Whether a message of `len` bytes is worth the effort.
    pub(crate) fn wants(&self, len: usize) -> bool {
        len >= self.threshold
    }
}
