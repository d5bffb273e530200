//! A peer that seals whatever it likes.

use rustls::{AlertDescription, ContentType, Error};

use super::{End, SUITES, configs, name};
use crate::tls::Session;
use crate::tls::record::{HEADER, RecordLayer, SMALL_RECORD, TAG};

/// An end of ours, and the peer that is made to say odd things.
pub(super) struct Forger {
    pub(super) ours: End,
    peer: End,
    /// What was sealed and not delivered.
    pub(super) wire: Vec<u8>,
}

impl Forger {
    /// With the handshake done; `is_client` is ours.
    pub(super) fn new(is_client: bool) -> Self {
        let (client, server) = configs(SUITES[0], true);
        let mut client = End::new(Session::client(client, name()).unwrap());
        let mut server = End::new(Session::server(server).unwrap());
        client.receive(&[]).unwrap();
        while !client.out.is_empty() || !server.out.is_empty() {
            server.receive(&std::mem::take(&mut client.out)).unwrap();
            client.receive(&std::mem::take(&mut server.out)).unwrap();
        }
        let (ours, peer) = if is_client { (client, server) } else { (server, client) };
        Self { ours, peer, wire: Vec::new() }
    }

    /// Seals a record with this content.
    pub(super) fn seal(&mut self, kind: ContentType, content: &[u8]) -> &mut Self {
        let layer = self.peer.session.records().unwrap();
        layer.outgoing.seal(kind, content, &mut self.wire).unwrap();
        self
    }

    /// Seals a record of which this is all of the plaintext, content type and padding included.
    pub(super) fn seal_inner(&mut self, inner: &[u8]) -> &mut Self {
        let (&last, content) = inner.split_last().unwrap();
        self.seal(last.into(), content)
    }

    pub(super) fn data(&mut self, content: &[u8]) -> &mut Self {
        self.seal(ContentType::ApplicationData, content)
    }

    pub(super) fn messages(&mut self, content: &[u8]) -> &mut Self {
        self.seal(ContentType::Handshake, content)
    }

    /// Tells of new keys, in so many records, and takes them.
    pub(super) fn update_keys(&mut self, pieces: &[&[u8]]) -> &mut Self {
        for piece in pieces {
            self.messages(piece);
        }
        self.layer().update_outgoing_keys(&mut Vec::new()).unwrap();
        self
    }

    pub(super) fn layer(&mut self) -> &mut RecordLayer {
        self.peer.session.records().unwrap()
    }

    /// Delivers what was sealed; what our end received then.
    pub(super) fn deliver(&mut self) -> Result<Vec<u8>, Error> {
        let result = self.ours.receive(&std::mem::take(&mut self.wire));
        result.map(|()| self.ours.take_plain())
    }

    /// Delivers what was sealed behind `good` ones; the error, and the alert that told of it.
    pub(super) fn fault(&mut self) -> (Error, Option<AlertDescription>) {
        let error = self.deliver().unwrap_err();
        self.ours.rest.clear();
        assert_eq!(self.ours.receive(&[]), Err(error.clone()), "a fault is final");
        let out = std::mem::take(&mut self.ours.out);
        match self.peer.receive(&out) {
            Ok(()) => (error, None),
            Err(Error::AlertReceived(alert)) => (error, Some(alert)),
            Err(error) => panic!("not an alert: {error}"),
        }
    }

    /// What the peer gets when our end says something, and how many updates of keys come before it.
    pub(super) fn answer(&mut self) -> (Vec<u8>, usize) {
        const ANSWER: &[u8] = b"answer";
        self.ours.send(ANSWER);
        let out = std::mem::take(&mut self.ours.out);
        self.peer.receive(&out).unwrap();
        let before = out.len() - (HEADER + ANSWER.len() + 1 + TAG);
        assert_eq!(before % SMALL_RECORD, 0, "something else came before it");
        (self.peer.take_plain(), before / SMALL_RECORD)
    }
}
