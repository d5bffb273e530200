//! The compressors of a loop: those that connections share, and those that a connection with context takeover has for itself while it
//! sends.
//!
//! A sender may forget what it has said at any time: a stream that refers to nothing before it is a legal continuation of any other
//! (RFC 7692 section 7.2.1 asks only for references that the peer can follow). So a compressor that was not used for a while goes back to the
//! loop, and the connection takes one again with its next message.

use crate::deflate::{DeflateDirection, DeflateSettings, Deflater};
use crate::proto::deadline_after;
use crate::runtime::TimerId;

use super::conn::COMPRESSOR;
use super::deflate::{DeflateContext, LoopDeflate};

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
    /// Returns the compressor, about to be used.
    pub(super) fn get(&mut self, own: DeflateDirection, context: DeflateContext<'_>) -> &mut Deflater {
        let DeflateContext { core, config, .. } = context;
        self.is_used = true;
        if self.deflater.is_none() {
            self.timer = look_again(context);
        }
        self.deflater
            .get_or_insert_with(|| core.local::<LoopDeflate>().compressors().take(own, config.settings()))
    }

    /// Makes the next message refer to nothing that came before.
    pub(super) fn forget(&mut self) {
        if let Some(deflater) = &mut self.deflater {
            deflater.forget();
        }
    }

    /// Gives the compressor back if it was not used since the timer was set, which has fired.
    pub(super) fn due(&mut self, own: DeflateDirection, context: DeflateContext<'_>) {
        self.timer = None;
        if std::mem::take(&mut self.is_used) {
            self.timer = look_again(context);
        } else {
            self.release(own, context);
        }
    }

    /// Gives the compressor back, if there is one.
    pub(super) fn release(&mut self, own: DeflateDirection, context: DeflateContext<'_>) {
        let Self { deflater, timer, .. } = std::mem::take(self);
        if let Some(timer) = timer {
            context.core.cancel_timer(timer);
        }
        if let Some(deflater) = deflater {
            let shared = context.core.local::<LoopDeflate>();
            shared.compressors().give(own, context.config.settings(), deflater);
        }
    }
}

/// Sets the timer after which an unused compressor goes back, unless it is to be kept for ever.
fn look_again(context: DeflateContext<'_>) -> Option<TimerId> {
    let DeflateContext { core, token, config } = context;
    let timeout = config.compressor_idle_timeout?;
    Some(core.add_timer(deadline_after(core.now(), timeout), token, COMPRESSOR))
}
