//! What both ends agree on (RFC 7692 section 7.1).

use std::fmt::Write;

use super::extensions::{Extension, extensions};
use crate::proto::Role;

/// The name of the extension (RFC 7692 section 7).
pub(crate) const DEFLATE_EXTENSION: &str = "permessage-deflate";

/// Least window, as a power of two: 256 bytes.
pub(crate) const MIN_WINDOW_BITS: u8 = 8;

/// Greatest window, as a power of two: 32 KiB.
pub(crate) const MAX_WINDOW_BITS: u8 = 15;

/// What one end would like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeflatePreferences {
    /// Whether this end may refer to its earlier messages.
    pub own_context_takeover: bool,
    /// Whether the peer may refer to its earlier messages.
    pub peer_context_takeover: bool,
    /// Greatest window that this end compresses with, 8 to 15.
    pub own_max_window_bits: u8,
    /// Greatest window that the peer is to compress with, 8 to 15.
    pub peer_max_window_bits: u8,
}

/// What was agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeflateParameters {
    /// Messages from the server.
    pub server: DeflateDirection,
    /// Messages from the client.
    pub client: DeflateDirection,
}

/// How the messages of one end are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeflateDirection {
    /// Whether a message may refer to earlier ones.
    pub context_takeover: bool,
    /// Greatest distance that a message refers back, as a power of two.
    pub window_bits: u8,
}

impl DeflateParameters {
    /// What holds for the messages that `role` sends.
    pub fn sent_by(&self, role: Role) -> DeflateDirection {
        match role {
            Role::Client => self.client,
            Role::Server => self.server,
        }
    }

    /// What holds for the messages that `role` receives.
    pub fn received_by(&self, role: Role) -> DeflateDirection {
        match role {
            Role::Client => self.server,
            Role::Server => self.client,
        }
    }
}

/// An offer that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeflateResponse {
    /// What holds from now on.
    pub parameters: DeflateParameters,
    /// What the response's `Sec-WebSocket-Extensions` says.
    pub header: String,
}

/// Why a response fails the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeflateFault(pub &'static str);

/// The client's offer, for `Sec-WebSocket-Extensions` of the request.
///
/// `client_max_window_bits` is always part of it, which leaves it to the server to ask for less.
pub fn offer(preferences: &DeflatePreferences) -> String {
    let mut header = DEFLATE_EXTENSION.to_owned();
    if !preferences.peer_context_takeover {
        header += "; server_no_context_takeover";
    }
    if !preferences.own_context_takeover {
        header += "; client_no_context_takeover";
    }
    push_bits(&mut header, "server_max_window_bits", preferences.peer_max_window_bits);
    if preferences.own_max_window_bits < MAX_WINDOW_BITS {
        push_bits(&mut header, "client_max_window_bits", preferences.own_max_window_bits);
    } else {
        header += "; client_max_window_bits";
    }
    header
}

/// The server's choice among the offers of a request: the first that it understands. `values` are those of the request's
/// `Sec-WebSocket-Extensions`, one per header, in order.
///
/// An offer with an unknown, repeated or invalid parameter is declined, and what follows a fault of the grammar is not read: the
/// connection then goes on without the extension (RFC 7692 section 7.1).
pub fn accept_offer<'a>(
    preferences: &DeflatePreferences,
    values: impl IntoIterator<Item = &'a [u8]>,
) -> Option<DeflateResponse> {
    let offers = values.into_iter().flat_map(|value| extensions(value).map_while(Result::ok));
    let mut offers = offers.filter(|extension| extension.is(DEFLATE_EXTENSION));
    offers.find_map(|offer| Parameters::parse(&offer)).map(|offer| offer.accept(*preferences))
}

/// What the server's response to [`offer`] means; `None` if it declines. `values` are those of the response's
/// `Sec-WebSocket-Extensions`, one per header, in order. Other extensions are not looked at.
///
/// A wish for `server_no_context_takeover` or `server_max_window_bits` that the server leaves unanswered is given up: this end is able
/// to serve without it.
///
/// # Errors
/// If the response is none to this offer: the connection must not open (RFC 7692 section 5.1).
pub fn check_response<'a>(
    preferences: &DeflatePreferences,
    values: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Option<DeflateParameters>, DeflateFault> {
    let mut found = None;
    for extension in values.into_iter().flat_map(extensions) {
        let extension = extension.map_err(|_| DeflateFault("is malformed"))?;
        if extension.is(DEFLATE_EXTENSION) && found.replace(extension).is_some() {
            return Err(DeflateFault("names permessage-deflate twice"));
        }
    }
    let Some(extension) = found else { return Ok(None) };
    let response = Parameters::parse(&extension)
        .ok_or(DeflateFault("has an unknown, repeated or invalid parameter of permessage-deflate"))?;
    response.check(*preferences).map(Some)
}

/// Appends a parameter that limits a window, if it is a limit at all.
fn push_bits(header: &mut String, name: &str, bits: u8) {
    if bits < MAX_WINDOW_BITS {
        write!(header, "; {name}={bits}").expect("writing to a String does not fail");
    }
}

/// The parameters of one offer, or of a response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Parameters {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<u8>,
    client_max_window_bits: ClientWindow,
}

