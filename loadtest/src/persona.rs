//! Personas: the kinds of peers that real life sends beside steady ones, and who of a load plays which.
//!
//! `--persona [publish.|play.]NAME[:PARAMETER]=SHARE`, as `play.slow-link:500k=0.1`. Most change connections of the load, a share of
//! its publishers and of its players; `publish.` and `play.` restrict them to one of the two. [`Persona::is_extra`] ones come
//! beside the load.
//!
//! # Invariant
//! The same shares, numbers and seed give the same [`Cast`]; who plays a persona is spread evenly over the numbers.

use std::fmt;
use std::str::FromStr;

use inrush::session::Role;

use crate::hostile::Hostility;

/// Longest time of a persona, seconds: a day.
const SECONDS_MAX: f64 = 86_400.0;
/// Shortest time of one that must not be 0, seconds.
const SECONDS_MIN: f64 = 0.05;
/// Slowest and fastest link, bits a second.
const LINK_BPS: std::ops::RangeInclusive<f64> = 1e3..=1e10;

/// How a peer behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Persona {
    /// As it should.
    Steady,
    /// Reads and writes at most so many bits a second.
    SlowLink {
        /// Each way.
        bits_per_second: u64,
    },
    /// A player that stops reading for so long, reads for as long, and so on.
    Stalling {
        /// Of each stop.
        stall_us: u64,
    },
    /// Cuts its connection without a word, each at another time, and comes back at once.
    Reconnecting {
        /// From cut to cut.
        every_us: u64,
    },
    /// The same, all at one moment.
    Storm {
        /// From cut to cut.
        every_us: u64,
    },
    /// Leaves as it should, and comes back.
    Churning {
        /// From the accepted publish or play until it leaves.
        stay_us: u64,
        /// Until it comes back.
        away_us: u64,
    },
    /// A publisher that writes one byte at a time.
    OneByte,
    /// Below RTMP.
    Hostile(Hostility),
    /// Asks to publish a name that nobody uses with this query, which should be refused.
    WrongKey {
        /// What follows the `?`; nothing when empty.
        query: String,
    },
}

