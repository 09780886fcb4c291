//! Exact, on virtual time.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

const WIDE_OPEN: PrefixLimits = PrefixLimits {
    connections_max: 1_000_000,
    pending_max: 1_000_000,
    accepts_per_second_max: 1_000_000,
    failures_per_second_max: 1_000_000,
};

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn start() -> Instant {
    Instant::from_micros(1_000_000)
}

/// What a new connection of `from` is told: its place, or the bound's name.
fn come(prefixes: &Arc<Prefixes>, now: Instant, from: &str) -> Result<Place, &'static str> {
    prefixes.admit(now, address(from)).map_err(|refused| refused.label())
}

fn entries(prefixes: &Prefixes) -> [usize; 2] {
    prefixes.tables().each_ref().map(|table| table.entries.len())
}

/// Other bounds hold from the next connection on; who is over them keeps what it has.
#[test]
fn bounds_are_replaced_while_connections_are_there() {
    let limits = PrefixLimits { connections_max: 2, accepts_per_second_max: 1, ..WIDE_OPEN };
    let prefixes = Prefixes::new(limits, WIDE_OPEN, Vec::new());
    let (now, address) = (Instant::default(), "192.0.2.1".parse().unwrap());
    let first = prefixes.admit(now, address).unwrap();
    let _second = prefixes.admit(now, address).unwrap();
    let refused = |prefixes: &Arc<Prefixes>| prefixes.admit(now, address).unwrap_err().bound;
    assert_eq!(refused(&prefixes), Bound::Connections);
    prefixes.replace_limits(PrefixLimits { connections_max: 3, ..limits }, WIDE_OPEN, &[]);
    let third = prefixes.admit(now, address).unwrap();
    prefixes.replace_limits(PrefixLimits { connections_max: 1, ..limits }, WIDE_OPEN, &[]);
    assert_eq!(refused(&prefixes), Bound::Connections);
    drop(third);
    assert_eq!(refused(&prefixes), Bound::Connections, "two are one too many still");
    prefixes.replace_limits(limits, WIDE_OPEN, &["192.0.2.0/24".parse().unwrap()]);
    assert!(prefixes.admit(now, address).unwrap().0.is_none(), "trusted, and not counted");
    // A rate that is another begins with all that it allows at once.
    drop(first);
    prefixes.replace_limits(PrefixLimits { connections_max: 100, ..limits }, WIDE_OPEN, &[]);
    let places: Vec<_> = std::iter::from_fn(|| prefixes.admit(now, address).ok()).collect();
    assert_eq!((places.len(), refused(&prefixes)), (7, Bound::Accepts), "three of ten were used before");
    let faster = PrefixLimits { connections_max: 100, accepts_per_second_max: 2, ..WIDE_OPEN };
    prefixes.replace_limits(faster, WIDE_OPEN, &[]);
    assert_eq!(std::iter::from_fn(|| prefixes.admit(now, address).ok()).count(), 20);
}

/// A network fills up without touching its neighbours, and a place given back is free again.
#[test]
fn a_network_has_so_many_places() {
    let prefixes = Prefixes::new(WIDE_OPEN, PrefixLimits { connections_max: 2, ..WIDE_OPEN }, Vec::new());
    let come = |from| come(&prefixes, start(), from);
    let first = come("203.0.113.1").unwrap();
    let _second = come("203.0.113.200").unwrap();
    assert_eq!(come("203.0.113.7").unwrap_err(), "prefix_connections_max");
    assert!(come("203.0.114.7").is_ok());
    drop(first);
    let _third = come("203.0.113.7").unwrap();
    let _v6 = [come("2001:db8:1::1").unwrap(), come("2001:db8:1:ffff::1").unwrap()];
    assert_eq!(come("2001:db8:1:2::1").unwrap_err(), "prefix_connections_max");
    assert!(come("2001:db8:2::1").is_ok());
}

/// The same for one line: an IPv4 address, or the /64 that an IPv6 host picks its addresses from.
#[test]
fn an_address_has_so_many_places() {
    let prefixes = Prefixes::new(PrefixLimits { connections_max: 1, ..WIDE_OPEN }, WIDE_OPEN, Vec::new());
    let come = |from| come(&prefixes, start(), from);
    let first = come("203.0.113.1").unwrap();
    assert_eq!(come("203.0.113.1").unwrap_err(), "address_connections_max");
    let _neighbour = come("203.0.113.2").unwrap();
    drop(first);
    let _again = come("203.0.113.1").unwrap();
    let _v6 = come("2001:db8:1:1::1").unwrap();
    assert_eq!(come("2001:db8:1:1:9:9:9:9").unwrap_err(), "address_connections_max");
    let _next_line = come("2001:db8:1:2::1").unwrap();
}

