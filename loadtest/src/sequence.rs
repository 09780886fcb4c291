//! What became of the messages of one stream, told from their numbers in the order of arrival.
//!
//! # Bounds
//! Of what came, the last 128 numbers are known one by one; what is older counts as read again.

/// What a number says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The next one, or the first. After so many that are missing.
    Next {
        /// Numbers left out.
        missing: u64,
    },
    /// Later than a later one: missing until now.
    Reordered,
    /// For the second time.
    Duplicate,
}

/// What one player has seen of one stream.
#[derive(Clone, Debug, Default)]
pub struct Sequence {
    /// The number after the highest; `None` before the first.
    next: Option<u64>,
    /// Bit n: `next - 1 - n` was seen.
    seen: u128,
    /// Numbers below this were before we came.
    first: u64,
}

impl Sequence {
    /// A message of this number came.
    pub fn on_arrival(&mut self, number: u64) -> Arrival {
        let Some(next) = self.next else {
            (self.next, self.seen, self.first) = (Some(number.saturating_add(1)), 1, number);
            return Arrival::Next { missing: 0 };
        };
        if number >= next {
            let missing = number - next;
            self.seen = match u32::try_from(missing + 1) {
                Ok(shift @ 0..128) => self.seen << shift | 1,
                _ => 1,
            };
            self.next = Some(number.saturating_add(1));
            return Arrival::Next { missing };
        }
        let bit = match u32::try_from(next - 1 - number) {
            Ok(age @ 0..128) if number >= self.first => 1 << age,
            _ => return Arrival::Duplicate,
        };
        let known = self.seen & bit != 0;
        self.seen |= bit;
        if known { Arrival::Duplicate } else { Arrival::Reordered }
    }

    /// Whether any came.
    pub fn has_begun(&self) -> bool {
        self.next.is_some()
    }

    /// How many of `sent` messages, numbered from 0, did not come after the last that did; if none did, how many from number `first`
    /// on.
    pub fn missing_at_end(&self, sent: u64, first: u64) -> u64 {
        sent.saturating_sub(self.next.unwrap_or(first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_duplication_and_order_are_told_apart() {
        let mut sequence = Sequence::default();
        let next = |missing| Arrival::Next { missing };
        for (number, arrival) in [
            (10, next(0)),
            (11, next(0)),
            (11, Arrival::Duplicate),
            (14, next(2)),
            (13, Arrival::Reordered),
            (13, Arrival::Duplicate),
            (10, Arrival::Duplicate),
            (9, Arrival::Duplicate),
            (15, next(0)),
            (500, next(484)),
            (499, Arrival::Reordered),
            (100, Arrival::Duplicate),
        ] {
            assert_eq!(sequence.on_arrival(number), arrival, "{number}");
        }
        assert_eq!(sequence.missing_at_end(501, 0), 0);
        assert_eq!(sequence.missing_at_end(510, 0), 9);
    }

    /// Who has read nothing has lost everything.
    #[test]
    fn nothing_that_came_is_all_lost() {
        let sequence = Sequence::default();
        assert_eq!((sequence.missing_at_end(50, 20), sequence.missing_at_end(50, u64::MAX)), (30, 0));
    }

    #[test]
    fn no_number_overflows() {
        let mut sequence = Sequence::default();
        for number in [0, u64::MAX, 0, u64::MAX - 1, u64::MAX] {
            sequence.on_arrival(number);
        }
    }
}