/// `client_max_window_bits`, the one parameter that an offer may leave without a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ClientWindow {
    #[default]
    Absent,
    Open,
    Limit(u8),
}

impl ClientWindow {
    /// Whether it was absent before.
    fn set(&mut self, window: Self) -> bool {
        std::mem::replace(self, window) == Self::Absent
    }
}

impl Parameters {
    /// `None` if a parameter is unknown, repeated or invalid.
    fn parse(extension: &Extension<'_>) -> Option<Self> {
        let mut parameters = Self::default();
        for (name, value) in &extension.parameters {
            let value = value.as_deref();
            let is_new = match (name.to_ascii_lowercase().as_slice(), value) {
                (b"server_no_context_takeover", None) => {
                    !std::mem::replace(&mut parameters.server_no_context_takeover, true)
                }
                (b"client_no_context_takeover", None) => {
                    !std::mem::replace(&mut parameters.client_no_context_takeover, true)
                }
                (b"server_max_window_bits", Some(bits)) => {
                    parameters.server_max_window_bits.replace(window_bits(bits)?).is_none()
                }
                (b"client_max_window_bits", Some(bits)) => {
                    parameters.client_max_window_bits.set(ClientWindow::Limit(window_bits(bits)?))
                }
                (b"client_max_window_bits", None) => {
                    parameters.client_max_window_bits.set(ClientWindow::Open)
                }
                _ => false,
            };
            if !is_new {
                return None;
            }
        }
        Some(parameters)
    }

    /// The server's answer to this offer.
    fn accept(self, preferences: DeflatePreferences) -> DeflateResponse {
        let own_bits =
            self.server_max_window_bits.unwrap_or(MAX_WINDOW_BITS).min(preferences.own_max_window_bits);
        let peer_bits = match self.client_max_window_bits {
            ClientWindow::Limit(hint) => hint.min(preferences.peer_max_window_bits),
            ClientWindow::Open => preferences.peer_max_window_bits,
            // RFC 7692 section 7.1.2.2: a client that does not offer it cannot be limited.
            ClientWindow::Absent => MAX_WINDOW_BITS,
        };
        let server =
            direction(own_bits, preferences.own_context_takeover && !self.server_no_context_takeover);
        // A window above the wished size is not held over messages.
        let client_takeover = preferences.peer_context_takeover
            && !self.client_no_context_takeover
            && peer_bits <= preferences.peer_max_window_bits;
        let client = DeflateDirection { context_takeover: client_takeover, window_bits: peer_bits };
        let mut header = DEFLATE_EXTENSION.to_owned();
        if !server.context_takeover {
            header += "; server_no_context_takeover";
        }
        if !client.context_takeover {
            header += "; client_no_context_takeover";
        }
        if self.server_max_window_bits.is_some() || own_bits < MAX_WINDOW_BITS {
            // RFC 7692 section 7.1.2.1: an offer is accepted by saying it.
            write!(header, "; server_max_window_bits={own_bits}").expect("writing to a String does not fail");
        }
        push_bits(&mut header, "client_max_window_bits", peer_bits);
        DeflateResponse { parameters: DeflateParameters { server, client }, header }
    }

    /// The client's view of this response.
    fn check(self, preferences: DeflatePreferences) -> Result<DeflateParameters, DeflateFault> {
        let server_bits = self.server_max_window_bits.unwrap_or(MAX_WINDOW_BITS);
        if self.server_max_window_bits.is_some() && server_bits > preferences.peer_max_window_bits {
            return Err(DeflateFault("has a server_max_window_bits above the one offered"));
        }
        let client_bits = match self.client_max_window_bits {
            ClientWindow::Absent => preferences.own_max_window_bits,
            ClientWindow::Limit(bits) if bits <= preferences.own_max_window_bits => bits,
            ClientWindow::Limit(_) => {
                return Err(DeflateFault("has a client_max_window_bits above the one offered"));
            }
            // RFC 7692 section 7.1.2.2: only an offer leaves it open.
            ClientWindow::Open => return Err(DeflateFault("has a client_max_window_bits without a value")),
        };
        let client_takeover = preferences.own_context_takeover && !self.client_no_context_takeover;
        Ok(DeflateParameters {
            server: DeflateDirection {
                context_takeover: !self.server_no_context_takeover,
                window_bits: server_bits,
            },
            client: direction(client_bits, client_takeover),
        })
    }
}

/// A direction that this end compresses. DEFLATE as zlib has it cannot keep to a window of 256 bytes over messages, so there it does
/// not refer to earlier ones, and compresses only messages that are no longer than the window.
fn direction(window_bits: u8, context_takeover: bool) -> DeflateDirection {
    DeflateDirection { context_takeover: context_takeover && window_bits > MIN_WINDOW_BITS, window_bits }
}

/// 8 to 15 in decimal without leading zeros (RFC 7692 section 7.1.2).
fn window_bits(value: &[u8]) -> Option<u8> {
    match *value {
        [digit @ b'8'..=b'9'] => Some(digit - b'0'),
        [b'1', digit @ b'0'..=b'5'] => Some(10 + digit - b'0'),
        _ => None,
    }
}
