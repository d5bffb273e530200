//! The compressors of a loop: those that connections share, and those that a connection with context takeover has for itself while it
//! sends.
//!
//! A sender may forget what it has said at any time: a stream that refers to nothing before it is a legal continuation of any other
//! (RFC 7692 section 7.2.1 asks only for references that the peer can follow). So a compressor that was not used for a while goes back to the
//! loop, and the connection takes one again with its next message.

use std::time::Duration;

use crate::deflate::{DeflateDirection, DeflateSettings, Deflater, WSDeflateConfig};
use crate::proto::deadline_after;
use crate::runtime::TimerId;

use super::conn::Conn;
use super::deflate::{ConnDeflate, LoopDeflate};
use super::source::COMPRESSOR;

/// Most compressors that are kept for messages without context: one per window and settings that are in use.
const MAX_SHARED: usize = 16;

/// Most compressors that are kept for connections that will need one.
const MAX_SPARE: usize = 16;

/// What a loop has of compressors that are not a connection's.
#[derive(Default)]
pub(super) struct Compressors {
    /// For messages that do not refer to others.
    shared: Vec<Compressor>,
    /// Those that connections gave back; they remember nothing.
    spare: Vec<Compressor>,
}

struct Compressor {
    direction: DeflateDirection,
    settings: DeflateSettings,
    deflater: Box<Deflater>,
}

impl Compressors {
    /// The compressor for messages by themselves.
    pub(super) fn shared(&mut self, window_bits: u8, settings: DeflateSettings) -> &mut Deflater {
        let direction = DeflateDirection { context_takeover: false, window_bits };
        let position =
            self.shared.iter().position(|kept| kept.fits(direction, settings)).unwrap_or_else(|| {
                let deflater = Box::new(Deflater::new(direction, settings));
                self.shared.truncate(MAX_SHARED - 1);
                self.shared.push(Compressor { direction, settings, deflater });
                self.shared.len() - 1
            });
        &mut self.shared[position].deflater
    }

    /// A compressor that has said nothing.
    fn take(&mut self, direction: DeflateDirection, settings: DeflateSettings) -> Box<Deflater> {
        match self.spare.iter().rposition(|spare| spare.fits(direction, settings)) {
            Some(position) => self.spare.swap_remove(position).deflater,
            None => Box::new(Deflater::new(direction, settings)),
        }
    }

    /// Takes back a compressor; of more than are kept the oldest goes.
    fn give(&mut self, direction: DeflateDirection, settings: DeflateSettings, mut deflater: Box<Deflater>) {
        deflater.forget();
        if self.spare.len() == MAX_SPARE {
            self.spare.remove(0);
        }
        self.spare.push(Compressor { direction, settings, deflater });
    }
}

impl Compressor {
    fn fits(&self, direction: DeflateDirection, settings: DeflateSettings) -> bool {
        self.direction == direction && self.settings == settings
    }
}

/// The compressor of a connection with context takeover.
#[derive(Debug, Default)]
pub(super) struct OwnCompressor {
    /// From the first message on, until none was sent for a while.
    deflater: Option<Box<Deflater>>,
    /// It was used since the timer was set.
    is_used: bool,
    /// Set while there is a compressor, unless it is to be kept for ever. What is sent does not touch it: it looks when it fires.
    timer: Option<TimerId>,
}

impl OwnCompressor {
    /// The next message will not refer to earlier ones.
    pub(super) fn forget(&mut self) {
        if let Some(deflater) = &mut self.deflater {
            deflater.forget();
        }
    }
}

impl Conn {
    /// The connection's compressor, about to be used.
    pub(super) fn own_deflater<'a>(
        &self,
        deflate: &'a mut ConnDeflate,
        config: &WSDeflateConfig,
    ) -> &'a mut Deflater {
        let own = &mut deflate.compressor;
        own.is_used = true;
        if own.deflater.is_none() {
            own.timer = config.compressor_idle_timeout.map(|timeout| self.look_again_in(timeout));
        }
        let direction = deflate.own;
        own.deflater.get_or_insert_with(|| {
            self.core.local::<LoopDeflate>().compressors.borrow_mut().take(direction, config.settings())
        })
    }

    /// The timer has fired: a compressor that was not used since it was set goes back.
    pub(crate) fn compressor_due(&self) {
        let is_idle = self.with_deflate(|deflate, config| {
            let own = &mut deflate.compressor;
            own.timer = None;
            let is_used = std::mem::take(&mut own.is_used);
            if is_used {
                own.timer = config.compressor_idle_timeout.map(|timeout| self.look_again_in(timeout));
            }
            !is_used
        });
        if is_idle == Some(true) {
            self.release_compressor();
        }
    }

    /// Gives the compressor back, if there is one.
    pub(super) fn release_compressor(&self) {
        self.with_deflate(|deflate, config| {
            let own = std::mem::take(&mut deflate.compressor);
            if let Some(timer) = own.timer {
                self.core.cancel_timer(timer);
            }
            if let Some(deflater) = own.deflater {
                let shared = self.core.local::<LoopDeflate>();
                let mut compressors = shared.compressors.borrow_mut();
                compressors.give(deflate.own, config.settings(), deflater);
            }
        });
    }

    fn look_again_in(&self, timeout: Duration) -> TimerId {
        let deadline = deadline_after(self.core.now(), timeout);
        self.core.add_timer(deadline, self.token, COMPRESSOR)
    }
}
