//! What programs written for `MicroPie` rely on.

use femtows::message::*;
use femtows::testkit::TestKit;

use crate::ends::*;

#[test]
fn micropie_accept_receive_answer_close() {
    let mut kit = TestKit::new(1);
    let handler = |ws: WebSocket| async move {
        assert!(!ws.accepted());
        ws.accept().await?;
        assert!(ws.accepted());
        let text = ws.receive_text().await?;
        ws.send_text(format!("Echo: {text}")).await?;
        ws.close(1000, "Done")
    };
    let (client, _) = connect(&mut kit, handler, WebSocketConfig::default()).expect("it accepts");
    kit.block_on(async {
        client.send_text("Hello").await.expect("open");
        assert_eq!(client.receive_text().await.expect("open"), "Echo: Hello");
        assert_eq!(code(client.receive_text().await), 1000);
    });
    assert_eq!(client.close_reason(), Some(reason(1000, "Done")));
    kit.run_until_idle();
    assert_eq!(kit.leftovers(), [""; 0]);
}

/// The response to a request with these header lines, of a handler that accepts with these options; and the session.
fn accepted(lines: &str, options: AcceptOptions) -> (String, Option<String>) {
    let mut kit = TestKit::new(1);
    let asked = Slot::new();
    let mut peer = raw(&mut kit, ask(&asked), WebSocketConfig::default());
    peer.write(&request("/", lines));
    kit.run_until_idle();
    let ws = kit.block_on(asked.take().accept_with(options)).expect("valid options");
    (String::from_utf8(peer.read()).expect("a head is ASCII"), ws.session_id())
}

#[test]
fn micropie_a_session_sets_exactly_this_cookie() {
    let (response, session) = accepted("", AcceptOptions::new().session_id("abc123"));
    let cookies: Vec<_> =
        response.lines().filter(|line| line.to_ascii_lowercase().starts_with("set-cookie")).collect();
    assert_eq!(cookies, ["Set-Cookie: session_id=abc123; Path=/; SameSite=Lax; HttpOnly; Secure;"]);
    assert_eq!(session.as_deref(), Some("abc123"));
}

#[test]
fn micropie_an_empty_session_sets_no_cookie() {
    for options in [AcceptOptions::new(), AcceptOptions::new().session_id("")] {
        let (response, session) = accepted("", options);
        assert!(!response.to_ascii_lowercase().contains("set-cookie"));
        assert_eq!(session, None);
    }
}

#[test]
fn micropie_the_session_is_the_cookie_of_the_request_or_what_accept_has_set() {
    let lines = "Cookie: a=b; session_id=old; c=d\r\n";
    assert_eq!(accepted(lines, AcceptOptions::new()).1.as_deref(), Some("old"));
    assert_eq!(accepted(lines, AcceptOptions::new().session_id("new")).1.as_deref(), Some("new"));
}

#[test]
fn micropie_bytes_read_as_text_lose_what_is_not_utf8() {
    let mut kit = TestKit::new(1);
    let ends = pair(&mut kit, WebSocketConfig::default());
    kit.block_on(async {
        ends.client.send_bytes(b"a\xffb").await.expect("open");
        assert_eq!(ends.server.receive_text().await.expect("open"), "ab");
        ends.client.send_text("\u{fc}").await.expect("open");
        assert_eq!(&ends.server.receive_bytes().await.expect("open")[..], "\u{fc}".as_bytes());
    });
}

#[test]
fn micropie_a_handler_may_return_that_the_connection_is_closed() {
    let mut kit = TestKit::new(1);
    let handler = |ws: WebSocket| async move {
        ws.accept().await?;
        loop {
            ws.receive_text().await?;
        }
        #[expect(unreachable_code, reason = "the type of the error")]
        Ok::<(), WebSocketError>(())
    };
    let mut peer = raw(&mut kit, handler, WebSocketConfig::default());
    peer.upgrade(&mut kit);
    peer.send_frame(femtows::WSMsgType::Close, &close_payload(1001, ""));
    kit.run_until_idle();
    assert_eq!(closes(&mut peer), [close_payload(1001, "")], "the answer, and no 1011");
}

#[test]
fn micropie_a_session_with_line_breaks_is_refused() {
    for id in ["a\r\nX-Evil: 1", "a\rb", "a\nb", "a;b", "a\0b"] {
        let mut kit = TestKit::new(1);
        let (request, _peer) = asked(&mut kit, "/", "");
        let refused = kit.block_on(request.accept_with(AcceptOptions::new().session_id(id)));
        assert!(matches!(refused, Err(WebSocketError::InvalidArgument(_))), "{id:?}: {refused:?}");
        assert_eq!((request.session_id(), request.application_state()), (None, SideState::Connecting));
        kit.block_on(request.accept()).expect("nothing has happened");
    }
}
