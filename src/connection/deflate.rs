//! Compression of messages on an open connection, and what the connections of a loop share for it.

use std::cell::{Cell, RefCell, RefMut};

use crate::buf::{ScratchBuffer, WS_HEADROOM};
use crate::deflate::{
    DeflateDirection, DeflateParameters, DeflateSettings, Deflater, Inflater, MAX_WINDOW_BITS,
    WSDeflateConfig, accept_offer, check_response,
};
use crate::handshake::{
    WSHandshakeError, WSRequestHead, WSUpgradeResponse, add_extension, extension_values, invalid_extensions,
};
use crate::proto::{
    MessageAssembler, Role, SendOptions, WSFrame, WSMsgType, WSPreparedFrame, WSPreparedMessage,
    WSProtocolError,
};
use crate::runtime::{LoopCore, PerLoop, Token, WSLoopConfig};

use super::compressors::{Compressors, OwnCompressor};

/// The frame that begins, and here also ends, a compressed message (RFC 7692 section 6).
pub(super) const COMPRESSED: SendOptions = SendOptions { fin: true, rsv1: true, rsv2: false, rsv3: false };

/// A buffer that grew beyond this many bytes is not kept.
const MAX_KEPT: usize = 1024 * 1024;

// --- per loop ------------------------------------------------------------------------------------------------------------------

/// What all connections of a loop use in turn; made when it is first needed.
#[derive(Default)]
pub(crate) struct LoopDeflate {
    compressors: RefCell<Compressors>,
    /// Where messages are compressed to.
    pub(super) output: Scratch,
    /// Where messages are inflated to.
    pub(super) inflated: Scratch,
}

/// Memory for one message at a time; `None` while it is in use.
#[derive(Default)]
pub(super) struct Scratch(Cell<Option<Box<ScratchBuffer>>>);

impl Scratch {
    #[expect(clippy::unnecessary_box_returns, reason = "a buffer changes hands as one pointer")]
    pub(super) fn take(&self) -> Box<ScratchBuffer> {
        self.0.take().unwrap_or_default()
    }

    pub(super) fn give(&self, buffer: Box<ScratchBuffer>) {
        if buffer.capacity() <= MAX_KEPT {
            self.0.set(Some(buffer));
        }
    }
}

impl PerLoop for LoopDeflate {
    fn new(_: &WSLoopConfig) -> Self {
        Self::default()
    }
}

impl LoopDeflate {
    pub(super) fn compressors(&self) -> RefMut<'_, Compressors> {
        self.compressors.borrow_mut()
    }

    /// Makes the compressed form of a frame, if it is shorter.
    fn prepare(&self, plain: &WSPreparedFrame, settings: DeflateSettings) -> Option<WSPreparedFrame> {
        let mut output = self.output.take();
        output.begin(WS_HEADROOM);
        let payload = plain.payload();
        let deflated = self.compressors().shared(MAX_WINDOW_BITS, settings).deflate(payload, &mut output);
        let compressed = &output.filled()[WS_HEADROOM..];
        let frame = (deflated && compressed.len() < payload.len())
            .then(|| WSPreparedFrame::with_options(plain.msg_type(), compressed, COMPRESSED));
        self.output.give(output);
        frame
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
    /// Fragments of a compressed message, and of no other.
    fragments: MessageAssembler,
    /// Bytes that its frames had on the wire.
    wire_len: usize,
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
            fragments: MessageAssembler::default(),
            wire_len: 0,
        }
    }

    // --- in ------------------------------------------------------------------------------------

    /// Returns `true` if the frame belongs to a compressed message.
    pub(super) fn is_compressed(&self, frame: &WSFrame<'_>) -> bool {
        match frame.msg_type() {
            WSMsgType::Text | WSMsgType::Binary => frame.rsv1(),
            WSMsgType::Continuation => self.fragments.is_under_way(),
            _ => false,
        }
    }

    /// Takes a frame of a compressed message. If it ends the message, inflates that into `output` and
    /// returns its type and the bytes that its frames had on the wire.
    pub(super) fn inflate(
        &mut self,
        frame: &WSFrame<'_>,
        limit: usize,
        output: &mut ScratchBuffer,
    ) -> Result<Option<(WSMsgType, usize)>, WSProtocolError> {
        self.wire_len += frame.wire_len();
        let whole = self.fragments.push(frame.msg_type(), frame.fin(), frame.payload());
        let Some((msg_type, payload)) = whole else { return Ok(None) };
        self.inflater.inflate(payload, output, limit)?;
        self.fragments.release();
        Ok(Some((msg_type, std::mem::take(&mut self.wire_len))))
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