/// Those that neither publish nor play have a bound of their own, and come and go from it.
#[test]
fn pending_connections_are_bounded_beside() {
    let tight = PrefixLimits { pending_max: 2, ..WIDE_OPEN };
    for (address, network, label) in
        [(tight, WIDE_OPEN, "address_pending_max"), (WIDE_OPEN, tight, "prefix_pending_max")]
    {
        let prefixes = Prefixes::new(address, network, Vec::new());
        let come = || come(&prefixes, start(), "192.0.2.1");
        let mut publishers: Vec<_> = (0..2).map(|_| come().unwrap()).collect();
        assert_eq!(come().unwrap_err(), label);
        publishers.iter_mut().for_each(|place| place.set_pending(false));
        publishers[0].set_pending(false);
        let pending = [come().unwrap(), come().unwrap()];
        assert_eq!(come().unwrap_err(), label);
        // One that stops is pending again, over the bound: it was there before.
        publishers[0].set_pending(true);
        drop(pending);
        let _third = come().unwrap();
        assert_eq!(come().unwrap_err(), label);
        drop(publishers);
        let _fourth = come().unwrap();
        assert_eq!(come().unwrap_err(), label);
    }
}

/// So many come at once, and then so many a second: of one address, and of all addresses of a network together.
#[test]
fn new_connections_are_bounded_by_rate() {
    let slow = PrefixLimits { accepts_per_second_max: 3, ..WIDE_OPEN };
    for (address, network, label) in [
        (slow, WIDE_OPEN, "address_accepts_per_second_max"),
        (WIDE_OPEN, slow, "prefix_accepts_per_second_max"),
    ] {
        let prefixes = Prefixes::new(address, network, Vec::new());
        let mut now = start();
        // Each leaves at once: it is coming that is counted.
        let come = |now| come(&prefixes, now, "192.0.2.1").map(drop);
        for _ in 0..3 * SECONDS_AT_ONCE {
            assert_eq!(come(now), Ok(()));
        }
        assert_eq!(come(now), Err(label));
        for _ in 0..100 {
            now = now + SECOND;
            assert_eq!([come(now), come(now), come(now), come(now)], [Ok(()), Ok(()), Ok(()), Err(label)]);
        }
    }
}

/// Who fails again and again is not taken for a while; others are, and so is he once he has waited, as often as he succeeds.
#[test]
fn failures_are_bounded_by_rate() {
    let strict = PrefixLimits { failures_per_second_max: 2, ..WIDE_OPEN };
    for (address, network, label) in [
        (strict, WIDE_OPEN, "address_failures_per_second_max"),
        (WIDE_OPEN, strict, "prefix_failures_per_second_max"),
    ] {
        let prefixes = Prefixes::new(address, network, Vec::new());
        let now = start();
        let come = |now| come(&prefixes, now, "192.0.2.1");
        for _ in 0..2 * SECONDS_AT_ONCE {
            come(now).unwrap().fail(now);
        }
        assert_eq!(come(now).unwrap_err(), label);
        assert!(prefixes.admit(now, "192.0.3.1".parse().unwrap()).is_ok(), "another network");
        let soon = now + SECOND / 2;
        let working: Vec<_> = (0..100).map(|_| come(soon).unwrap()).collect();
        working[0].fail(soon);
        working[1].fail(soon);
        assert_eq!(come(soon).unwrap_err(), label);
        assert!(come(soon + SECOND / 2).is_ok());
    }
}

/// Trusted networks are not counted, whatever they do.
#[test]
fn trusted_networks_are_free() {
    let none = PrefixLimits {
        connections_max: 1,
        pending_max: 1,
        accepts_per_second_max: 1,
        failures_per_second_max: 1,
    };
    let prefixes = Prefixes::new(none, none, vec!["127.0.0.0/8".parse().unwrap()]);
    let mut places: Vec<_> = (0..99).map(|_| come(&prefixes, start(), "127.0.0.1").unwrap()).collect();
    places.iter_mut().for_each(|place| {
        place.set_pending(false);
        place.fail(start());
    });
    assert_eq!(entries(&prefixes), [0, 0]);
}

