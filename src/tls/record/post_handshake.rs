//! Messages behind the handshake (RFC 8446 section 4.6): key updates, and session tickets to a client.

use rustls::{AlertDescription, ContentType, Error, HandshakeType, InvalidMessage, PeerMisbehaved};

use super::fault::Fault;
use super::keys::Keys;
use super::{Kernel, RecordLayer, SMALL_RECORD};

/// Largest message, in bytes: those that are known are far smaller.
const MAX_MESSAGE: usize = 0xffff;

/// Key updates without application data between them: a peer that sends nothing else only costs time.
const MAX_KEY_UPDATES: u8 = 32;

/// `KeyUpdate` (RFC 8446 section 4.6.3) that asks for none in return.
const KEY_UPDATE: [u8; 5] = [24, 0, 0, 1, 0];

impl RecordLayer {
    /// Takes in a piece of the messages; one may be cut over many records, and one record may hold several.
    pub(super) fn process_messages(&mut self, piece: &[u8]) -> Result<(), Fault> {
        let mut messages = std::mem::take(&mut self.messages);
        messages.extend_from_slice(piece);
        let mut rest = &messages[..];
        while let Some((&[kind, len @ ..], behind)) = rest.split_first_chunk::<4>() {
            let len = len.iter().fold(0, |len, &byte| len << 8 | usize::from(byte));
            if len > MAX_MESSAGE {
                return Err(Fault::malformed(InvalidMessage::HandshakePayloadTooLarge));
            }
            let Some((message, behind)) = behind.split_at_checked(len) else { break };
            self.process_message(kind.into(), message, behind.is_empty())?;
            rest = behind;
        }
        // What goes on growing is not copied for each piece: a message may come byte by byte.
        let done = messages.len() - rest.len();
        self.messages = if done == 0 { messages } else { messages.split_off(done) };
        Ok(())
    }

    fn process_message(&mut self, kind: HandshakeType, message: &[u8], is_last: bool) -> Result<(), Fault> {
        match (kind, &mut self.kernel) {
            // Keys change between records (RFC 8446 section 5.1).
            (HandshakeType::KeyUpdate, _) if !is_last => {
                Err(Fault::unexpected(PeerMisbehaved::KeyEpochWithPendingFragment))
            }
            (HandshakeType::KeyUpdate, _) => self.process_key_update(message),
            (HandshakeType::NewSessionTicket, Kernel::Client(kernel)) => {
                kernel.handle_new_session_ticket(message).map_err(|error| match error {
                    Error::InvalidMessage(what) => Fault::malformed(what),
                    error => Fault::new(error, AlertDescription::IllegalParameter),
                })
            }
            (kind, Kernel::Client(_)) => {
                let expected = vec![HandshakeType::NewSessionTicket, HandshakeType::KeyUpdate];
                Err(Fault::inappropriate_message(kind, expected))
            }
            (kind, _) => Err(Fault::inappropriate_message(kind, vec![HandshakeType::KeyUpdate])),
        }
    }

    /// An answer leaves with the next application data, one however often it was asked for (RFC 8446 section 4.6.3): a peer that asks
    /// and does not read must not be able to pile them up.
    fn process_key_update(&mut self, message: &[u8]) -> Result<(), Fault> {
        let is_answer_wanted = match *message {
            [0] => false,
            [1] => true,
            [_] => {
                return Err(Fault::new(InvalidMessage::InvalidKeyUpdate, AlertDescription::IllegalParameter));
            }
            _ => return Err(Fault::malformed(InvalidMessage::InvalidKeyUpdate)),
        };
        if self.key_updates == MAX_KEY_UPDATES {
            return Err(Fault::unexpected(PeerMisbehaved::TooManyKeyUpdateRequests));
        }
        self.key_updates += 1;
        self.incoming = Keys::new(self.kernel.next_incoming()?)?;
        if is_answer_wanted {
            self.new_keys_wanted = true;
        }
        Ok(())
    }

    /// Appends a `KeyUpdate` to `out`; what follows is sealed with new keys.
    pub(super) fn update_outgoing_keys(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        out.reserve(SMALL_RECORD);
        self.outgoing.seal(ContentType::Handshake, &KEY_UPDATE, out)?;
        self.outgoing = Keys::new(self.kernel.next_outgoing()?)?;
        self.new_keys_wanted = false;
        Ok(())
    }
}
