//! Messages as a market-data feed sends them: JSON, each different from the others, made by a seeded generator.

use std::fmt::{self, Display, Formatter, Write};

use crate::generator::script::Random;

/// A message of this size or more is a part of an order book; a shorter one is a trade.
const LEAST_BOOK: usize = 512;

/// Length of a trade in bytes, about.
pub(crate) const TRADE: usize = 200;

/// What is traded, what it costs at the beginning and the smallest step of its price, both in units of 10^-8.
const INSTRUMENTS: [(&str, u64, u64); 12] = [
    ("BTCUSDT", 9_183_412_000_000, 1_000_000),
    ("ETHUSDT", 301_455_000_000, 1_000_000),
    ("SOLUSDT", 13_872_000_000, 1_000_000),
    ("BNBUSDT", 91_210_000_000, 1_000_000),
    ("XRPUSDT", 211_340_000, 10_000),
    ("DOGEUSDT", 15_874_000, 1_000),
    ("ADAUSDT", 46_810_000, 10_000),
    ("LINKUSDT", 1_343_000_000, 1_000_000),
    ("AVAXUSDT", 1_422_000_000, 1_000_000),
    ("LTCUSDT", 9_201_000_000, 1_000_000),
    ("ETHBTC", 3_282_000, 1_000),
    ("SOLBTC", 151_060, 10),
];

/// The state of the market.
pub(super) struct Feed {
    random: Random,
    prices: [u64; INSTRUMENTS.len()],
    /// Milliseconds since 1970.
    now: u64,
    sequence: u64,
}

impl Feed {
    /// The same market in every run.
    pub(super) fn new() -> Self {
        let prices = INSTRUMENTS.map(|(_, price, _)| price);
        Self {
            random: Random(0x2545_f491_4f6c_dd1d),
            prices,
            now: 1_763_645_053_123,
            sequence: 88_213_391_234,
        }
    }

    /// The next message, of about `size` bytes, but not shorter than a trade.
    pub(super) fn message(&mut self, size: usize) -> String {
        let instrument = self.random.below(INSTRUMENTS.len() as u64) as usize;
        self.now += self.random.below(40);
        self.walk(instrument);
        if size < LEAST_BOOK { self.trade(instrument) } else { self.book(instrument, size) }
    }

    fn walk(&mut self, instrument: usize) {
        let (_, _, step) = INSTRUMENTS[instrument];
        let price = &mut self.prices[instrument];
        *price = *price + self.random.below(7) * step - 3 * step;
    }

    fn trade(&mut self, instrument: usize) -> String {
        let (symbol, ..) = INSTRUMENTS[instrument];
        let stream = symbol.to_ascii_lowercase();
        self.sequence += 1 + self.random.below(5);
        let (now, first) = (self.now, self.sequence);
        self.sequence += self.random.below(4);
        let (last, delay) = (self.sequence, self.random.below(4));
        let (price, quantity) = (Decimal(self.prices[instrument]), self.quantity());
        let maker = self.random.below(2) == 1;
        format!(
            r#"{{"stream":"{stream}@aggTrade","data":{{"e":"aggTrade","E":{now},"s":"{symbol}","a":{},"p":"{price}","q":"{quantity}","f":{first},"l":{last},"T":{},"m":{maker},"M":true}}}}"#,
            first / 3,
            now - delay,
        )
    }

    fn book(&mut self, instrument: usize, size: usize) -> String {
        let (symbol, ..) = INSTRUMENTS[instrument];
        let stream = symbol.to_ascii_lowercase();
        let (now, first) = (self.now, self.sequence + 1);
        self.sequence += 1 + self.random.below(60);
        let mut book = format!(
            r#"{{"stream":"{stream}@depth@100ms","data":{{"e":"depthUpdate","E":{now},"s":"{symbol}","U":{first},"u":{},"b":["#,
            self.sequence
        );
        // The end of both sides: `]}}` and `],"a":[`.
        let middle = book.len().midpoint(size);
        self.levels(instrument, Side::Bids, middle, &mut book);
        book.push_str(r#"],"a":["#);
        self.levels(instrument, Side::Asks, size - 3, &mut book);
        book.push_str("]}}");
        book
    }

    /// Adds price levels, the best first, as long as the book stays below `end` bytes.
    fn levels(&mut self, instrument: usize, side: Side, end: usize, book: &mut String) {
        const LEVEL: usize = 34;
        let (_, _, step) = INSTRUMENTS[instrument];
        let mut price = self.prices[instrument];
        let mut separator = "";
        while book.len() + LEVEL < end {
            let distance = step * (1 + self.random.below(4));
            price = match side {
                Side::Bids => price.saturating_sub(distance).max(step),
                Side::Asks => price + distance,
            };
            // One in eight is a level that is gone.
            let quantity = if self.random.below(8) == 0 { Decimal(0) } else { self.quantity() };
            let _ = write!(book, r#"{separator}["{}","{quantity}"]"#, Decimal(price));
            separator = ",";
        }
    }

    /// Small ones are more frequent, and most have few digits that are not zero.
    fn quantity(&mut self) -> Decimal {
        let digits = 1 + self.random.below(5) as u32;
        let number = 1 + self.random.below(10_u64.pow(digits));
        Decimal(number * 10_u64.pow(3 + self.random.below(3) as u32))
    }
}

#[derive(Clone, Copy)]
enum Side {
    Bids,
    Asks,
}

/// A number with eight decimals, as exchanges write prices and quantities.
struct Decimal(u64);

impl Display for Decimal {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        const UNIT: u64 = 100_000_000;
        write!(f, "{}.{:08}", self.0 / UNIT, self.0 % UNIT)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn messages_are_json_of_the_size_that_was_asked_for() {
        for size in [TRADE, 1024, 16 * 1024] {
            let mut feed = Feed::new();
            let messages: Vec<_> = (0..200).map(|_| feed.message(size)).collect();
            for message in &messages {
                let value: serde_json::Value = serde_json::from_str(message).unwrap();
                assert!(value["data"]["s"].is_string(), "{message}");
            }
            let mean = messages.iter().map(String::len).sum::<usize>() as f64 / 200.0 / size as f64;
            assert!((0.95..1.05).contains(&mean), "{size}: {mean}");
            assert_eq!(messages.iter().collect::<HashSet<_>>().len(), 200, "all differ");
        }
    }

    #[test]
    fn the_market_is_the_same_in_every_run() {
        let (mut one, mut other) = (Feed::new(), Feed::new());
        for _ in 0..20 {
            assert_eq!(one.message(1024), other.message(1024));
        }
    }

    #[test]
    fn decimals() {
        assert_eq!(Decimal(9_183_412_000_000).to_string(), "91834.12000000");
        assert_eq!(Decimal(1_350_000).to_string(), "0.01350000");
    }
}
