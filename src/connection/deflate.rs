//! Compression of messages on an open connection, and what the connections of a loop share for it.

use std::cell::{Cell, RefCell, RefMut};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::buf::{ScratchBuffer, WS_HEADROOM};
use crate::deflate::{
    DeflateDirection, DeflateParameters, DeflateSettings, Deflater, Inflater, MAX_WINDOW_BITS,
    WSDeflateConfig, accept_offer, check_response,
};
use crate::handshake::{
    WSHandshakeError, WSRequestHead, WSUpgradeResponse, add_extension, extension_values, invalid_extensions,
};
use crate::proto::{Role, SendOptions, WSPreparedFrame, WSPreparedMessage, WSProtocolError};
use crate::runtime::{LoopCore, PerLoop, Token, WSLoopConfig};

use super::compressors::{Compressors, OwnCompressor};

/// The frame that begins, and here also ends, a compressed message (RFC 7692 section 6).
pub(super) const COMPRESSED: SendOptions = SendOptions { fin: true, rsv1: true, rsv2: false, rsv3: false };

/// A buffer that grew beyond this many bytes is not kept.
const MAX_KEPT: usize = 1024 * 1024;

/// Most buffers for inflated messages that are kept: more than one only if listeners hold messages of several connections at a time.
const MAX_KEPT_BUFFERS: usize = 4;

// --- per loop ------------------------------------------------------------------------------------------------------------------

/// What all connections of a loop use in turn; made when it is first needed.
#[derive(Default)]
pub(crate) struct LoopDeflate {
    compressors: RefCell<Compressors>,
    /// Where messages are compressed to; `None` while one is being sent.
    output: Cell<Option<Box<ScratchBuffer>>>,
    /// Where messages are inflated to.
    inflated: Arc<InflatedBuffers>,
}

/// Behind a lock, which nobody else wants: what holds an inflated message may be moved to another thread when its connection is gone.
#[derive(Default)]
struct InflatedBuffers(
    #[expect(clippy::vec_box, reason = "a buffer changes hands as one pointer")]
    Mutex<Vec<Box<InflatedBuffer>>>,
);

impl PerLoop for LoopDeflate {
    fn new(_: &WSLoopConfig) -> Self {
        Self::default()
    }
}

impl LoopDeflate {
    fn take_inflated(&self) -> Inflated {
        let buffer = self.inflated.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let buffer = buffer.unwrap_or_else(|| {
            Box::new(InflatedBuffer { bytes: ScratchBuffer::default(), home: Arc::downgrade(&self.inflated) })
        });
        Inflated(Some(buffer))
    }

    #[expect(clippy::unnecessary_box_returns, reason = "a buffer changes hands as one pointer")]
    pub(super) fn take_output(&self) -> Box<ScratchBuffer> {
        let mut output = self.output.take().unwrap_or_default();
        output.begin(WS_HEADROOM);
        output
    }

    pub(super) fn give_output(&self, output: Box<ScratchBuffer>) {
        if output.capacity() <= MAX_KEPT {
            self.output.set(Some(output));
        }
    }

    pub(super) fn compressors(&self) -> RefMut<'_, Compressors> {
        self.compressors.borrow_mut()
    }

    /// Makes the compressed form of a frame, if it is shorter.
    fn prepare(&self, plain: &WSPreparedFrame, settings: DeflateSettings) -> Option<WSPreparedFrame> {
        let mut output = self.take_output();
        let payload = plain.payload();
        let deflated = self.compressors().shared(MAX_WINDOW_BITS, settings).deflate(payload, &mut output);
        let compressed = &output.filled()[WS_HEADROOM..];
        let frame = (deflated && compressed.len() < payload.len())
            .then(|| WSPreparedFrame::with_options(plain.msg_type(), compressed, COMPRESSED));
        self.give_output(output);
        frame
    }
}

/// An inflated message. Dropping it gives its memory back to the loop.
#[derive(Default)]
pub(crate) struct Inflated(Option<Box<InflatedBuffer>>);

struct InflatedBuffer {
    bytes: ScratchBuffer,
    home: Weak<InflatedBuffers>,
}

impl Inflated {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |buffer| buffer.bytes.filled())
    }
}

impl fmt::Debug for Inflated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflated").field("len", &self.as_bytes().len()).finish_non_exhaustive()
    }
}

impl Drop for Inflated {
    fn drop(&mut self) {
        let Some(buffer) = self.0.take() else { return };
        let Some(home) = buffer.home.upgrade() else { return };
        let mut kept = home.0.lock().unwrap_or_else(PoisonError::into_inner);
        if buffer.bytes.capacity() <= MAX_KEPT && kept.len() < MAX_KEPT_BUFFERS {
            kept.push(buffer);
        }
    }
}

// --- per connection ------------------------------------------------------------------------------------------------------------

