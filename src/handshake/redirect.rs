//! Where a redirection leads, and what may go there (RFC 9110 section 15.4).

use super::{WSHandshakeError, WSHandshakeErrorKind, WSHeaders, WSUrl};

/// Headers that follow to any origin, besides `Accept` and those that begin with `Accept-`. They
/// describe the client; any other header may be a credential.
const FOLLOW_ANYWHERE: [&str; 3] = ["user-agent", "origin", "accept"];

/// Returns the URL to which the answer in `error` redirects a request for `from`, or `None` if it
/// is no redirection. Credentials of `from` follow within its origin.
///
/// # Errors
/// A redirection that cannot be followed, or must not be: one without `Location`, to something else than a WebSocket, or from `wss` to
/// `ws`.
pub(crate) fn redirect_target(
    error: &WSHandshakeError,
    from: &WSUrl,
) -> Result<Option<WSUrl>, WSHandshakeError> {
    let WSHandshakeErrorKind::InvalidStatus(301 | 302 | 303 | 307 | 308) = error.kind else {
        return Ok(None);
    };
    let refused = |reason: String| {
        let kind = WSHandshakeErrorKind::InvalidRedirect(reason.into());
        WSHandshakeError { kind, ..error.clone() }
    };
    let location = error.response.as_ref().and_then(|response| response.get_header("location"));
    let Some(location) = location else {
        return Err(refused("lacks the header Location".to_owned()));
    };
    let mut to = from
        .join(&location)
        .map_err(|invalid| refused(format!("leads to {:?}: {}", invalid.url, invalid.reason)))?;
    if from.is_secure() && !to.is_secure() {
        return Err(refused("leads from wss to ws".to_owned()));
    }
    if to.has_same_origin(from) {
        to.inherit_credentials(from);
    }
    Ok(Some(to))
}

/// Removes the headers and subprotocols that must not follow to another origin: all but those that
/// `named` contains or that describe the client.
pub(crate) fn leave_behind(headers: &mut WSHeaders, subprotocols: &mut Vec<String>, named: &[String]) {
    let is_named = |name: &str| named.iter().any(|other| other.eq_ignore_ascii_case(name));
    // Subprotocols may carry a token: browsers can set no other header.
    if !is_named("sec-websocket-protocol") {
        subprotocols.clear();
    }
    headers.retain(|name| {
        let describes_client = FOLLOW_ANYWHERE.iter().any(|other| other.eq_ignore_ascii_case(name))
            || name.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("accept-"));
        describes_client || is_named(name)
    });
}
