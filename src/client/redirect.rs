//! Follows redirections as far as the configuration allows.

use crate::client::{WSConnectConfig, WSConnectError};
use crate::handshake::{WSHandshakeError, WSUrl, leave_behind, redirect_target};
#[cfg(feature = "tls")]
use crate::tls::WSClientTls;

/// The URL to go on with, if `error` is a redirection; from then on `config` is without what must not go there. `None` if the error is
/// none, or if no redirection is left in the budget.
///
/// # Errors
/// A redirection that cannot be followed, or must not be: one without `Location`, to something else than a WebSocket, or from `wss` to
/// `ws`.
pub(super) fn follow(
    error: &WSHandshakeError,
    from: &WSUrl,
    config: &mut WSConnectConfig,
) -> Result<Option<WSUrl>, WSConnectError> {
    if config.max_redirects == 0 {
        return Ok(None);
    }
    let Some(to) = redirect_target(error, from)? else { return Ok(None) };
    if !to.has_same_origin(from) {
        leave_behind(&mut config.extra_headers, &mut config.subprotocols, &config.redirect_headers);
        #[cfg(feature = "tls")]
        {
            config.tls = config.tls.as_ref().map(WSClientTls::without_identity);
        }
    }
    config.max_redirects -= 1;
    Ok(Some(to))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::client::ws_connect;
    use crate::connection::{WSListener, WSResult, WSTransport};
    use crate::handshake::{ClientHandshake, ClientHandshakeConfig, WSHandshakeErrorKind, WSHeaders};
    use crate::net::with_redirections_hanging;
    use crate::proto::WSFrame;
    use crate::runtime::{WSLoop, WSLoopConfig, WSPhase};

    /// The error of an answer with this status and these header lines.
    fn answer(status: u16, headers: &str) -> WSHandshakeError {
        let config = ClientHandshakeConfig::new("h", "/");
        let mut handshake = ClientHandshake::new(config, [0; 16]).expect("valid");
        let answer = format!("HTTP/1.1 {status} X\r\n{headers}Content-Length: 0\r\n\r\n");
        handshake.receive(answer.as_bytes()).expect_err("not a 101")
    }

    fn followed(
        from: &str,
        location: &str,
        config: &mut WSConnectConfig,
    ) -> Result<Option<WSUrl>, WSConnectError> {
        let error = answer(302, &format!("Location: {location}\r\n"));
        follow(&error, &WSUrl::parse(from).expect("valid"), config)
    }

    fn refusal(result: Result<Option<WSUrl>, WSConnectError>) -> String {
        match result {
            Err(WSConnectError::Handshake(error)) => match &error.kind {
                WSHandshakeErrorKind::InvalidRedirect(reason) => {
                    assert!(error.response.is_some());
                    reason.to_string()
                }
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn t13_which_answers_redirect() {
        let from = WSUrl::parse("ws://h/a").expect("valid");
        for status in 300..=310 {
            let mut config = WSConnectConfig::default();
            let next = follow(&answer(status, "Location: b\r\n"), &from, &mut config).expect("no fault");
            let redirects = [301, 302, 303, 307, 308].contains(&status);
            assert_eq!(next.map(|url| url.to_string()), redirects.then(|| "ws://h/b".to_owned()), "{status}");
            assert_eq!(config.max_redirects, if redirects { 4 } else { 5 });
        }
        let mut none_left = WSConnectConfig::default().max_redirects(0);
        assert!(follow(&answer(302, ""), &from, &mut none_left).expect("the original error").is_none());
        let garbage = WSHandshakeError {
            raw_header: Bytes::new(),
            raw_body: Bytes::new(),
            response: None,
            kind: WSHandshakeErrorKind::InvalidMessage("x".into()),
        };
        assert!(follow(&garbage, &from, &mut WSConnectConfig::default()).expect("not one").is_none());
    }

    #[test]
    fn t13_what_is_not_followed() {
        let from = WSUrl::parse("ws://h/a").expect("valid");
        let missing = follow(&answer(307, ""), &from, &mut WSConnectConfig::default());
        assert_eq!(refusal(missing), "lacks the header Location");
        for location in ["ws://h/", "http://h/", "http://other/"] {
            let result = followed("wss://h/a", location, &mut WSConnectConfig::default());
            assert_eq!(refusal(result), "leads from wss to ws");
        }
        for location in ["ftp://h/", "ws://u:secret@h:0/", "mailto:x"] {
            let reason = refusal(followed("ws://h/a", location, &mut WSConnectConfig::default()));
            assert!(reason.starts_with("leads to") && !reason.contains("secret"), "{reason}");
        }
    }

    #[test]
    fn t13_credentials_stay_with_their_origin() {
        let authorization = "Basic dTpw";
        for (location, same_origin) in [
            ("/b", true),
            ("ws://h/b", true),
            ("http://H:80/b", true),
            ("ws://h:81/b", false),
            ("wss://h/b", false),
            ("//other/b", false),
        ] {
            let mut headers = WSHeaders::new();
            for name in ["Authorization", "cookie", "Proxy-Authorization", "Host", "ACCEPT-Language"] {
                headers.append(name, "x").expect("valid");
            }
            let mut config = WSConnectConfig::default().extra_headers(headers);
            let to = followed("ws://u:p@h/a", location, &mut config).expect("fine").expect("followed");
            assert_eq!(to.authorization().as_deref(), same_origin.then_some(authorization), "{location}");
            assert_eq!(config.extra_headers.len(), if same_origin { 5 } else { 1 }, "{location}");
            assert!(config.extra_headers.contains("accept-language"));
        }
        let own = followed("ws://u:p@h/", "ws://v:q@h/", &mut WSConnectConfig::default());
        let own = own.expect("fine").expect("followed").authorization();
        assert_ne!(own.expect("its own"), authorization);
    }

    /// The names of the headers that follow from `ws://h/` to `to`.
    fn names_after(to: &str, names: &[&str], config: WSConnectConfig) -> Vec<String> {
        let mut headers = WSHeaders::new();
        for &name in names {
            headers.append(name, "x").expect("valid");
        }
        let mut config = config.extra_headers(headers);
        followed("ws://h/", to, &mut config).expect("fine").expect("followed");
        config.extra_headers.iter().map(|(name, _)| name.to_owned()).collect()
    }

    #[test]
    fn only_headers_that_describe_the_client_follow_to_another_origin() {
        let names =
            ["User-agent", "origin", "Accept", "accept-Encoding", "X-Api-Key", "Acceptance", "Referer"];
        let followed = names_after("ws://other/", &names, WSConnectConfig::default());
        assert_eq!(followed, ["User-agent", "origin", "Accept", "accept-Encoding"]);
    }

    /// RFC 6454 section 4: the scheme is part of the origin.
    #[test]
    fn wss_on_the_same_host_is_another_origin() {
        assert_eq!(names_after("wss://h/", &["X-Api-Key"], WSConnectConfig::default()), Vec::<String>::new());
    }

    #[test]
    fn headers_named_by_redirect_headers_follow_to_another_origin() {
        let config = WSConnectConfig::default().redirect_headers(["x-api-key", "Cookie"]);
        let followed = names_after("ws://other/", &["X-Api-Key", "cookie", "Authorization"], config);
        assert_eq!(followed, ["X-Api-Key", "cookie"]);
    }

    #[test]
    fn credentials_of_the_url_never_follow_to_another_origin() {
        let mut config = WSConnectConfig::default().redirect_headers(["Authorization"]);
        let to = followed("ws://u:p@h/a", "ws://other/", &mut config).expect("fine").expect("followed");
        assert_eq!(to.authorization(), None);
    }

    #[test]
    fn subprotocols_follow_to_another_origin_only_if_named() {
        for (named, followed_names) in [(&[][..], &[][..]), (&["sec-websocket-protocol"], &["chat"])] {
            let config = WSConnectConfig::default().subprotocols(["chat"]);
            let mut config = config.redirect_headers(named.iter().copied());
            followed("ws://h/", "ws://other/", &mut config).expect("fine").expect("followed");
            assert_eq!(config.subprotocols, followed_names);
        }
    }

    struct Deaf;

    impl WSListener for Deaf {
        fn on_ws_frame(&mut self, _: &WSTransport, _: &mut WSFrame<'_>) -> WSResult {
            Ok(())
        }
    }

    /// Connects to a server that redirects to another host.
    fn connect_and_be_redirected() -> WSConnectError {
        let server = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("ws://{}/", server.local_addr().expect("bound"));
        let answering = thread::spawn(move || {
            let mut peer = server.accept().expect("a client").0;
            let _ = peer.read(&mut [0; 4096]);
            let answer = "HTTP/1.1 302 X\r\nLocation: ws://other.invalid/\r\nContent-Length: 0\r\n\r\n";
            peer.write_all(answer.as_bytes()).expect("it waits");
        });
        let mut event_loop = WSLoop::new(WSLoopConfig::default()).expect("a loop");
        let config = WSConnectConfig::default().handshake_timeout(Some(Duration::from_millis(500)));
        let connecting = ws_connect(&event_loop.handle(), Deaf, &url, config);
        let result = event_loop.block_on(connecting).expect("a loop");
        answering.join().expect("no panic");
        result.expect_err("the name does not exist")
    }

    #[test]
    fn the_host_of_a_redirection_is_looked_up_within_the_bound() {
        let error = with_redirections_hanging(connect_and_be_redirected);
        assert!(matches!(error, WSConnectError::Timeout { phase: WSPhase::Resolve, .. }), "{error}");
    }
}
