//! RFC 7692 section 7.1, both sides.

use super::super::{
    DeflateDirection, DeflateParameters, DeflatePreferences, accept_offer, check_response, offer,
};

const OPEN: DeflatePreferences = DeflatePreferences {
    own_context_takeover: true,
    peer_context_takeover: true,
    own_max_window_bits: 15,
    peer_max_window_bits: 15,
};

const FRUGAL: DeflatePreferences =
    DeflatePreferences { own_context_takeover: false, peer_context_takeover: false, ..OPEN };

const SMALL: DeflatePreferences =
    DeflatePreferences { own_max_window_bits: 10, peer_max_window_bits: 11, ..OPEN };

fn accepted(preferences: DeflatePreferences, values: &[&str]) -> Option<String> {
    accept_offer(&preferences, values.iter().map(|value| value.as_bytes())).map(|response| response.header)
}

fn checked(preferences: DeflatePreferences, values: &[&str]) -> Result<Option<String>, ()> {
    let checked = check_response(&preferences, values.iter().map(|value| value.as_bytes()));
    checked.map(|parameters| parameters.map(shown)).map_err(|_| ())
}

/// For each end its window, and a `+` if it takes its context over.
fn shown(parameters: DeflateParameters) -> String {
    let shown = |direction: DeflateDirection| {
        format!("{}{}", direction.window_bits, if direction.context_takeover { "+" } else { "" })
    };
    format!("server {} client {}", shown(parameters.server), shown(parameters.client))
}

#[test]
fn a_server_accepts_the_first_offer_that_it_understands() {
    let cases: [(DeflatePreferences, &[&str], Option<&str>); 24] = [
        (OPEN, &[], None),
        (OPEN, &["x-other"], None),
        (OPEN, &["permessage-deflate"], Some("")),
        (OPEN, &["PerMessage-Deflate"], Some("")),
        (OPEN, &["x-other; a=b, permessage-deflate"], Some("")),
        (OPEN, &["x-other", "permessage-deflate"], Some("")),
        (OPEN, &["permessage-deflate; server_no_context_takeover"], Some("; server_no_context_takeover")),
        (OPEN, &["permessage-deflate; client_no_context_takeover"], Some("; client_no_context_takeover")),
        (OPEN, &["permessage-deflate; client_max_window_bits"], Some("")),
        (OPEN, &["permessage-deflate; client_max_window_bits=10"], Some("; client_max_window_bits=10")),
        (OPEN, &["permessage-deflate; server_max_window_bits=10"], Some("; server_max_window_bits=10")),
        (OPEN, &["permessage-deflate;server_max_window_bits = \"15\""], Some("; server_max_window_bits=15")),
        (
            OPEN,
            &["permessage-deflate; server_max_window_bits=8"],
            Some("; server_no_context_takeover; server_max_window_bits=8"),
        ),
        (
            FRUGAL,
            &["permessage-deflate; client_max_window_bits"],
            Some("; server_no_context_takeover; client_no_context_takeover"),
        ),
        (
            SMALL,
            &["permessage-deflate; client_max_window_bits"],
            Some("; server_max_window_bits=10; client_max_window_bits=11"),
        ),
        (
            SMALL,
            &["permessage-deflate; client_max_window_bits=9; server_max_window_bits=12"],
            Some("; server_max_window_bits=10; client_max_window_bits=9"),
        ),
        // It cannot be limited, so it is not to keep what it cannot limit.
        (SMALL, &["permessage-deflate"], Some("; client_no_context_takeover; server_max_window_bits=10")),
        // Section 7.1: what is unknown, repeated or invalid is declined, and the next offer is tried.
        (OPEN, &["permessage-deflate; unknown, permessage-deflate"], Some("")),
        (OPEN, &["permessage-deflate; unknown=1"], None),
        (OPEN, &["permessage-deflate; client_max_window_bits; client_max_window_bits"], None),
        (OPEN, &["permessage-deflate; server_no_context_takeover; server_no_context_takeover"], None),
        (
            OPEN,
            &["permessage-deflate; server_max_window_bits=16, permessage-deflate; server_max_window_bits=9"],
            Some("; server_max_window_bits=9"),
        ),
        // What follows a fault of the grammar is not read; another header is.
        (OPEN, &["permessage-deflate;;, permessage-deflate"], None),
        (OPEN, &["permessage-deflate;;", "permessage-deflate"], Some("")),
    ];
    for (preferences, values, expected) in cases {
        let expected = expected.map(|parameters| format!("permessage-deflate{parameters}"));
        assert_eq!(accepted(preferences, values), expected, "{values:?} {preferences:?}");
    }
}

