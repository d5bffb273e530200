//! What a request has to say to be accepted (RFC 6455 section 4.2.1).

use super::authority::is_authority;
use super::head::{HeadFault, header_lines};
use super::key::is_valid_key;
use super::start_line::HEAD_PREFIX;
use super::syntax::list_contains;

/// Checks a head that the scanner accepted. Returns whether it asks for an upgrade; if not it is plain HTTP.
pub(super) fn check_request(head: &[u8]) -> Result<bool, HeadFault> {
    let mut fields = Fields::default();
    for (name, value) in header_lines(head) {
        fields.note(name, value);
    }
    fields.check_message()?;
    if fields.is_plain_http() {
        return Ok(false);
    }
    // RFC 6455 section 4.2.1, item 1: the method is allowed here, but not for an upgrade.
    if head.starts_with(HEAD_PREFIX) {
        return Err(HeadFault::Malformed("an upgrade takes the method GET"));
    }
    fields.check_upgrade()?;
    Ok(true)
}

/// The fields that matter, gathered in one pass.
#[derive(Default)]
struct Fields<'a> {
    host: Occurrence<'a>,
    content_length: Occurrence<'a>,
    version: Occurrence<'a>,
    key: Occurrence<'a>,
    has_transfer_encoding: bool,
    has_upgrade: bool,
    has_sec_websocket: bool,
    upgrades_to_websocket: bool,
    connection_upgrades: bool,
}

/// A field that may be there once at most.
#[derive(Clone, Copy, Default)]
enum Occurrence<'a> {
    #[default]
    Absent,
    Once(&'a [u8]),
    Repeated,
}

impl<'a> Fields<'a> {
    fn note(&mut self, name: &[u8], value: &'a [u8]) {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if is("host") {
            self.host.note(value);
        } else if is("content-length") {
            self.content_length.note(value);
        } else if is("transfer-encoding") {
            self.has_transfer_encoding = true;
        } else if is("upgrade") {
            self.has_upgrade = true;
            self.upgrades_to_websocket |= list_contains(value, "websocket");
        } else if is("connection") {
            self.connection_upgrades |= list_contains(value, "upgrade");
        } else if name.get(..14).is_some_and(|prefix| prefix.eq_ignore_ascii_case(b"sec-websocket-")) {
            self.has_sec_websocket = true;
            if is("sec-websocket-key") {
                self.key.note(value);
            } else if is("sec-websocket-version") {
                self.version.note(value);
            }
        }
    }

    fn is_plain_http(&self) -> bool {
        !(self.has_upgrade || self.connection_upgrades || self.has_sec_websocket)
    }

    /// What holds for every request: one host, no body.
    fn check_message(&self) -> Result<(), HeadFault> {
        // RFC 9112 section 3.2
        match self.host {
            Occurrence::Absent => return Err(HeadFault::Malformed("the header Host is missing")),
            Occurrence::Once(host) if is_authority(host) => {}
            Occurrence::Once(_) => return Err(HeadFault::Malformed("the header Host is malformed")),
            Occurrence::Repeated => return Err(HeadFault::Malformed("the header Host is repeated")),
        }
        // A body would be taken for frames by us and for a request by a proxy, or the other way round.
        if self.has_transfer_encoding {
            return Err(HeadFault::Malformed("Transfer-Encoding is refused"));
        }
        match self.content_length {
            Occurrence::Absent | Occurrence::Once(b"0") => Ok(()),
            Occurrence::Once(_) => Err(HeadFault::Malformed("Content-Length must be absent or 0")),
            Occurrence::Repeated => Err(HeadFault::Malformed("the header Content-Length is repeated")),
        }
    }

    /// What holds for a request to upgrade (RFC 6455 section 4.2.1, items 3 to 6).
    fn check_upgrade(&self) -> Result<(), HeadFault> {
        if !self.upgrades_to_websocket {
            return Err(HeadFault::Malformed("the header Upgrade must contain websocket"));
        }
        if !self.connection_upgrades {
            return Err(HeadFault::Malformed("the header Connection must contain Upgrade"));
        }
        match self.version {
            Occurrence::Once(b"13") => {}
            Occurrence::Absent | Occurrence::Once(_) => return Err(HeadFault::Version),
            Occurrence::Repeated => {
                return Err(HeadFault::Malformed("the header Sec-WebSocket-Version is repeated"));
            }
        }
        match self.key {
            Occurrence::Once(key) if is_valid_key(key) => Ok(()),
            Occurrence::Once(_) => {
                Err(HeadFault::Malformed("Sec-WebSocket-Key must be the base64 form of 16 bytes"))
            }
            Occurrence::Absent => Err(HeadFault::Malformed("the header Sec-WebSocket-Key is missing")),
            Occurrence::Repeated => Err(HeadFault::Malformed("the header Sec-WebSocket-Key is repeated")),
        }
    }
}

impl<'a> Occurrence<'a> {
    fn note(&mut self, value: &'a [u8]) {
        *self = match self {
            Self::Absent => Self::Once(value),
            _ => Self::Repeated,
        };
    }
}