impl Persona {
    /// Its name on the command line, without its parameter.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Steady => "steady",
            Self::SlowLink { .. } => "slow-link",
            Self::Stalling { .. } => "stalling",
            Self::Reconnecting { .. } => "reconnecting",
            Self::Storm { .. } => "storm",
            Self::Churning { .. } => "churning",
            Self::OneByte => "one-byte",
            Self::Hostile(Hostility::HalfOpen) => "half-open",
            Self::Hostile(Hostility::Garbage) => "garbage",
            Self::WrongKey { .. } => "wrong-key",
        }
    }

    /// Whether it comes beside the load, rather than change a part of it.
    pub fn is_extra(&self) -> bool {
        matches!(self, Self::Hostile(_) | Self::WrongKey { .. })
    }

    /// Whether a peer of this role can play it.
    pub fn suits(&self, role: Role) -> bool {
        match self {
            Self::Stalling { .. } => role == Role::Play,
            Self::OneByte => role == Role::Publish,
            _ => !self.is_extra(),
        }
    }

    /// Whether it opens a new connection after its last one ended.
    pub fn comes_back(&self) -> bool {
        matches!(self, Self::Reconnecting { .. } | Self::Storm { .. } | Self::Churning { .. })
    }

    /// Whether it says goodbye when it leaves.
    pub fn says_goodbye(&self) -> bool {
        matches!(self, Self::Churning { .. } | Self::WrongKey { .. })
    }

    /// When it leaves that was let in at `ready_us`. The measurement begins at `from_us`; nothing is cut before. `phase` is its place
    /// among those of its kind, as a fraction of 2³².
    pub fn leaves_us(&self, ready_us: u64, from_us: u64, phase: u32) -> Option<u64> {
        let after = |first_us: u64, every_us: u64| match ready_us.checked_sub(first_us) {
            None => first_us,
            Some(passed_us) => first_us + (passed_us / every_us + 1) * every_us,
        };
        match self {
            Self::Reconnecting { every_us } => Some(after(from_us + part_of(*every_us, phase), *every_us)),
            Self::Storm { every_us } => Some(after(from_us + every_us, *every_us)),
            Self::Churning { stay_us, .. } => Some(ready_us + stay_us),
            // It has learnt what it asked for.
            Self::WrongKey { .. } => Some(ready_us),
            _ => None,
        }
    }

    /// Until when a player of it, let in at `ready_us`, does not read. `phase` as in [`Self::leaves_us`].
    pub fn stalls_until_us(&self, now_us: u64, ready_us: u64, phase: u32) -> Option<u64> {
        let Self::Stalling { stall_us } = self else { return None };
        let period_us = 2 * stall_us;
        let at_us = (now_us.saturating_sub(ready_us) + part_of(period_us, phase)) % period_us;
        (at_us >= *stall_us).then(|| now_us + period_us - at_us)
    }

    fn parse(text: &str) -> Option<Self> {
        let (name, parameter) = match text.split_once(':') {
            Some((name, parameter)) => (name, Some(parameter)),
            None => (text, None),
        };
        let none = |persona| parameter.is_none().then_some(persona);
        let time = || parameter.and_then(|text| micros(text, SECONDS_MIN));
        match name {
            "steady" => none(Self::Steady),
            "slow-link" => Some(Self::SlowLink { bits_per_second: link_rate(parameter?)? }),
            "stalling" => Some(Self::Stalling { stall_us: time()? }),
            "reconnecting" => Some(Self::Reconnecting { every_us: time()? }),
            "storm" => Some(Self::Storm { every_us: time()? }),
            "churning" => {
                let (stay, away) = parameter?.split_once('/')?;
                Some(Self::Churning { stay_us: micros(stay, 0.0)?, away_us: micros(away, 0.0)? })
            }
            "one-byte" => none(Self::OneByte),
            "half-open" => none(Self::Hostile(Hostility::HalfOpen)),
            "garbage" => none(Self::Hostile(Hostility::Garbage)),
            "wrong-key" => Some(Self::WrongKey { query: parameter.unwrap_or_default().to_owned() }),
            _ => None,
        }
    }
}

/// As on the command line.
impl fmt::Display for Persona {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |us: &u64| *us as f64 / 1e6;
        f.write_str(self.name())?;
        match self {
            Self::SlowLink { bits_per_second } => write!(f, ":{bits_per_second}"),
            Self::Stalling { stall_us: us }
            | Self::Reconnecting { every_us: us }
            | Self::Storm { every_us: us } => {
                write!(f, ":{}", seconds(us))
            }
            Self::Churning { stay_us, away_us } => write!(f, ":{}/{}", seconds(stay_us), seconds(away_us)),
            Self::WrongKey { query } if !query.is_empty() => write!(f, ":{query}"),
            _ => Ok(()),
        }
    }
}

/// A fraction of `whole_us`, in 2³²ths.
fn part_of(whole_us: u64, phase: u32) -> u64 {
    ((u128::from(whole_us) * u128::from(phase)) >> 32) as u64
}

fn micros(text: &str, seconds_min: f64) -> Option<u64> {
    let seconds: f64 = text.strip_suffix('s').unwrap_or(text).parse().ok()?;
    (seconds_min..=SECONDS_MAX).contains(&seconds).then_some((seconds * 1e6).round() as u64)
}

fn link_rate(text: &str) -> Option<u64> {
    let (number, unit) = match text.strip_suffix(['k', 'K']) {
        Some(number) => (number, 1e3),
        None => text.strip_suffix('M').map_or((text, 1.0), |number| (number, 1e6)),
    };
    let rate = number.parse::<f64>().ok()? * unit;
    LINK_BPS.contains(&rate).then_some(rate as u64)
}

/// How many peers behave so.
#[derive(Clone, Debug, PartialEq)]
pub struct Share {
    /// How.
    pub persona: Persona,
    /// Publishers only, or players only.
    pub only: Option<Role>,
    /// 0 to 1.
    pub share: f64,
}

impl Share {
    /// As on the command line, but without what lets others publish.
    pub fn label(&self) -> String {
        let only = self.prefix();
        match &self.persona {
            Persona::WrongKey { query } if !query.is_empty() => {
                let hidden = crate::report::without_secrets(&format!("?{query}"));
                format!("{only}wrong-key:{}", &hidden[1..])
            }
            persona => format!("{only}{persona}"),
        }
    }