#[test]
fn values_that_are_none() {
    let values = ["", "=", "=\"\"", "=7", "=16", "=08", "=+9", "=9a", "=10.", "=100", "=-9", "=\"08\""];
    for value in values {
        for name in ["server_max_window_bits", "client_max_window_bits"] {
            if name.starts_with('c') && value.is_empty() {
                continue;
            }
            let header = format!("permessage-deflate; {name}{value}");
            assert_eq!(accepted(OPEN, &[&header]), None, "{header}");
            assert_eq!(checked(OPEN, &[&header]), Err(()), "{header}");
        }
    }
    for name in ["server_no_context_takeover", "client_no_context_takeover"] {
        let header = format!("permessage-deflate; {name}=1");
        assert_eq!(accepted(OPEN, &[&header]), None, "{header}");
        assert_eq!(checked(OPEN, &[&header]), Err(()), "{header}");
    }
}

#[test]
fn a_client_says_what_it_wants() {
    assert_eq!(offer(&OPEN), "permessage-deflate; client_max_window_bits");
    assert_eq!(
        offer(&FRUGAL),
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover; client_max_window_bits"
    );
    assert_eq!(offer(&SMALL), "permessage-deflate; server_max_window_bits=11; client_max_window_bits=10");
}

#[test]
fn a_client_takes_no_answer_but_one_to_its_offer() {
    type Outcome = Result<Option<&'static str>, ()>;
    let cases: [(DeflatePreferences, &[&str], Outcome); 22] = [
        (OPEN, &[], Ok(None)),
        (OPEN, &["x-other; a"], Ok(None)),
        (OPEN, &["permessage-deflate"], Ok(Some("server 15+ client 15+"))),
        (OPEN, &["x-other, permessage-deflate"], Ok(Some("server 15+ client 15+"))),
        (OPEN, &["permessage-deflate; server_no_context_takeover"], Ok(Some("server 15 client 15+"))),
        (OPEN, &["permessage-deflate; client_no_context_takeover"], Ok(Some("server 15+ client 15"))),
        // Section 7.1.2.1: the server may say it unasked.
        (OPEN, &["permessage-deflate; server_max_window_bits=9"], Ok(Some("server 9+ client 15+"))),
        (OPEN, &["permessage-deflate; client_max_window_bits=12"], Ok(Some("server 15+ client 12+"))),
        (OPEN, &["permessage-deflate; client_max_window_bits=8"], Ok(Some("server 15+ client 8"))),
        (OPEN, &["permessage-deflate; client_max_window_bits=\"9\""], Ok(Some("server 15+ client 9+"))),
        (OPEN, &["permessage-deflate; client_max_window_bits"], Err(())),
        (OPEN, &["permessage-deflate; unknown"], Err(())),
        (OPEN, &["permessage-deflate; server_no_context_takeover; server_no_context_takeover"], Err(())),
        (OPEN, &["permessage-deflate, permessage-deflate"], Err(())),
        (OPEN, &["permessage-deflate", "permessage-deflate"], Err(())),
        (OPEN, &["permessage-deflate;"], Err(())),
        // Wishes that the server leaves unanswered.
        (FRUGAL, &["permessage-deflate"], Ok(Some("server 15+ client 15"))),
        (SMALL, &["permessage-deflate"], Ok(Some("server 15+ client 10+"))),
        (SMALL, &["permessage-deflate; server_max_window_bits=11"], Ok(Some("server 11+ client 10+"))),
        (SMALL, &["permessage-deflate; server_max_window_bits=12"], Err(())),
        (SMALL, &["permessage-deflate; client_max_window_bits=10"], Ok(Some("server 15+ client 10+"))),
        (SMALL, &["permessage-deflate; client_max_window_bits=11"], Err(())),
    ];
    for (preferences, values, expected) in cases {
        let expected = expected.map(|shown| shown.map(str::to_owned));
        assert_eq!(checked(preferences, values), expected, "{values:?} {preferences:?}");
    }
}

/// Both ends of this library, whatever each wants.
#[test]
fn both_ends_understand_each_other() {
    let mut all = Vec::new();
    for bits in [8, 9, 12, 15] {
        for other in [8, 9, 12, 15] {
            for takeovers in 0..4 {
                all.push(DeflatePreferences {
                    own_context_takeover: takeovers & 1 != 0,
                    peer_context_takeover: takeovers & 2 != 0,
                    own_max_window_bits: bits,
                    peer_max_window_bits: other,
                });
            }
        }
    }
    for client in &all {
        for server in &all {
            let accepted = accept_offer(server, [offer(client).as_bytes()]).expect("every offer is good");
            let checked = check_response(client, [accepted.header.as_bytes()]).expect("every answer is good");
            let checked = checked.expect("it was accepted");
            assert_eq!(checked.server, accepted.parameters.server, "{client:?} {server:?}");
            // A client may do with less than it is allowed.
            let (used, allowed) = (checked.client, accepted.parameters.client);
            assert!(used.window_bits <= allowed.window_bits, "{client:?} {server:?}");
            assert!(!used.context_takeover || allowed.context_takeover, "{client:?} {server:?}");
        }
    }
}
