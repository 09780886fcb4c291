//! When to tell the peer how much we have received (RTMP 1.0 §5.4.3, §5.4.4).

/// Window until the peer tells its own, bytes: what Flash-era servers announce, and we do.
pub const WINDOW_BYTES_DEFAULT: u32 = 2_500_000;

/// Smallest interval between two acknowledgements, bytes.
///
/// A peer may announce a window of one byte. An acknowledgement is 16 bytes on the wire, so with this floor we never
/// send more than 1.6 % of what we receive, however small the window.
pub const INTERVAL_BYTES_MIN: u64 = 1024;

/// Counts what was received and says when an acknowledgement is due.
///
/// Counts in 64 bits; the wire carries the low 32, which wrap (§5.4.3 calls it a sequence number).
#[derive(Clone, Debug)]
pub struct Acknowledgements {
    received: u64,
    acknowledged: u64,
    interval: u64,
}

impl Default for Acknowledgements {
    fn default() -> Self {
        let mut acknowledgements = Self { received: 0, acknowledged: 0, interval: 0 };
        acknowledgements.on_window(WINDOW_BYTES_DEFAULT);
        acknowledgements
    }
}

impl Acknowledgements {
    /// The peer announced its window.
    ///
    /// We acknowledge at half of it: at the whole of it the peer, which may stop there, waits a round trip for us.
    pub fn on_window(&mut self, bytes: u32) {
        self.interval = (u64::from(bytes) / 2).max(INTERVAL_BYTES_MIN);
    }

    /// Bytes arrived; gives the sequence number to acknowledge when that is due, at most one a call.
    pub fn on_received(&mut self, bytes: usize) -> Option<u32> {
        self.received += bytes as u64;
        (self.received - self.acknowledged >= self.interval).then(|| {
            self.acknowledged = self.received;
            self.received as u32 // the low half, by intent: wraps at 2^32
        })
    }

    /// Bytes received so far, handshake included.
    pub fn received(&self) -> u64 {
        self.received
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_acknowledgement_a_half_window() {
        let mut acknowledgements = Acknowledgements::default();
        acknowledgements.on_window(100_000);
        let sent: Vec<u32> = (0..100).filter_map(|_| acknowledgements.on_received(10_000)).collect();
        assert_eq!(sent.len(), 20);
        assert_eq!(sent[0], 50_000);
        assert_eq!(sent[19], 1_000_000);
    }

    #[test]
    fn a_window_of_one_byte_does_not_mean_an_acknowledgement_a_byte() {
        let mut acknowledgements = Acknowledgements::default();
        for window in [0, 1, 2] {
            acknowledgements.on_window(window);
            let sent = (0..102_400).filter_map(|_| acknowledgements.on_received(1)).count();
            assert_eq!(sent, 100);
        }
    }

    #[test]
    fn the_sequence_number_wraps_at_2_to_the_32() {
        let mut acknowledgements = Acknowledgements::default();
        let mut last = 0;
        for _ in 0..5_000 {
            last = acknowledgements.on_received(1 << 20).unwrap_or(last);
        }
        assert!(acknowledgements.received() > 1 << 32);
        let expected = (acknowledgements.received() - (1 << 32)) as u32;
        assert!(expected - last < WINDOW_BYTES_DEFAULT, "{expected} {last}");
    }

    #[test]
    fn the_largest_window_is_taken() {
        let mut acknowledgements = Acknowledgements::default();
        acknowledgements.on_window(u32::MAX);
        assert_eq!(acknowledgements.on_received(1 << 30), None);
        assert!(acknowledgements.on_received(1 << 30).is_some());
    }
}
