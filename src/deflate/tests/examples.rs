//! The examples of RFC 7692 section 7.2.3, byte for byte, and what is wrong.

use super::super::{DeflateDirection, DeflateSettings, Deflater, Inflater, MAX_WINDOW_BITS};
use crate::buf::ScratchBuffer;
use crate::proto::WSCloseCode;

const WITH_CONTEXT: DeflateDirection =
    DeflateDirection { context_takeover: true, window_bits: MAX_WINDOW_BITS };

const ALONE: DeflateDirection = DeflateDirection { context_takeover: false, ..WITH_CONTEXT };

const HELLO: [u8; 7] = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];

fn inflated(inflater: &mut Inflater, payload: &[u8]) -> Result<Vec<u8>, WSCloseCode> {
    let mut out = ScratchBuffer::default();
    inflater.inflate(payload, &mut out, 1000).map_err(|error| error.code)?;
    Ok(out.filled().to_vec())
}

fn deflated(deflater: &mut Deflater, message: &[u8]) -> Vec<u8> {
    let mut out = ScratchBuffer::default();
    assert!(deflater.deflate(message, &mut out));
    out.filled().to_vec()
}

#[test]
fn sending_hello() {
    let settings = DeflateSettings { level: 6, memory_level: 8 };
    let mut deflater = Deflater::new(WITH_CONTEXT, settings);
    assert_eq!(deflated(&mut deflater, b"Hello"), HELLO, "section 7.2.3.1");
    assert_eq!(deflated(&mut deflater, b"Hello"), [0xf2, 0x00, 0x11, 0x00, 0x00], "section 7.2.3.2");
    assert_eq!(deflated(&mut deflater, b""), [0x00], "section 7.2.3.6");
    deflater.forget();
    assert_eq!(deflated(&mut deflater, b"Hello"), HELLO, "as if it were the first");
    let mut deflater = Deflater::new(ALONE, settings);
    for _ in 0..2 {
        assert_eq!(deflated(&mut deflater, b"Hello"), HELLO, "section 7.2.3.2, without context");
    }
}

#[test]
fn receiving_hello() {
    let cases: [(&str, &[u8], &str); 8] = [
        ("7.2.3.1", &HELLO, "Hello"),
        ("7.2.3.3", &[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00], "Hello"),
        ("7.2.3.4", &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00], "Hello"),
        ("7.2.3.5", &[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00], "Hello"),
        ("7.2.3.6", &[0x00], ""),
        ("nothing at all", &[], ""),
        ("BFINAL, and nothing behind it", &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], "Hello"),
        (
            "several BFINAL, the second refers to the first",
            &[
                0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0xf3, 0x00, 0x11, 0x00, 0xf3, 0x48, 0xcd, 0xc9,
                0xc9, 0x07, 0x00, 0x00,
            ],
            "HelloHelloHello",
        ),
    ];
    for direction in [ALONE, WITH_CONTEXT] {
        let mut inflater = Inflater::new(direction);
        for (what, payload, message) in cases {
            assert_eq!(
                inflated(&mut inflater, payload),
                Ok(message.as_bytes().to_vec()),
                "{what}, {direction:?}"
            );
        }
    }
}

#[test]
fn a_message_may_refer_to_the_one_before_only_with_context() {
    let second = [0xf2, 0x00, 0x11, 0x00, 0x00];
    let mut inflater = Inflater::new(WITH_CONTEXT);
    assert_eq!(inflated(&mut inflater, &HELLO), Ok(b"Hello".to_vec()));
    assert_eq!(inflated(&mut inflater, &second), Ok(b"Hello".to_vec()));
    let mut inflater = Inflater::new(ALONE);
    assert_eq!(inflated(&mut inflater, &HELLO), Ok(b"Hello".to_vec()));
    assert_eq!(inflated(&mut inflater, &second), Err(WSCloseCode::INVALID_TEXT));
    assert_eq!(inflated(&mut inflater, &HELLO), Ok(b"Hello".to_vec()), "the fault was not this message's");
    // Nor after a message whose parts were a context for each other.
    let twice = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0xf2, 0x00, 0x11, 0x00, 0x00];
    assert_eq!(inflated(&mut inflater, &twice), Ok(b"HelloHello".to_vec()));
    assert_eq!(inflated(&mut inflater, &second), Err(WSCloseCode::INVALID_TEXT));
}

#[test]
fn what_is_corrupt() {
    let cases: [(&str, &[u8]); 6] = [
        ("block type 3", &[0x07, 0x00]),
        ("lengths of a stored block differ", &[0x00, 0x05, 0x00, 0xfa, 0xfe, 0x48]),
        ("garbage behind a last block", &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0xff, 0xff]),
        ("cut in a block", &HELLO[..4]),
        ("cut in a stored block", &[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48]),
        ("the tail is there already", &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00, 0x00, 0xff]),
    ];
    for (what, payload) in cases {
        let mut inflater = Inflater::new(ALONE);
        assert_eq!(inflated(&mut inflater, payload), Err(WSCloseCode::INVALID_TEXT), "{what}");
        assert_eq!(inflated(&mut inflater, &HELLO), Ok(b"Hello".to_vec()), "{what}");
    }
    let mut inflater = Inflater::new(WITH_CONTEXT);
    assert_eq!(inflated(&mut inflater, &[0x07]), Err(WSCloseCode::INVALID_TEXT));
    assert_eq!(inflated(&mut inflater, &HELLO), Err(WSCloseCode::INVALID_TEXT), "the context is lost");
}
