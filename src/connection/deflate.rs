//! Compression of messages on an open connection, and what the connections of a loop share for it.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::buf::WS_HEADROOM;
use crate::connection::WSSendStatus;
use crate::deflate::{
    DeflateDirection, DeflateParameters, DeflateSettings, Deflater, Inflater, MAX_WINDOW_BITS, ScratchBuffer,
    WSDeflateConfig, accept_offer, check_response,
};
use crate::handshake::{
    WSHandshakeError, WSUpgradeRequest, WSUpgradeResponse, add_extension, extension_values,
    invalid_extensions,
};
use crate::proto::{Role, SendOptions, WSMsgType, WSPreparedFrame, WSPreparedMessage, WSProtocolError};
use crate::runtime::{PerLoop, WSLoopConfig};

use super::compressors::{Compressors, OwnCompressor};
use super::conn::{Conn, Flags};

/// The frame that begins, and here also ends, a compressed message (RFC 7692 section 6).
const COMPRESSED: SendOptions = SendOptions { fin: true, rsv1: true, rsv2: false, rsv3: false };

/// A buffer that grew beyond this many bytes is not kept.
const MAX_KEPT: usize = 1024 * 1024;

/// Most buffers for inflated messages that are kept: more than one only if listeners hold messages of several connections at a time.
const MAX_KEPT_BUFFERS: usize = 4;

// --- per loop ------------------------------------------------------------------------------------------------------------------

/// What all connections of a loop use in turn; made when it is first needed.
#[derive(Default)]
pub(crate) struct LoopDeflate {
    pub(super) compressors: RefCell<Compressors>,
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
    fn take_output(&self) -> Box<ScratchBuffer> {
        let mut output = self.output.take().unwrap_or_default();
        output.begin(WS_HEADROOM);
        output
    }

    fn give_output(&self, output: Box<ScratchBuffer>) {
        if output.capacity() <= MAX_KEPT {
            self.output.set(Some(output));
        }
    }
}

/// An inflated message. Dropping it gives its memory back to the loop.
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
    pub(super) own: DeflateDirection,
    /// Only with context takeover.
    pub(super) compressor: OwnCompressor,
    inflater: Inflater,
    /// The message whose fragments are coming is compressed.
    inbound_compressed: bool,
}

impl Conn {
    /// Compression was agreed on.
    pub(crate) fn enable_deflate(&self, parameters: DeflateParameters) {
        let role = self.protocol_role();
        let deflate = ConnDeflate {
            own: parameters.sent_by(role),
            compressor: OwnCompressor::default(),
            inflater: Inflater::new(parameters.received_by(role)),
            inbound_compressed: false,
        };
        self.extras.borrow_mut().get_or_insert_default().deflate = Some(Box::new(deflate));
        self.proto.borrow_mut().expect_compression();
        self.flags.set(Flags::DEFLATE);
    }

    /// Nothing is compressed or inflated any more.
    pub(super) fn drop_deflate(&self) {
        if !self.flags.has(Flags::DEFLATE) {
            return;
        }
        self.release_compressor();
        if self.flags.clear(Flags::DEFLATE)
            && let Some(extras) = self.extras.borrow_mut().as_mut()
        {
            extras.deflate = None;
        }
    }

    pub(super) fn with_deflate<R>(
        &self,
        call: impl FnOnce(&mut ConnDeflate, &WSDeflateConfig) -> R,
    ) -> Option<R> {
        let mut extras = self.extras.borrow_mut();
        let deflate = extras.as_mut()?.deflate.as_mut()?;
        Some(call(deflate, self.settings.deflate.as_ref()?))
    }

    // --- in ----------------------------------------------------------------------------------------------------------------

    /// Whether the data frame with this RSV1 belongs to a compressed message; `begins` says whether it begins one.
    pub(crate) fn is_compressed(&self, begins: bool, rsv1: bool) -> bool {
        if !self.flags.has(Flags::DEFLATE) {
            return false;
        }
        let compressed = self.with_deflate(|deflate, _| {
            if begins {
                deflate.inbound_compressed = rsv1;
            }
            deflate.inbound_compressed
        });
        compressed.unwrap_or(false)
    }

    /// Inflates a message.
    pub(crate) fn inflate(&self, payload: &[u8]) -> Result<Inflated, WSProtocolError> {
        let limit = usize::try_from(self.settings.rules.max_message_size).unwrap_or(usize::MAX);
        let mut message = self.core.local::<LoopDeflate>().take_inflated();
        let inflated = self.with_deflate(|deflate, _| {
            let buffer = message.0.as_mut()?;
            Some(deflate.inflater.inflate(payload, &mut buffer.bytes, limit))
        });
        inflated.flatten().unwrap_or(Ok(())).map(|()| message)
    }

