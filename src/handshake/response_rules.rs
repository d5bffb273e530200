//! What a 101 response has to say to be believed (RFC 6455 section 4.1, "the client MUST validate").

use super::head::{header_values, joined_values, single_header};
use super::key::accept_key;
use super::syntax::{list_contains, list_items, text};
use super::{WSHandshakeErrorKind, WSRequestHead};

/// Checks the `head` of a 101 response to `request`. Returns the subprotocol that the server chose.
pub(super) fn check_switching(
    head: &[u8],
    request: &WSRequestHead,
) -> Result<Option<String>, WSHandshakeErrorKind> {
    check_no_body(head)?;
    check_upgrade(head)?;
    check_accept(head, request)?;
    check_extensions(head, request)?;
    check_subprotocol(head, request)
}

/// A 101 response ends with its head (RFC 9110 section 15.2); whoever announces a body is not to be trusted.
fn check_no_body(head: &[u8]) -> Result<(), WSHandshakeErrorKind> {
    if header_values(head, "transfer-encoding").next().is_some() {
        return Err(invalid_header(head, "Transfer-Encoding"));
    }
    match single_header(head, "content-length") {
        Ok(None | Some(b"0")) => Ok(()),
        _ => Err(invalid_header(head, "Content-Length")),
    }
}

/// Items 2 and 3.
fn check_upgrade(head: &[u8]) -> Result<(), WSHandshakeErrorKind> {
    match single_header(head, "upgrade") {
        Ok(Some(value)) if value.eq_ignore_ascii_case(b"websocket") => {}
        _ => return Err(invalid_upgrade(head, "Upgrade")),
    }
    if header_values(head, "connection").any(|value| list_contains(value, "upgrade")) {
        Ok(())
    } else {
        Err(invalid_upgrade(head, "Connection"))
    }
}

/// Item 4.
fn check_accept(head: &[u8], request: &WSRequestHead) -> Result<(), WSHandshakeErrorKind> {
    let expected = accept_key(request.key().unwrap_or_default());
    match single_header(head, "sec-websocket-accept") {
        Ok(Some(accept)) if accept == expected => Ok(()),
        _ => Err(invalid_header(head, "Sec-WebSocket-Accept")),
    }
}

/// Item 5: no extension that was not offered. Parameters are the extension's own business.
fn check_extensions(head: &[u8], request: &WSRequestHead) -> Result<(), WSHandshakeErrorKind> {
    const NAME: &str = "Sec-WebSocket-Extensions";
    let Some(chosen) = joined_values(head, NAME) else { return Ok(()) };
    let offered = joined_values(request.raw_head(), NAME).unwrap_or_default();
    let name_of =
        |extension: &str| extension.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let offered: Vec<String> = list_items(&offered).map(name_of).collect();
    let mut chosen_names = list_items(&chosen).map(name_of).peekable();
    if chosen_names.peek().is_some() && chosen_names.all(|name| offered.contains(&name)) {
        Ok(())
    } else {
        Err(invalid_header(head, NAME))
    }
}

/// Item 6: no subprotocol that was not offered, and one at most.
fn check_subprotocol(head: &[u8], request: &WSRequestHead) -> Result<Option<String>, WSHandshakeErrorKind> {
    const NAME: &str = "Sec-WebSocket-Protocol";
    match single_header(head, NAME) {
        Ok(None) => Ok(None),
        Ok(Some(value)) if request.offers_subprotocol(&text(value)) => Ok(Some(text(value).into_owned())),
        _ => Err(invalid_header(head, NAME)),
    }
}

fn invalid_header(head: &[u8], name: &'static str) -> WSHandshakeErrorKind {
    WSHandshakeErrorKind::InvalidHeader { name: name.into(), value: value_of(head, name) }
}

fn invalid_upgrade(head: &[u8], name: &'static str) -> WSHandshakeErrorKind {
    WSHandshakeErrorKind::InvalidUpgrade { name: name.into(), value: value_of(head, name) }
}

fn value_of(head: &[u8], name: &str) -> Option<Box<str>> {
    joined_values(head, name).map(Into::into)
}
