//! What a fuzzer drives: a record layer with secrets that are known, and a peer that seals what a script says.

use rustls::crypto::cipher::{AeadKey, Iv};
use rustls::{ConnectionTrafficSecrets, ContentType, ExtractedSecrets};

use crate::buf::RecvBuffer;

use super::keys::Keys;
use super::{Kernel, RecordLayer};

/// Secrets that nothing is protected with.
pub(super) fn known_secrets() -> (u64, ConnectionTrafficSecrets) {
    (0, ConnectionTrafficSecrets::Chacha20Poly1305 { key: AeadKey::from([7; 32]), iv: Iv::from([1; 12]) })
}

/// Runs a script: of each step the first byte says what is done, the second with how many of those behind it.
///
/// # Panics
/// If something is delivered that the peer did not seal, or anything at all behind a fault.
pub fn fuzz_records(mut script: &[u8]) {
    let secrets = ExtractedSecrets { tx: known_secrets(), rx: known_secrets() };
    let mut peer = Peer {
        layer: RecordLayer::new(secrets, Kernel::Known).expect("the secrets are of the right length"),
        keys: known_keys(),
        wire: Vec::new(),
        sealed: Vec::new(),
        plain: RecvBuffer::default(),
    };
    while let [step, len, rest @ ..] = script {
        let (content, behind) = rest.split_at(rest.len().min(usize::from(*len)));
        script = behind;
        match (step % 8, content) {
            (0, _) => peer.seal(ContentType::ApplicationData, content),
            (1, _) => peer.seal(ContentType::Handshake, content),
            (2, _) => peer.seal(ContentType::Alert, content),
            (3, [kind, content @ ..]) => peer.seal((*kind).into(), content),
            (4, _) => {
                peer.seal(ContentType::Handshake, &[24, 0, 0, 1, step >> 7]);
                peer.keys = known_keys();
            }
            (5, _) => peer.wire.extend_from_slice(content),
            _ => peer.deliver(usize::from(*len)),
        }
    }
    peer.deliver(usize::MAX);
}

fn known_keys() -> Keys {
    Keys::new(known_secrets()).expect("the secrets are of the right length")
}

struct Peer {
    layer: RecordLayer,
    keys: Keys,
    /// Sealed and not opened.
    wire: Vec<u8>,
    /// All that was sealed as application data.
    sealed: Vec<u8>,
    plain: RecvBuffer,
}

impl Peer {
    fn seal(&mut self, kind: ContentType, content: &[u8]) {
        self.keys.seal(kind, content, &mut self.wire).expect("the numbers do not run out");
        if kind == ContentType::ApplicationData {
            self.sealed.extend_from_slice(content);
        } else if kind == ContentType::Unknown(0)
            && let Some(end) = content.iter().rposition(|&byte| byte != 0)
            && content[end] == u8::from(ContentType::ApplicationData)
        {
            // What looked like content was a type and padding.
            self.sealed.extend_from_slice(&content[..end]);
        }
    }

    /// Delivers at most this many bytes.
    fn deliver(&mut self, most: usize) {
        let end = self.wire.len().min(most);
        let opened = self.layer.open(&self.wire[..end], &mut self.plain, &mut Vec::new());
        assert!(self.sealed.starts_with(self.plain.filled()), "something was delivered that was not sent");
        match opened {
            Ok(done) => drop(self.wire.drain(..done)),
            Err(error) => {
                let before = self.plain.len();
                assert_eq!(self.layer.open(&self.wire, &mut self.plain, &mut Vec::new()), Err(error));
                assert_eq!(self.plain.len(), before, "something was delivered behind a fault");
            }
        }
    }
}