    // --- out ---------------------------------------------------------------------------------------------------------------

    /// Sends a message on a connection with compression.
    #[inline(never)]
    pub(super) fn send_compressing(
        self: &Rc<Self>,
        msg_type: WSMsgType,
        payload: &[u8],
        compress: Option<bool>,
    ) -> WSSendStatus {
        if msg_type != WSMsgType::Text && msg_type != WSMsgType::Binary {
            return self.send(msg_type, payload, SendOptions::default());
        }
        let shared = self.core.local::<LoopDeflate>();
        let mut output = shared.take_output();
        let status = if self.deflate(payload, compress, &mut output) {
            self.send_compressed(msg_type, &mut output)
        } else {
            self.send(msg_type, payload, SendOptions::default())
        };
        shared.give_output(output);
        status
    }

    /// Compresses a message, if it is to be.
    fn deflate(&self, payload: &[u8], compress: Option<bool>, output: &mut ScratchBuffer) -> bool {
        let deflated = self.with_deflate(|deflate, config| {
            let own = deflate.own;
            let wanted = compress.unwrap_or_else(|| config.wants(payload.len()));
            if !wanted || !Deflater::fits(own, payload.len()) {
                return false;
            }
            if own.context_takeover {
                return self.own_deflater(deflate, config).deflate(payload, output);
            }
            let shared = self.core.local::<LoopDeflate>();
            let mut compressors = shared.compressors.borrow_mut();
            compressors.shared(own.window_bits, config.settings()).deflate(payload, output)
                && output.len() - WS_HEADROOM < payload.len()
        });
        deflated.unwrap_or(false)
    }

    fn send_compressed(self: &Rc<Self>, msg_type: WSMsgType, output: &mut ScratchBuffer) -> WSSendStatus {
        let status = match self.protocol_role() {
            Role::Server => self.send(msg_type, &output.filled()[WS_HEADROOM..], COMPRESSED),
            Role::Client => self.send_in_place(msg_type, output.filled_mut(), WS_HEADROOM, COMPRESSED),
        };
        if !status.is_accepted() {
            // The peer will not get what later messages would refer to.
            self.forget_context();
        }
        status
    }

    /// Messages of this end do not refer to what came before.
    fn forget_context(&self) {
        self.with_deflate(|deflate, _| {
            deflate.compressor.forget();
        });
    }

    /// Sends the form of a prepared message that fits this connection.
    #[inline(never)]
    pub(super) fn send_prepared_compressing(self: &Rc<Self>, message: &WSPreparedMessage) -> WSSendStatus {
        let len = message.plain().payload().len();
        let compressed = self.with_deflate(|deflate, config| {
            // Its references reach as far as it is long, at most.
            let is_legal = deflate.own.window_bits == MAX_WINDOW_BITS || len <= 1 << deflate.own.window_bits;
            let make = || self.prepare_compressed(message.plain(), config.settings());
            if is_legal && config.wants(len) { message.compressed_or_make(make) } else { None }
        });
        let Some(frame) = compressed.flatten() else { return self.send_prepared(message.plain()) };
        let status = self.send_prepared(frame);
        // The peer's window goes on with a message that this end's compressor has not seen: distances would count from another place.
        self.forget_context();
        status
    }

    /// The compressed form, if it is shorter.
    fn prepare_compressed(
        &self,
        plain: &WSPreparedFrame,
        settings: DeflateSettings,
    ) -> Option<WSPreparedFrame> {
        let shared = self.core.local::<LoopDeflate>();
        let mut output = shared.take_output();
        let payload = plain.payload();
        let deflated =
            shared.compressors.borrow_mut().shared(MAX_WINDOW_BITS, settings).deflate(payload, &mut output);
        let compressed = &output.filled()[WS_HEADROOM..];
        let frame = (deflated && compressed.len() < payload.len())
            .then(|| WSPreparedFrame::with_options(plain.msg_type(), compressed, COMPRESSED));
        shared.give_output(output);
        frame
    }
}

// --- the opening handshake -----------------------------------------------------------------------------------------------------

/// A server's part: adds the response to the client's offer to `head`, if there is one to accept.
pub(crate) fn accept_deflate(
    config: Option<&WSDeflateConfig>,
    request: &WSUpgradeRequest,
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
