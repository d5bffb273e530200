//! Errors that a listener is told of, and those that the record of the end carries.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use femtows::proto::Role;
use femtows::testkit::{Peer, TestKit};
use femtows::*;

type Notes = Rc<RefCell<Vec<String>>>;

/// Fails as the payload says, and notes what it is told.
struct Failing(Notes);

fn fail(payload: &str) -> WSResult {
    match payload {
        "panic" => panic!("as asked"),
        "reject" => Err(WSProtocolError::new(WSCloseCode(4000), "no").into()),
        "" => Ok(()),
        other => Err(other.into()),
    }
}

impl WSMessageListener for Failing {
    fn on_ws_message(&mut self, _: &WSTransport, message: WSMessage<'_>) -> WSResult {
        let Some(text) = message.as_text() else { return Ok(()) };
        self.0.borrow_mut().push(format!("message {text}"));
        fail(text)
    }

    fn on_ws_error(&mut self, transport: &WSTransport, error: &WSListenerError) {
        self.0.borrow_mut().push(format!("error {error}"));
        assert!(!error.to_string().contains("twice"), "the report fails, too");
        transport.send(WSMsgType::Text, "sorry");
    }

    fn on_ws_disconnected(&mut self, transport: &WSTransport) {
        let info = transport.disconnect_info().unwrap();
        self.0.borrow_mut().push(format!("end {:?}", info.error.as_deref()));
    }
}

/// Sends `texts` in one read to a server that closes on errors or not. Returns its notes.
fn notes_of(texts: &[&str], disconnects: bool) -> (Vec<String>, Vec<(WSMsgType, Vec<u8>)>) {
    let mut kit = TestKit::new(1);
    let notes = Notes::default();
    let listener = Rc::clone(&notes);
    let config = WSServerConfig::default().disconnect_on_error(disconnects);
    let factory = move |_: &WSUpgradeRequest| WSMessageAdapter::new(Failing(Rc::clone(&listener)));
    let mut peer = kit.raw_server(factory, config);
    peer.upgrade(&mut kit);
    for text in texts {
        peer.send_frame(WSMsgType::Text, text.as_bytes());
    }
    kit.run_until_idle();
    let frames = peer.frames().into_iter().map(|frame| (frame.msg_type, frame.payload.clone())).collect();
    peer.close();
    kit.run_until_idle();
    let notes = notes.borrow().clone();
    (notes, frames)
}

#[test]
fn an_error_that_leaves_the_connection_open_is_reported_before_the_next_message() {
    let (notes, frames) = notes_of(&["one", "", "two"], false);
    assert_eq!(
        notes,
        ["message one", "error one", "message ", "message two", "error two", "end None"].map(String::from)
    );
    assert_eq!(frames, [(WSMsgType::Text, b"sorry".to_vec()), (WSMsgType::Text, b"sorry".to_vec())]);
}

#[test]
fn an_error_that_closes_a_server_is_reported_before_the_end() {
    for (text, error) in [("broken", "broken"), ("panic", "panic: as asked")] {
        let (notes, frames) = notes_of(&[text, "not delivered"], true);
        let wanted =
            [format!("message {text}"), format!("error {error}"), format!("end Some(\"listener: {error}\")")];
        assert_eq!(notes, wanted);
        assert_eq!(frames, [(WSMsgType::Close, vec![0x03, 0xf3])], "sent after CLOSE, it has no effect");
    }
}

#[test]
fn rejecting_the_peer_is_no_failure() {
    let (notes, _) = notes_of(&["reject"], true);
    assert_eq!(notes[0], "message reject");
    assert!(notes.len() == 2 && notes[1].starts_with("end Some(") && notes[1].contains("no"), "{notes:?}");
}

#[test]
fn a_panic_in_on_ws_error_closes_and_is_not_reported_again() {
    let (notes, frames) = notes_of(&["twice", "not delivered"], false);
    assert_eq!(
        notes,
        ["message twice", "error twice", "end Some(\"listener: panic: the report fails, too\")"]
            .map(String::from)
    );
    assert_eq!(frames, [(WSMsgType::Close, vec![0x03, 0xf3])]);
}

#[test]
fn a_client_s_error_comes_out_of_wait_disconnected_alone() {
    let mut kit = TestKit::new(2);
    let notes = Notes::default();
    let listener = WSMessageAdapter::new(Failing(Rc::clone(&notes)));
    let (mut peer, client) = kit.raw_client(listener, WSConnectConfig::default());
    peer.upgrade(&mut kit);
    let transport = kit.block_on(client).unwrap();
    peer.send_frame(WSMsgType::Text, b"broken");
    kit.run_until_idle();
    peer.close();
    let error = kit.block_on(transport.wait_disconnected()).unwrap_err();
    assert_eq!(error.to_string(), "listener: broken");
    assert_eq!(*notes.borrow(), ["message broken", "end Some(\"listener: broken\")"]);
}

fn quiet(kit: &mut TestKit) -> (Peer, WSTransport) {
    let factory = |_: &WSUpgradeRequest| WSMessageAdapter::new(Failing(Notes::default()));
    let mut peer = kit.raw_server(factory, WSServerConfig::default());
    peer.upgrade(kit);
    let transport = kit.transport(peer.link(), Role::Server).unwrap();
    (peer, transport)
}

#[test]
fn the_record_has_the_text_of_the_peer_s_error() {
    let mut kit = TestKit::new(3);
    let (mut peer, transport) = quiet(&mut kit);
    peer.send_frame(WSMsgType::Text, b"\xff");
    kit.run_until_idle();
    peer.close();
    kit.run_until_idle();
    let info = transport.disconnect_info().unwrap();
    let error = info.error.as_deref().expect("there is a text");
    assert!(error.contains("UTF-8"), "{error}");
    assert!(info.to_string().contains(error), "{info}");
}

#[test]
fn an_end_without_an_error_has_no_text() {
    let mut kit = TestKit::new(4);
    let (mut peer, transport) = quiet(&mut kit);
    peer.send_frame(WSMsgType::Close, b"\x03\xe8bye");
    kit.run_until_idle();
    peer.close();
    kit.advance(Duration::from_secs(3));
    assert_eq!(transport.disconnect_info().unwrap().error, None);
}
