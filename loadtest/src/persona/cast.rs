//! Who of a load plays which persona.
//!
//! # Invariant
//! The same shares, numbers and seed give the same [`Cast`]; who plays a persona is spread evenly over the numbers.
//! # Errors
//! [`BadCast`]: shares that no load of this size can give out.

use inrush::session::Role;

use super::Persona;
use super::share::Share;

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
}
