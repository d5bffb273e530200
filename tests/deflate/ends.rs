//! Listeners and messages.

use std::cell::RefCell;
use std::fmt::Write;
use std::rc::Rc;

use femtows::testkit::{Random, TestKit};
use femtows::{
    WSConnectConfig, WSDeflateConfig, WSFrame, WSHeaders, WSListener, WSMessage, WSMessageListener,
    WSMsgType, WSResult, WSTransport,
};

/// A message as it was sent or received.
pub(crate) type Said = (WSMsgType, Vec<u8>);

/// Sends back every message, compressed if that was agreed on.
pub(crate) struct Echo;

impl WSMessageListener for Echo {
    fn on_ws_message(&mut self, transport: &WSTransport, message: WSMessage<'_>) -> WSResult {
        assert!(transport.send(message.msg_type(), message).is_accepted());
        Ok(())
    }
}

/// The feature takes nothing away: what could be moved to another thread still can.
const _: () = {
    const fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<femtows::WSMessageAdapter<Echo>>();
};

/// Keeps the messages that came.
#[derive(Clone, Default)]
pub(crate) struct Messages(Rc<RefCell<Vec<Said>>>);

impl Messages {
    pub(crate) fn take(&self) -> Vec<Said> {
        self.0.take()
    }
}

impl WSMessageListener for Messages {
    fn on_ws_message(&mut self, _: &WSTransport, message: WSMessage<'_>) -> WSResult {
        self.0.borrow_mut().push((message.msg_type(), message.as_bytes().to_vec()));
        Ok(())
    }

    /// Control frames count as messages here, to see that they come in between.
    fn on_ws_control(&mut self, _: &WSTransport, frame: &mut WSFrame<'_>) -> WSResult {
        self.0.borrow_mut().push((frame.msg_type(), frame.payload().to_vec()));
        Ok(())
    }
}

/// RSV1 and payload of a data frame.
pub(crate) type DataFrame = (bool, Vec<u8>);

/// Keeps the data frames that came.
#[derive(Clone, Default)]
pub(crate) struct Frames(Rc<RefCell<Vec<DataFrame>>>);

impl Frames {
    pub(crate) fn take(&self) -> Vec<DataFrame> {
        self.0.take()
    }
}

impl WSListener for Frames {
    fn on_ws_frame(&mut self, _: &WSTransport, frame: &mut WSFrame<'_>) -> WSResult {
        if !frame.msg_type().is_control() {
            self.0.borrow_mut().push((frame.rsv1(), frame.payload().to_vec()));
        }
        Ok(())
    }
}

const EXTENSIONS: &str = "Sec-WebSocket-Extensions";

/// Makes the configuration of a client that offers what `deflate` offers, but by a header of its own.
/// So the server compresses, and the listener of the client gets the frames as they are on the wire.
pub(crate) fn reading_the_wire(deflate: &WSDeflateConfig) -> WSConnectConfig {
    let mut kit = TestKit::new(1);
    let config = WSConnectConfig::default().deflate(deflate.clone());
    let (mut peer, _client) = kit.raw_client(Frames::default(), config);
    kit.run_until_idle();
    let request = String::from_utf8(peer.read()).expect("ASCII");
    let header = request.lines().find_map(|line| line.strip_prefix(EXTENSIONS)).expect("an offer");
    let mut headers = WSHeaders::new();
    headers.append(EXTENSIONS, header.trim_start_matches(": ")).expect("a header");
    WSConnectConfig::default().extra_headers(headers).allow_reserved_bits(true)
}

/// Text like a feed's, or noise; short, or long.
pub(crate) fn random_message(random: &mut Random) -> Said {
    if random.chance(20) {
        let len = random.below(20_000);
        return (WSMsgType::Binary, (0..len).map(|_| random.next_u64() as u8).collect());
    }
    let mut text = String::new();
    for _ in 0..random.below(40) {
        let (price, size) = (random.below(1000), random.below(100));
        write!(text, "{{\"symbol\":\"femto\u{20ac}\",\"price\":{price},\"size\":{size}}},")
            .expect("a String");
    }
    (WSMsgType::Text, text.into_bytes())
}
