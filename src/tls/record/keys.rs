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

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys, and the record that carries the bytes 0 to 49 under them: RFC 8448 section 3.
    struct Vector {
        key: [u8; 16],
        iv: [u8; 12],
        sequence: u64,
        record: [u8; 72],
    }

    const OF_CLIENT: Vector = Vector {
        key: 0x1742_2dda_596e_d5d9_acd8_90e3_c63f_5051_u128.to_be_bytes(),
        iv: [0x5b, 0x78, 0x92, 0x3d, 0xee, 0x08, 0x57, 0x90, 0x33, 0xe5, 0x23, 0xd9],
        sequence: 0,
        record: [
            0x17, 0x03, 0x03, 0x00, 0x43, 0xa2, 0x3f, 0x70, 0x54, 0xb6, 0x2c, 0x94, 0xd0, 0xaf, 0xfa, 0xfe,
            0x82, 0x28, 0xba, 0x55, 0xcb, 0xef, 0xac, 0xea, 0x42, 0xf9, 0x14, 0xaa, 0x66, 0xbc, 0xab, 0x3f,
            0x2b, 0x98, 0x19, 0xa8, 0xa5, 0xb4, 0x6b, 0x39, 0x5b, 0xd5, 0x4a, 0x9a, 0x20, 0x44, 0x1e, 0x2b,
            0x62, 0x97, 0x4e, 0x1f, 0x5a, 0x62, 0x92, 0xa2, 0x97, 0x70, 0x14, 0xbd, 0x1e, 0x3d, 0xea, 0xe6,
            0x3a, 0xee, 0xbb, 0x21, 0x69, 0x49, 0x15, 0xe4,
        ],
    };

    const OF_SERVER: Vector = Vector {
        key: 0x9f02_283b_6c9c_07ef_c26b_b9f2_ac92_e356_u128.to_be_bytes(),
        iv: [0xcf, 0x78, 0x2b, 0x88, 0xdd, 0x83, 0x54, 0x9a, 0xad, 0xf1, 0xe9, 0x84],
        sequence: 1,
        record: [
            0x17, 0x03, 0x03, 0x00, 0x43, 0x2e, 0x93, 0x7e, 0x11, 0xef, 0x4a, 0xc7, 0x40, 0xe5, 0x38, 0xad,
            0x36, 0x00, 0x5f, 0xc4, 0xa4, 0x69, 0x32, 0xfc, 0x32, 0x25, 0xd0, 0x5f, 0x82, 0xaa, 0x1b, 0x36,
            0xe3, 0x0e, 0xfa, 0xf9, 0x7d, 0x90, 0xe6, 0xdf, 0xfc, 0x60, 0x2d, 0xcb, 0x50, 0x1a, 0x59, 0xa8,
            0xfc, 0xc4, 0x9c, 0x4b, 0xf2, 0xe5, 0xf0, 0xa2, 0x1c, 0x00, 0x47, 0xc2, 0xab, 0xf3, 0x32, 0x54,
            0x0d, 0xd0, 0x32, 0xe1, 0x67, 0xc2, 0x95, 0x5d,
        ],
    };

    #[test]
    fn records_are_those_of_rfc_8448() {
        for vector in [OF_CLIENT, OF_SERVER] {
            let keys = || Keys {
                key: LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &vector.key).unwrap()),
                iv: Iv::from(vector.iv),
                sequence: vector.sequence,
            };
            let content: Vec<u8> = (0..50).collect();
            let mut sealed = Vec::new();
            keys().seal(ContentType::ApplicationData, &content, &mut sealed).unwrap();
            assert_eq!(sealed, vector.record);
            let mut opened = RecvBuffer::with_capacity(64);
            assert!(matches!(keys().open(&vector.record[HEADER..], &mut opened), Ok(Opened::Data(50))));
            assert_eq!(opened.filled(), content);
        }
    }
}
