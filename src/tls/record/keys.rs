use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey,
};
use rustls::crypto::cipher::{self, Iv, make_tls13_aad};
use rustls::{CipherSuite, ConnectionTrafficSecrets, ContentType, Error, PeerMisbehaved};

use crate::buf::RecvBuffer;

use super::fault::Fault;
use super::{HEADER, MAX_PLAINTEXT, TAG};

/// The keys of one direction, and how often they were used (RFC 8446 sections 5.2 and 5.3).
pub(super) struct Keys {
    key: LessSafeKey,
    iv: Iv,
    /// Number of the next record. It only grows, and keys are replaced together with it: no nonce comes twice.
    sequence: u64,
}

/// What a record held.
pub(super) enum Opened {
    /// This many bytes of the application's; they were appended.
    Data(usize),
    /// Something of the protocol's own.
    Other(ContentType, Vec<u8>),
}

/// Whether [`Keys`] can be made for this cipher suite.
pub(super) fn are_supported(suite: CipherSuite) -> bool {
    matches!(
        suite,
        CipherSuite::TLS13_AES_128_GCM_SHA256
            | CipherSuite::TLS13_AES_256_GCM_SHA384
            | CipherSuite::TLS13_CHACHA20_POLY1305_SHA256
    )
}

impl Keys {
    /// Keys that were used for the first `sequence` records.
    pub(super) fn new((sequence, secrets): (u64, ConnectionTrafficSecrets)) -> Result<Self, Error> {
        let (algorithm, key, iv): (&'static Algorithm, _, _) = match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (&CHACHA20_POLY1305, key, iv),
            _ => return Err(Error::General("traffic secrets of a kind that is not known".into())),
        };
        debug_assert_eq!(algorithm.tag_len(), TAG);
        let key = UnboundKey::new(algorithm, key.as_ref())
            .map_err(|_| Error::General("traffic secrets of the wrong length".into()))?;
        Ok(Self { key: LessSafeKey::new(key), iv, sequence })
    }

    /// Number of the next record.
    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Appends a record with at most [`MAX_PLAINTEXT`] bytes of content to `out`.
    ///
    /// # Errors
    /// If the cipher fails, or was used 2^64 times; then nothing was appended.
    pub(super) fn seal(&mut self, kind: ContentType, content: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        debug_assert!(content.len() <= MAX_PLAINTEXT);
        let nonce = self.next_nonce().ok_or(Error::EncryptError)?;
        let start = out.len();
        let aad = make_tls13_aad(content.len() + 1 + TAG);
        out.reserve(HEADER + content.len() + 1 + TAG);
        out.extend_from_slice(&aad);
        out.resize(start + HEADER + content.len() + 1 + TAG, 0);
        let (place, kind_and_tag) = out[start + HEADER..].split_at_mut(content.len());
        let (aad, kind) = (Aad::from(aad), kind.to_array());
        let sealed = self.key.seal_out_of_place_scatter(nonce, aad, content, place, &kind, kind_and_tag);
        sealed.map_err(|_| {
            out.truncate(start);
            Error::EncryptError
        })
    }

    /// Opens the body of a record, that is, all behind its header, and appends what it holds to `plain` if that is the application's.
    ///
    /// On a fault nothing was appended.
    pub(super) fn open(&mut self, body: &[u8], plain: &mut RecvBuffer) -> Result<Opened, Fault> {
        let (ciphertext, tag) = body.split_last_chunk::<TAG>().ok_or_else(Fault::bad_record)?;
        let nonce = self.next_nonce().ok_or_else(Fault::bad_record)?;
        let aad = Aad::from(make_tls13_aad(body.len()));
        let mut other = None;
        let data = plain.append_with(ciphertext.len(), |place| -> Result<usize, Fault> {
            self.key
                .open_separate_gather(nonce, aad, ciphertext, tag, place)
                .map_err(|_| Fault::bad_record())?;
            let (kind, content) = without_padding(place)?;
            if kind == ContentType::ApplicationData {
                return Ok(content.len());
            }
            other = Some(Opened::Other(kind, content.to_vec()));
            Ok(0)
        })?;
        Ok(other.unwrap_or(Opened::Data(data)))
    }

    /// Leaves one record.
    #[cfg(test)]
    pub(super) fn exhaust(&mut self) {
        self.sequence = u64::MAX - 1;
    }

    fn next_nonce(&mut self) -> Option<Nonce> {
        let nonce = cipher::Nonce::new(&self.iv, self.sequence);
        self.sequence = self.sequence.checked_add(1)?;
        Some(Nonce::assume_unique_for_key(nonce.0))
    }
}

/// The type is the last byte that is not zero (RFC 8446 section 5.4).
fn without_padding(inner: &[u8]) -> Result<(ContentType, &[u8]), Fault> {
    let end = inner.iter().rposition(|&byte| byte != 0);
    let end = end.ok_or_else(|| Fault::unexpected(PeerMisbehaved::IllegalTlsInnerPlaintext))?;
    Ok((ContentType::from(inner[end]), &inner[..end]))
}
