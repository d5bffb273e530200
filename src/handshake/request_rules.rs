//! What a request has to say to be accepted (RFC 6455 section 4.2.1).

use super::WSUpgradeResponse;
use super::authority::is_authority;
use super::head::header_lines;
use super::key::is_valid_key;
use super::start_line::HEAD_PREFIX;
use super::syntax::list_contains;

/// Why a request with a well-formed head is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// 400. Says what is wrong.
    Malformed(&'static str),
    /// 405: another method than GET and HEAD.
    Method,
    /// 426: another version of the protocol than 13.
    Version,
}

impl Refusal {
    pub(super) fn response(self) -> WSUpgradeResponse {
        match self {
            Self::Malformed(reason) => WSUpgradeResponse::built(400, format!("{reason}\n").into()),
            // RFC 9110 section 15.5.6
            Self::Method => {
                let body = "only GET and HEAD are served here\n";
                with_headers(405, body, &[("Allow", "GET, HEAD")])
            }
            // RFC 6455 section 4.4, RFC 9110 section 15.5.22
            Self::Version => {
                let body = "the only version of the WebSocket protocol here is 13\n";
                with_headers(426, body, &[("Sec-WebSocket-Version", "13"), ("Upgrade", "websocket")])
            }
        }
    }
}

fn with_headers(status: u16, body: &'static str, headers: &[(&str, &str)]) -> WSUpgradeResponse {
    let mut response = WSUpgradeResponse::built(status, body.into());
    for &(name, value) in headers {
        response.headers_mut().append(name, value).expect("a constant header is valid");
    }
    response
}

/// Checks a head that the scanner accepted. Returns whether it asks for an upgrade; if not it is plain HTTP.
pub(super) fn check_request(head: &[u8]) -> Result<bool, Refusal> {
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
        return Err(Refusal::Malformed("an upgrade takes the method GET"));
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
    fn check_message(&self) -> Result<(), Refusal> {
        // RFC 9112 section 3.2
        match self.host {
            Occurrence::Absent => return Err(Refusal::Malformed("the header Host is missing")),
            Occurrence::Once(host) if is_authority(host) => {}
            Occurrence::Once(_) => return Err(Refusal::Malformed("the header Host is malformed")),
            Occurrence::Repeated => return Err(Refusal::Malformed("the header Host is repeated")),
        }
        // A body would be taken for frames by us and for a request by a proxy, or the other way round.
        if self.has_transfer_encoding {
            return Err(Refusal::Malformed("Transfer-Encoding is refused"));
        }
        match self.content_length {
            Occurrence::Absent | Occurrence::Once(b"0") => Ok(()),
            Occurrence::Once(_) => Err(Refusal::Malformed("Content-Length must be absent or 0")),
            Occurrence::Repeated => Err(Refusal::Malformed("the header Content-Length is repeated")),
        }
    }

    /// What holds for a request to upgrade (RFC 6455 section 4.2.1, items 3 to 6).
    fn check_upgrade(&self) -> Result<(), Refusal> {
        if !self.upgrades_to_websocket {
            return Err(Refusal::Malformed("the header Upgrade must contain websocket"));
        }
        if !self.connection_upgrades {
            return Err(Refusal::Malformed("the header Connection must contain Upgrade"));
        }
        match self.version {
            Occurrence::Once(b"13") => {}
            Occurrence::Absent | Occurrence::Once(_) => return Err(Refusal::Version),
            Occurrence::Repeated => {
                return Err(Refusal::Malformed("the header Sec-WebSocket-Version is repeated"));
            }
        }
        match self.key {
            Occurrence::Once(key) if is_valid_key(key) => Ok(()),
            Occurrence::Once(_) => {
                Err(Refusal::Malformed("Sec-WebSocket-Key must be the base64 form of 16 bytes"))
            }
            Occurrence::Absent => Err(Refusal::Malformed("the header Sec-WebSocket-Key is missing")),
            Occurrence::Repeated => Err(Refusal::Malformed("the header Sec-WebSocket-Key is repeated")),
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
