#![no_main]
//! Up to four messages of one stream, raw or compressed by zlib and then damaged: the inflater says of each what zlib says.

use femtows::deflate::internal::{DeflateDirection, Inflater, ScratchBuffer};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

const LIMIT: usize = 20_000;

/// What zlib makes of the last of these payloads. `None` if it cannot tell: a block was the last of a stream, or there is too much.
fn zlib(payloads: &[Vec<u8>]) -> Option<Result<Vec<u8>, ()>> {
    let (last, earlier) = payloads.split_last()?;
    let mut zlib = Decompress::new(false);
    let mut out = vec![0; LIMIT + 1];
    let mut feed = |bytes: &[u8]| {
        let (came, said) = (zlib.total_in(), zlib.total_out());
        let status = zlib.decompress(bytes, &mut out, FlushDecompress::Sync);
        let (came, said) = ((zlib.total_in() - came) as usize, (zlib.total_out() - said) as usize);
        (status, came == bytes.len(), out[..said].to_vec())
    };
    for payload in earlier {
        let (status, whole, said) = feed(payload);
        let (_, end, _) = feed(&[0, 0, 0xff, 0xff]);
        if !matches!(status, Ok(Status::Ok | Status::BufError)) || !whole || !end || said.len() > LIMIT {
            return None;
        }
    }
    let (status, whole, said) = feed(last);
    match status {
        Ok(Status::StreamEnd) => return None,
        Ok(_) if whole => {}
        Ok(_) if said.len() > LIMIT => return None,
        _ => return Some(Err(())),
    }
    if said.len() > LIMIT {
        return None;
    }
    let (status, whole, more) = feed(&[0, 0, 0xff, 0xff, 1, 0, 0, 0xff, 0xff]);
    let is_good = matches!(status, Ok(Status::StreamEnd)) && whole && more.is_empty();
    Some(if is_good { Ok(said) } else { Err(()) })
}

/// The first byte says how many messages there are and what becomes of them; the next ones how long they are.
fn messages(data: &[u8]) -> Option<Vec<Vec<u8>>> {
    let (&kind, rest) = data.split_first()?;
    let count = usize::from(kind & 3) + 1;
    let (lengths, mut rest) = rest.split_at_checked(count)?;
    let mut pieces = Vec::new();
    for (n, &len) in lengths.iter().enumerate() {
        let len = if n + 1 == count { rest.len() } else { rest.len().min(usize::from(len)) };
        let (piece, left) = rest.split_at(len);
        pieces.push(piece.to_vec());
        rest = left;
    }
    if kind & 4 != 0 {
        return Some(pieces);
    }
    let mut compressor = Compress::new(Compression::new(u32::from(kind >> 3 & 7) + 1), false);
    for piece in &mut pieces {
        // What is short says little: said again and again, it needs long references and codes.
        let times = 1 + usize::from(kind >> 6) * 20;
        let message = piece.repeat(times.min(LIMIT / piece.len().max(1)).max(1));
        let mut payload = Vec::with_capacity(2 * message.len() + 100);
        compressor.compress_vec(&message, &mut payload, FlushCompress::Sync).ok()?;
        payload.truncate(payload.len().saturating_sub(4));
        *piece = payload;
    }
    let last = pieces.last_mut()?;
    let at = usize::from(lengths[count - 1]);
    if at < last.len() {
        last[at] ^= kind.rotate_left(3) | 1;
    }
    Some(pieces)
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some(mut payloads) = messages(data) else { return };
    payloads.retain(|payload| !payload.is_empty());
    let direction = DeflateDirection { context_takeover: true, window_bits: 15 };
    let mut inflater = Inflater::new(direction);
    let mut out = ScratchBuffer::default();
    for count in 1..=payloads.len() {
        let Some(expected) = zlib(&payloads[..count]) else { return };
        let result = inflater.inflate(&payloads[count - 1], &mut out, LIMIT);
        match expected {
            Ok(said) => assert!(result.is_ok() && out.filled() == said, "{result:?}"),
            Err(()) => {
                assert!(result.is_err());
                return;
            }
        }
    }
});