    fn prefix(&self) -> &'static str {
        match self.only {
            Some(Role::Publish) => "publish.",
            Some(Role::Play) => "play.",
            None => "",
        }
    }

    fn suits(&self, role: Role) -> bool {
        self.persona.suits(role) && self.only.is_none_or(|only| only == role)
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            "write it as NAME=SHARE with a share from 0 to 1; names are steady, slow-link:RATE, stalling:S, reconnecting:S, storm:S, \
             churning:STAY/AWAY, one-byte, half-open, garbage, wrong-key:QUERY (seconds; bits a second as 500k or 2M), \
             those from slow-link to one-byte also as publish.NAME or play.NAME"
                .to_owned()
        };
        // A query may hold `=`.
        let (name, share) = text.rsplit_once('=').ok_or_else(wrong)?;
        let (only, name) = if let Some(name) = name.strip_prefix("publish.") {
            (Some(Role::Publish), name)
        } else if let Some(name) = name.strip_prefix("play.") {
            (Some(Role::Play), name)
        } else {
            (None, name)
        };
        let persona = Persona::parse(name).ok_or_else(wrong)?;
        if only.is_some_and(|only| !persona.suits(only) || persona == Persona::Steady) {
            return Err(wrong());
        }
        let share = share.parse().ok().filter(|share| (0.0..=1.0).contains(share)).ok_or_else(wrong)?;
        Ok(Self { persona, only, share })
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}={}", self.prefix(), self.persona, self.share)
    }
}

/// A role in the play: which persona, and the place among those of its kind as a fraction of 2³².
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Casting {
    /// Index into [`Cast::shares`].
    pub persona: usize,
    /// 0 for the first, and evenly from there.
    pub phase: u32,
}

/// Who plays what.
#[derive(Clone, Debug, PartialEq)]
pub struct Cast {
    /// What there is to play; the first is steady.
    pub shares: Vec<Share>,
    /// Of each publisher.
    pub publishers: Vec<Casting>,
    /// Of each player.
    pub players: Vec<Casting>,
    /// Of those beside the load.
    pub extras: Vec<Casting>,
}

/// Shares that cannot be given out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCast {
    /// More than there are.
    #[error("the shares of the {0} add up to more than 1")]
    Sum(&'static str),
    /// Nobody to play it.
    #[error("{0} is a share of nobody in this load")]
    Nobody(String),
}

impl Cast {
    /// Gives out the shares.
    pub fn new(wanted: &[Share], publishers: u32, players: u32, seed: u64) -> Result<Self, BadCast> {
        let steady = |share: &&Share| share.persona == Persona::Steady;
        let named: f64 = wanted.iter().filter(steady).map(|share| share.share).sum();
        let mut shares = vec![Share { persona: Persona::Steady, only: None, share: named }];
        shares.extend(wanted.iter().filter(|share| !steady(share)).cloned());
        let peers = f64::from(publishers) + f64::from(players);
        let extras = shares.iter().enumerate().filter(|(_, share)| share.persona.is_extra());
        let cast = Self {
            publishers: casting(&shares, Role::Publish, publishers, seed)?,
            players: casting(&shares, Role::Play, players, seed)?,
            extras: extras
                .flat_map(|(persona, share)| in_order(persona, (peers * share.share).round() as u32))
                .collect(),
            shares,
        };
        let nobody = |(at, share): &(usize, &Share)| {
            share.share > 0.0 && *at > 0 && cast.all().all(|casting| casting.persona != *at)
        };
        match cast.shares.iter().enumerate().find(nobody) {
            Some((_, share)) => Err(BadCast::Nobody(format!("{}={}", share.label(), share.share))),
            None => Ok(cast),
        }
    }

    /// How many play this one.
    pub fn count(&self, persona: usize) -> u64 {
        self.all().filter(|casting| casting.persona == persona).count() as u64
    }

    fn all(&self) -> impl Iterator<Item = &Casting> {
        self.publishers.iter().chain(&self.players).chain(&self.extras)
    }
}