/// Nothing is kept of those that left, once their buckets are full again.
#[test]
fn who_left_is_forgotten_when_his_buckets_are_full() {
    let limits = PrefixLimits { accepts_per_second_max: 1, failures_per_second_max: 1, ..WIDE_OPEN };
    let prefixes = Prefixes::new(limits, limits, Vec::new());
    let place = come(&prefixes, start(), "192.0.2.1").unwrap();
    place.fail(start());
    drop(place);
    assert_eq!(entries(&prefixes), [1, 1], "he came a moment ago");
    let place = come(&prefixes, start(), "192.0.2.1").unwrap();
    // Somebody else's coming tells the time.
    let later = come(&prefixes, start() + SECOND * 2, "198.51.100.1").unwrap();
    drop(place);
    assert_eq!(entries(&prefixes), [1, 1]);
    drop(later);
    assert_eq!(entries(&prefixes), [1, 1], "that one came a moment ago");
}

/// Whoever commands a whole IPv6 /32 makes the tables as long as they may be, and no longer; those with connections stay, and of the
/// others those who used the most.
#[test]
fn the_tables_are_bounded() {
    let limits = PrefixLimits { failures_per_second_max: 10, ..WIDE_OPEN };
    let prefixes = Prefixes::new(limits, limits, Vec::new());
    let stays = come(&prefixes, start(), "192.0.2.1").unwrap();
    for _ in 0..10 * SECONDS_AT_ONCE {
        come(&prefixes, start(), "198.51.100.1").unwrap().fail(start());
    }
    for nth in 0..100_000_u32 {
        let [high, low] = [(nth >> 16) as u16, nth as u16];
        let from = Ipv6Addr::from([0x2001, 0xdb8 + high, low, 0, 0, 0, 0, 1]);
        let place = prefixes.admit(start(), from.into()).unwrap();
        if nth % 2 == 0 {
            place.fail(start());
        }
        drop(place);
        assert!(entries(&prefixes).iter().all(|entries| *entries <= REMEMBERED_MAX + 2));
    }
    assert_eq!(come(&prefixes, start(), "198.51.100.1").unwrap_err(), "address_failures_per_second_max");
    for table in prefixes.tables().iter() {
        let without = table.entries.values().filter(|entry| entry.connections == 0).count();
        assert_eq!((table.remembered, table.entries.len()), (without, without + 1));
    }
    // Long afterwards nothing is left but who is there.
    let later = start() + SECOND * 3600;
    for nth in 0..=REMEMBERED_MAX as u32 {
        let from = Ipv4Addr::from(0x0a00_0000 + (nth << 8));
        drop(prefixes.admit(later, from.into()).unwrap());
    }
    assert!(entries(&prefixes).iter().all(|entries| *entries <= REMEMBERED_MAX + 2));
    drop(stays);
}

/// The log is told of a prefix that is refused once, and again when a minute has passed.
#[test]
fn a_refusal_is_news_once_a_minute() {
    let prefixes = Prefixes::new(PrefixLimits { connections_max: 1, ..WIDE_OPEN }, WIDE_OPEN, Vec::new());
    let _place = come(&prefixes, start(), "192.0.2.1").unwrap();
    let is_news = |now| prefixes.admit(now, address("192.0.2.1")).unwrap_err().is_news;
    assert!(is_news(start()));
    for second in 0..60 {
        assert!(!is_news(start() + SECOND * second));
    }
    assert!(is_news(start() + SECOND * 60));
    assert!(!is_news(start() + SECOND * 61));
}

/// The defaults let a whole carrier NAT come back at once, as `settings.rs` works it out.
#[test]
fn the_defaults_take_a_carrier_nat_that_comes_back() {
    let prefixes = Prefixes::new(PrefixLimits::ADDRESS, PrefixLimits::NETWORK, Vec::new());
    let mut now = start();
    let mut places = Vec::new();
    // Fifty encoders behind one address, while their old connections are still there; each is refused a few times, two seconds apart.
    for _ in 0..50 {
        let mut place = come(&prefixes, now, "100.64.0.1").unwrap();
        place.set_pending(false);
        places.push(place);
    }
    for _ in 0..2 {
        now = now + SECOND * 2;
        let again: Vec<_> = (0..50).map(|_| come(&prefixes, now, "100.64.0.1")).collect();
        let taken = again.iter().flatten();
        assert!(taken.clone().count() >= 10);
        taken.for_each(|place| place.fail(now));
    }
    places.clear();
    now = now + SECOND * 2;
    let back: Vec<_> = (0..50).map(|_| come(&prefixes, now, "100.64.0.1").unwrap()).collect();
    assert_eq!(back.len(), 50);
}
