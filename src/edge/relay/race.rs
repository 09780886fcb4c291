//! Happy eyeballs (RFC 8305 §4-5): in what order addresses are tried, and when. No socket, no clock.
//!
//! Both families by turns, beginning with that of the first address, since the system has sorted them; the next one begins when one has
//! failed, or [`STAGGER`] after the last began. Whoever is connected first has won.
//! # Bounds
//! [`ADDRESSES_MAX`] addresses of a name.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use crate::session::Instant;

/// From one attempt to the next beside it (RFC 8305 §8, "Connection Attempt Delay").
pub const STAGGER: Duration = Duration::from_millis(250);

/// Addresses that are tried of a name.
pub const ADDRESSES_MAX: usize = 16;

/// Which address is to be tried when.
#[derive(Debug)]
pub struct Race {
    waiting: VecDeque<SocketAddr>,
    next_at: Instant,
    running: usize,
}

impl Race {
    /// Between these addresses, from now on.
    pub fn new(now: Instant, addresses: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self { waiting: by_turns(addresses.into_iter().take(ADDRESSES_MAX)), next_at: now, running: 0 }
    }

    /// The address to try now, if one is due.
    pub fn poll(&mut self, now: Instant) -> Option<SocketAddr> {
        if now < self.next_at {
            return None;
        }
        let address = self.waiting.pop_front()?;
        self.next_at = now + STAGGER;
        self.running += 1;
        Some(address)
    }

    /// One of those tried has failed: the next one is due.
    pub fn handle_failed(&mut self, now: Instant) {
        self.running = self.running.saturating_sub(1);
        self.next_at = self.next_at.min(now);
    }

    /// When the next one is due; `None` when there is none.
    pub fn next_at(&self) -> Option<Instant> {
        (!self.waiting.is_empty()).then_some(self.next_at)
    }

    /// Whether all have failed.
    pub fn is_lost(&self) -> bool {
        self.waiting.is_empty() && self.running == 0
    }
}

fn by_turns(addresses: impl Iterator<Item = SocketAddr>) -> VecDeque<SocketAddr> {
    let mut seen: Vec<SocketAddr> = Vec::new();
    for address in addresses {
        if !seen.contains(&address) {
            seen.push(address);
        }
    }
    let is_first_v6 = seen.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (VecDeque<_>, VecDeque<_>) =
        seen.into_iter().partition(|address| address.is_ipv6() == is_first_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut order = VecDeque::new();
    loop {
        match (first.next(), second.next()) {
            (None, None) => return order,
            (one, other) => order.extend(one.into_iter().chain(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1000)
    }

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn families_take_turns_and_the_first_stays_first() {
        let order = |addresses: &[&str]| -> Vec<String> {
            by_turns(addresses.iter().map(|text| address(text))).iter().map(ToString::to_string).collect()
        };
        let (a, b, c) = ("10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1");
        let (x, y) = ("[::1]:1", "[::2]:1");
        assert_eq!(order(&[x, y, a, b, c]), [x, a, y, b, c]);
        assert_eq!(order(&[a, b, c, x]), [a, x, b, c]);
        assert_eq!(order(&[a, a, b]), [a, b]);
        assert_eq!(order(&[]), Vec::<String>::new());
    }

    #[test]
    fn the_next_one_begins_after_a_quarter_of_a_second_or_when_one_has_failed() {
        let addresses = ["[::1]:1", "10.0.0.1:1", "10.0.0.2:1"].map(address);
        let mut race = Race::new(at(0), addresses);
        assert_eq!(race.poll(at(0)), Some(addresses[0]));
        assert_eq!((race.poll(at(0)), race.poll(at(249)), race.next_at()), (None, None, Some(at(250))));
        assert_eq!(race.poll(at(250)), Some(addresses[1]));
        race.handle_failed(at(300));
        assert_eq!((race.next_at(), race.poll(at(300))), (Some(at(300)), Some(addresses[2])));
        assert_eq!((race.next_at(), race.poll(at(10_000))), (None, None));
        race.handle_failed(at(400));
        assert!(!race.is_lost(), "one is still running");
        race.handle_failed(at(400));
        assert!(race.is_lost());
    }

    #[test]
    fn a_name_has_a_bounded_number_of_addresses() {
        let many = (0..100).map(|n| SocketAddr::from(([10, 0, 0, n], 1)));
        let mut race = Race::new(at(0), many);
        let tried = (0..).map_while(|n| race.poll(at(n * 250))).count();
        assert_eq!(tried, ADDRESSES_MAX);
        assert!(Race::new(at(0), []).is_lost());
    }
}
