//! One frame on the wire, read byte by byte as RFC 6455 section 5.2 draws it.

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) fin: bool,
    pub(crate) rsv: [bool; 3],
    pub(crate) opcode: u8,
    pub(crate) key: Option<[u8; 4]>,
    pub(crate) payload_len: u64,
    /// Bytes of the header itself.
    pub(crate) len: usize,
}

impl Header {
    pub(crate) fn is_control(&self) -> bool {
        self.opcode >= 8
    }
}

/// No continuation makes a header of these bytes.
#[derive(Debug)]
pub(crate) struct Malformed;

/// Section 5.2, as far as it does not depend on the connection.
pub(crate) fn header(bytes: &[u8]) -> Result<Option<Header>, Malformed> {
    let Some(first) = bytes.first() else { return Ok(None) };
    let (fin, opcode) = (first & 0x80 != 0, first & 0x0f);
    let rsv = [first & 0x40 != 0, first & 0x20 != 0, first & 0x10 != 0];
    if ![0, 1, 2, 8, 9, 10].contains(&opcode) || (opcode >= 8 && !fin) {
        return Err(Malformed);
    }
    let Some(second) = bytes.get(1) else { return Ok(None) };
    let (masked, short) = (second & 0x80 != 0, second & 0x7f);
    if opcode >= 8 && short > 125 {
        return Err(Malformed);
    }
    let extended = match short {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    if bytes.len() < 2 + extended {
        return Ok(None);
    }
    let mut payload_len = 0;
    for byte in &bytes[2..2 + extended] {
        payload_len = payload_len << 8 | u64::from(*byte);
    }
    match extended {
        0 => payload_len = short.into(),
        2 if payload_len <= 125 => return Err(Malformed),
        8 if payload_len <= 0xffff || payload_len >= 1 << 63 => return Err(Malformed),
        _ => {}
    }
    let len = 2 + extended + if masked { 4 } else { 0 };
    if bytes.len() < len {
        return Ok(None);
    }
    let key = masked.then(|| [bytes[len - 4], bytes[len - 3], bytes[len - 2], bytes[len - 1]]);
    Ok(Some(Header { fin, rsv, opcode, key, payload_len, len }))
}

/// What has come of the payload, unmasked (section 5.3), and whether that is all of it.
pub(crate) fn payload(header: &Header, received: &[u8]) -> (Vec<u8>, bool) {
    let is_whole = header.payload_len <= received.len() as u64;
    let received = if is_whole { &received[..header.payload_len as usize] } else { received };
    let key = header.key.unwrap_or([0; 4]);
    (received.iter().enumerate().map(|(i, byte)| byte ^ key[i % 4]).collect(), is_whole)
}
