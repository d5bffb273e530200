//! A naive inflater (RFC 1951), which also notes how far back references reach.

/// Inflates the payload of a compressed message behind `history`. Returns the message and the greatest distance.
pub(super) fn inflate(payload: &[u8], history: &[u8]) -> Result<(Vec<u8>, usize), &'static str> {
    let mut bytes = payload.to_vec();
    bytes.extend([0x00, 0x00, 0xff, 0xff]);
    let mut twin = Twin { bytes: &bytes, bit: 0, out: history.to_vec(), max_distance: 0 };
    while twin.bit < 8 * bytes.len() {
        let is_last = twin.bits(1)? == 1;
        match twin.bits(2)? {
            0 => twin.stored()?,
            1 => twin.coded(&fixed_lengths(), &[5; 30])?,
            2 => {
                let (literals, distances) = twin.dynamic_lengths()?;
                twin.coded(&literals, &distances)?;
            }
            _ => return Err("block type 3"),
        }
        if is_last {
            twin.bit = twin.bit.next_multiple_of(8);
        }
    }
    Ok((twin.out.split_off(history.len()), twin.max_distance))
}

struct Twin<'a> {
    bytes: &'a [u8],
    bit: usize,
    out: Vec<u8>,
    max_distance: usize,
}

impl Twin<'_> {
    fn bits(&mut self, count: usize) -> Result<usize, &'static str> {
        let mut value = 0;
        for position in 0..count {
            let byte = self.bytes.get(self.bit / 8).ok_or("cut off")?;
            value |= usize::from(byte >> (self.bit % 8) & 1) << position;
            self.bit += 1;
        }
        Ok(value)
    }

    fn stored(&mut self) -> Result<(), &'static str> {
        self.bit = self.bit.next_multiple_of(8);
        let (len, complement) = (self.bits(16)?, self.bits(16)?);
        if len ^ complement != 0xffff {
            return Err("length of a stored block");
        }
        for _ in 0..len {
            let byte = self.bits(8)? as u8;
            self.out.push(byte);
        }
        Ok(())
    }

    /// Reads a symbol bit by bit: a canonical code counts up within each length.
    fn symbol(&mut self, lengths: &[u8]) -> Result<usize, &'static str> {
        let (mut code, mut first) = (0, 0);
        for len in 1..=15 {
            code |= self.bits(1)?;
            let with_len = || lengths.iter().enumerate().filter(|(_, l)| usize::from(**l) == len);
            let count = with_len().count();
            if code < first + count {
                return Ok(with_len().nth(code - first).expect("below the count").0);
            }
            first = (first + count) << 1;
            code <<= 1;
        }
        Err("no such code")
    }

    fn dynamic_lengths(&mut self) -> Result<(Vec<u8>, Vec<u8>), &'static str> {
        const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
        let (literals, distances) = (self.bits(5)? + 257, self.bits(5)? + 1);
        let count = self.bits(4)? + 4;
        let mut codes = [0; 19];
        for &place in &ORDER[..count] {
            codes[place] = self.bits(3)? as u8;
        }
        let mut lengths: Vec<u8> = Vec::new();
        while lengths.len() < literals + distances {
            let (value, count) = match self.symbol(&codes)? {
                16 => (*lengths.last().ok_or("nothing to repeat")?, 3 + self.bits(2)?),
                17 => (0, 3 + self.bits(3)?),
                18 => (0, 11 + self.bits(7)?),
                len => (len as u8, 1),
            };
            lengths.extend(std::iter::repeat_n(value, count));
        }
        let distances = lengths.split_off(literals);
        Ok((lengths, distances))
    }

    fn coded(&mut self, literals: &[u8], distances: &[u8]) -> Result<(), &'static str> {
        loop {
            let symbol = self.symbol(literals)?;
            match symbol {
                0..256 => self.out.push(symbol as u8),
                256 => return Ok(()),
                _ => {
                    let (base, extra) = length_of(symbol - 257)?;
                    let len = base + self.bits(extra)?;
                    let (base, extra) = distance_of(self.symbol(distances)?)?;
                    let distance = base + self.bits(extra)?;
                    let from = self.out.len().checked_sub(distance).ok_or("too far back")?;
                    self.max_distance = self.max_distance.max(distance);
                    for at in from..from + len {
                        self.out.push(self.out[at]);
                    }
                }
            }
        }
    }
}

/// RFC 1951 section 3.2.5: base and number of extra bits.
fn length_of(code: usize) -> Result<(usize, usize), &'static str> {
    match code {
        0..8 => Ok((3 + code, 0)),
        8..28 => {
            let extra = code / 4 - 1;
            Ok((3 + ((4 + code % 4) << extra), extra))
        }
        28 => Ok((258, 0)),
        _ => Err("length code"),
    }
}

fn distance_of(code: usize) -> Result<(usize, usize), &'static str> {
    match code {
        0..4 => Ok((1 + code, 0)),
        4..30 => {
            let extra = code / 2 - 1;
            Ok((1 + ((2 + code % 2) << extra), extra))
        }
        _ => Err("distance code"),
    }
}

fn fixed_lengths() -> Vec<u8> {
    let mut lengths = vec![8; 288];
    lengths[144..256].fill(9);
    lengths[256..280].fill(7);
    lengths
}