fn in_order(persona: usize, count: u32) -> impl Iterator<Item = Casting> {
    let phase = move |place: u32| ((u64::from(place) << 32) / u64::from(count)) as u32;
    (0..count).map(move |place| Casting { persona, phase: phase(place) })
}

fn casting(shares: &[Share], role: Role, count: u32, seed: u64) -> Result<Vec<Casting>, BadCast> {
    // Multiples of the golden ratio modulo 1: any range of them is spread evenly over the numbers. Players are turned
    // against publishers, so that a persona's players do not all play what its own publishers send.
    let (turn, name) = match role {
        Role::Publish => (seed, "publishers"),
        Role::Play => (!seed, "players"),
    };
    let turn = turn.wrapping_add(1).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let key = |number: &u32| u64::from(*number).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(turn);
    let mut numbers: Vec<u32> = (0..count).collect();
    numbers.sort_unstable_by_key(key);
    let mut all = vec![Casting::default(); count as usize];
    let (mut sum, mut first) = (0.0, 0);
    for (persona, share) in shares.iter().enumerate().filter(|(_, share)| share.suits(role)) {
        sum += share.share;
        if sum > 1.0 + 1e-9 {
            return Err(BadCast::Sum(name));
        }
        // Sums are rounded, so that they come out whatever the shares; a half goes down.
        let end = ((sum * f64::from(count) - 0.5 - 1e-9).ceil() as usize).clamp(first, count as usize);
        for (number, casting) in numbers[first..end].iter().zip(in_order(persona, (end - first) as u32)) {
            all[*number as usize] = casting;
        }
        first = end;
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(text: &str) -> Share {
        text.parse().unwrap()
    }

    #[test]
    fn shares_are_read_and_shown_alike() {
        for text in [
            "garbage=0.05",
            "half-open=1",
            "steady=0.5",
            "slow-link:500000=0.1",
            "play.slow-link:2000000=0.1",
            "stalling:2.5=0",
            "play.stalling:3=1",
            "publish.reconnecting:10=1",
            "storm:0.05=1",
            "churning:0/0=1",
            "play.churning:1.5/30=0.25",
            "one-byte=0.01",
            "wrong-key:key=a=b&t=1=0.1",
            "wrong-key=0.1",
        ] {
            assert_eq!(share(text).to_string(), text);
        }
        assert_eq!(share("slow-link:2M=1"), share("slow-link:2000k=1"));
        assert_eq!(share("stalling:2s=1"), share("stalling:2=1"));
    }

    #[test]
    fn what_is_no_share_is_told_in_one_line() {
        for text in [
            "",
            "garbage",
            "garbage=",
            "garbage=2",
            "garbage=-0.1",
            "garbage=NaN",
            "garbage:1=0.1",
            "kind=0.1",
            "slow-link=0.1",
            "slow-link:0=0.1",
            "slow-link:fast=0.1",
            "slow-link:99999999M=0.1",
            "stalling:0=0.1",
            "stalling:inf=0.1",
            "storm:-1=0.1",
            "churning:1=0.1",
            "churning:1/=0.1",
            "churning:-1/0=0.1",
            "publish.stalling:1=0.1",
            "play.one-byte=0.1",
            "play.garbage=0.1",
            "play.steady=0.1",
        ] {
            let error = text.parse::<Share>().expect_err(text);
            assert!(!error.contains('\n') && error.contains("NAME=SHARE"), "{text}: {error}");
        }
    }

    #[test]
    fn a_wrong_key_is_not_shown() {
        assert_eq!(share("wrong-key:key=abc&t=1=0.1").label(), "wrong-key:key=…&t=…");
        assert_eq!(share("play.storm:3=1").label(), "play.storm:3");
    }

    #[test]
    fn shares_come_out_to_the_peer_and_are_spread_evenly() {
        let shares = ["stalling:1=0.1", "storm:5=0.2", "one-byte=0.3", "garbage=0.1"].map(share);
        let cast = Cast::new(&shares, 1_000, 100, 7).unwrap();
        let count = |castings: &[Casting], persona| {
            castings.iter().filter(|casting| casting.persona == persona).count()
        };
        assert_eq!([0, 1, 2, 3, 4].map(|at| count(&cast.publishers, at)), [500, 0, 200, 300, 0]);
        assert_eq!([0, 1, 2, 3, 4].map(|at| count(&cast.players, at)), [70, 10, 20, 0, 0]);
        assert_eq!((cast.extras.len(), cast.count(4), cast.count(2)), (110, 110, 220));
        for hundred in cast.publishers.chunks(100) {
            assert!(count(hundred, 2).abs_diff(20) <= 2 && count(hundred, 3).abs_diff(30) <= 2);
        }
        let mut phases: Vec<_> = cast
            .publishers
            .iter()
            .filter(|casting| casting.persona == 2)
            .map(|casting| casting.phase)
            .collect();
        phases.sort_unstable();
        assert!(phases.windows(2).all(|pair| (pair[1] - pair[0]).abs_diff(u32::MAX / 200) <= 1));
    }

    #[test]
    fn the_seed_decides_who_plays_what() {
        let shares = ["churning:1/1=0.5".parse().unwrap()];
        let cast = |seed| Cast::new(&shares, 100, 100, seed).unwrap();
        assert_eq!(cast(1), cast(1));
        assert_ne!(cast(1).publishers, cast(2).publishers);
        assert_ne!(cast(1).publishers, cast(1).players);
    }

    #[test]
    fn a_half_of_one_is_nobody() {
        let cast = Cast::new(&["stalling:1=0.5", "slow-link:1M=0.5"].map(share), 1, 2, 1).unwrap();
        assert_eq!((cast.count(0), cast.count(1), cast.count(2)), (1, 1, 1));
    }

    #[test]
    fn shares_that_cannot_be_given_out_are_told() {
        let error = |shares: &[&str], publishers, players| {
            let shares: Vec<_> = shares.iter().map(|text| share(text)).collect();
            Cast::new(&shares, publishers, players, 1).unwrap_err().to_string()
        };
        assert_eq!(
            error(&["storm:1=0.6", "steady=0.5"], 10, 0),
            "the shares of the publishers add up to more than 1"
        );
        assert_eq!(error(&["stalling:1=1"], 10, 0), "stalling:1=1 is a share of nobody in this load");
        assert_eq!(error(&["play.storm:1=0.1"], 10, 2), "play.storm:1=0.1 is a share of nobody in this load");
        assert_eq!(error(&["garbage=0.01"], 10, 2), "garbage=0.01 is a share of nobody in this load");
        assert!(Cast::new(&["stalling:1=0.7", "publish.storm:1=0.7"].map(share), 10, 10, 1).is_ok());
    }

    #[test]
    fn a_storm_is_one_moment_and_reconnecting_is_many() {
        let storm = Persona::Storm { every_us: 1_000 };
        assert_eq!(storm.leaves_us(5, 10_000, 7), Some(11_000));
        assert_eq!(storm.leaves_us(11_000, 10_000, u32::MAX), Some(12_000));
        let reconnecting = Persona::Reconnecting { every_us: 1_000 };
        assert_eq!(reconnecting.leaves_us(5, 10_000, 1 << 31), Some(10_500));
        assert_eq!(reconnecting.leaves_us(10_500, 10_000, 1 << 31), Some(11_500));
        assert_eq!(reconnecting.leaves_us(12_499, 10_000, 1 << 31), Some(12_500));
        let churning = Persona::Churning { stay_us: 3, away_us: 0 };
        assert_eq!(churning.leaves_us(5, 10_000, 0), Some(8));
        assert_eq!(Persona::Steady.leaves_us(5, 10_000, 0), None);
    }

    #[test]
    fn a_staller_reads_and_stops_in_turn() {
        let stalling = Persona::Stalling { stall_us: 100 };
        let stalled: Vec<_> =
            (0..6).map(|tick| stalling.stalls_until_us(1_000 + tick * 50, 1_000, 0)).collect();
        assert_eq!(stalled, [None, None, Some(1_200), Some(1_200), None, None]);
        assert_eq!(stalling.stalls_until_us(1_000, 1_000, 1 << 31), Some(1_100));
    }
}