/// The compression of one connection.
#[derive(Debug)]
pub(super) struct ConnDeflate {
    own: DeflateDirection,
    /// Only with context takeover.
    compressor: OwnCompressor,
    inflater: Inflater,
    /// The message whose fragments are coming is compressed.
    inbound_compressed: bool,
}

/// What compression needs of the connection and its loop.
#[derive(Clone, Copy)]
pub(super) struct DeflateContext<'a> {
    pub(super) core: &'a LoopCore,
    pub(super) token: Token,
    pub(super) config: &'a WSDeflateConfig,
}

impl ConnDeflate {
    pub(super) fn new(parameters: DeflateParameters, role: Role) -> Self {
        Self {
            own: parameters.sent_by(role),
            compressor: OwnCompressor::default(),
            inflater: Inflater::new(parameters.received_by(role)),
            inbound_compressed: false,
        }
    }

    // --- in ------------------------------------------------------------------------------------

    /// Returns `true` if the data frame with this RSV1 belongs to a compressed message. `begins` says
    /// whether it begins one.
    pub(super) fn is_compressed(&mut self, begins: bool, rsv1: bool) -> bool {
        if begins {
            self.inbound_compressed = rsv1;
        }
        self.inbound_compressed
    }

    /// Inflates a message.
    pub(super) fn inflate(
        &mut self,
        payload: &[u8],
        limit: usize,
        core: &LoopCore,
    ) -> Result<Inflated, WSProtocolError> {
        let mut message = core.local::<LoopDeflate>().take_inflated();
        let Some(buffer) = &mut message.0 else { return Ok(message) };
        self.inflater.inflate(payload, &mut buffer.bytes, limit)?;
        Ok(message)
    }

    // --- out -----------------------------------------------------------------------------------

    /// Compresses a message into `output`. Returns `false` if it is to be sent as it is; `compress`
    /// overrules what the configuration says.
    pub(super) fn deflate(
        &mut self,
        payload: &[u8],
        compress: Option<bool>,
        output: &mut ScratchBuffer,
        context: DeflateContext<'_>,
    ) -> bool {
        let DeflateContext { core, config, .. } = context;
        let wanted = compress.unwrap_or_else(|| config.wants(payload.len()));
        if !wanted || !Deflater::fits(self.own, payload.len()) {
            return false;
        }
        if self.own.context_takeover {
            return self.compressor.get(self.own, context).deflate(payload, output);
        }
        let shared = core.local::<LoopDeflate>();
        let mut compressors = shared.compressors();
        compressors.shared(self.own.window_bits, config.settings()).deflate(payload, output)
            && output.len() - WS_HEADROOM < payload.len()
    }

    /// Returns the form of a prepared message that fits this connection; `None` if that is the plain
    /// one.
    pub(super) fn prepared<'m>(
        &self,
        message: &'m WSPreparedMessage,
        context: DeflateContext<'_>,
    ) -> Option<&'m WSPreparedFrame> {
        let DeflateContext { core, config, .. } = context;
        let len = message.plain().payload().len();
        // Its references reach as far as it is long, at most.
        let is_legal = self.own.window_bits == MAX_WINDOW_BITS || len <= 1 << self.own.window_bits;
        let make = || core.local::<LoopDeflate>().prepare(message.plain(), config.settings());
        if is_legal && config.wants(len) { message.compressed_or_make(make) } else { None }
    }

    /// Makes the next message refer to nothing that came before.
    pub(super) fn forget(&mut self) {
        self.compressor.forget();
    }

    /// Gives the compressor back if it was not used since its timer was set, which has fired.
    pub(super) fn compressor_due(&mut self, context: DeflateContext<'_>) {
        self.compressor.due(self.own, context);
    }

    /// Gives the compressor back, if there is one.
    pub(super) fn release(&mut self, context: DeflateContext<'_>) {
        self.compressor.release(self.own, context);
    }
}

// --- the opening handshake -----------------------------------------------------------------------------------------------------

/// A server's part: adds the response to the client's offer to `head`, if there is one to accept.
pub(crate) fn accept_deflate(
    config: Option<&WSDeflateConfig>,
    request: &WSRequestHead,
    head: &mut Vec<u8>,
) -> Option<DeflateParameters> {
    let accepted = accept_offer(&config?.preferences(), extension_values(request.raw_head()))?;
    add_extension(&accepted.header, head);
    Some(accepted.parameters)
}

/// A client's part: what the server's response means.
pub(crate) fn check_deflate(
    config: Option<&WSDeflateConfig>,
    response: &WSUpgradeResponse,
) -> Result<Option<DeflateParameters>, WSHandshakeError> {
    let (Some(config), Some(head)) = (config, response.raw_head()) else { return Ok(None) };
    check_response(&config.preferences(), extension_values(head)).map_err(|fault| {
        log::debug!("Sec-WebSocket-Extensions of the response {}", fault.0);
        invalid_extensions(response.clone())
    })
}
