//! Whether one stream is to be pulled: who waits for it, and who has it. No clock, no connection: what it wants done is an [`Order`].
//!
//! ```text
//! nobody here ---- a player comes ----> pulled ---- the last player goes ----> lingers ---- time is up ----> nobody here
//!                                         |  ^                                  |
//!                 a publisher comes here  |  | it ends, and players are there   |  a player comes: pulled
//!                                         v  |                                  v
//!                                       theirs <---- a publisher comes here ----+
//! ```
//! # Invariant
//! A stream has one pull at a time, however many play it, and none while somebody publishes it here.

use std::time::Duration;

use crate::hub::CoreId;
use crate::session::Instant;

/// One stream's demand.
#[derive(Debug)]
pub struct Demand {
    /// How long a pull outlives its last player.
    linger: Duration,
    players: u64,
    /// Where the stream lives, as the last player was told.
    home: CoreId,
    on_air: OnAir,
    /// Where the pull's connections go, while there is one.
    pulled_to: Option<CoreId>,
    let_go_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OnAir {
    Nobody,
    Pulled,
    Theirs,
}

/// What is to be done with the stream's pull.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// One begins, in place of any before it.
    Begin {
        /// The core that the stream lives on.
        home: CoreId,
    },
    /// It ends.
    End,
}

impl Demand {
    /// Of a stream that nobody plays or publishes yet.
    pub fn new(linger: Duration) -> Self {
        Self { linger, players: 0, home: CoreId(0), on_air: OnAir::Nobody, pulled_to: None, let_go_at: None }
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn next_timeout(&self) -> Instant {
        self.let_go_at.unwrap_or(Instant::FAR_FUTURE)
    }

    /// Nobody plays, publishes or pulls it: it can be forgotten.
    pub fn is_idle(&self) -> bool {
        self.players == 0 && self.on_air == OnAir::Nobody && self.pulled_to.is_none()
    }

    /// Whether nobody has played it until now, or not for a while.
    pub fn is_unplayed(&self) -> bool {
        self.players == 0
    }

    /// Somebody plays it.
    pub fn handle_play(&mut self, home: CoreId) -> Option<Order> {
        self.players += 1;
        self.let_go_at = None;
        self.home = home;
        self.settle()
    }

    /// Somebody plays it no more.
    pub fn handle_play_end(&mut self, now: Instant) {
        // An end too many would let the pull live longer.
        let Some(players) = self.players.checked_sub(1) else { return };
        self.players = players;
        if players == 0 && self.pulled_to.is_some() {
            self.let_go_at = Some(now + self.linger);
        }
    }

    /// It is published here: by a pull, or by somebody else, who has precedence.
    pub fn handle_stream(&mut self, is_pulled: bool) -> Option<Order> {
        self.on_air = if is_pulled { OnAir::Pulled } else { OnAir::Theirs };
        match is_pulled {
            true => None,
            false => self.end(),
        }
    }

    /// It is published here no more.
    pub fn handle_stream_end(&mut self) -> Option<Order> {
        self.on_air = OnAir::Nobody;
        self.settle()
    }

    /// There is no pull, although one was ordered: the next player has another one tried.
    pub fn handle_no_pull(&mut self) {
        self.pulled_to = None;
        self.let_go_at = None;
    }

    /// How long a pull outlives its last player from now on; one that has lost it already keeps its time.
    pub fn set_linger(&mut self, linger: Duration) {
        self.linger = linger;
    }

    /// It can be pulled from elsewhere than before: a pull that players wait for begins anew.
    pub fn handle_other_sources(&mut self) -> Option<Order> {
        if self.players == 0 {
            return self.end();
        }
        self.pulled_to = None;
        self.settle()
    }

    /// It cannot be pulled any more: the pull that there is ends.
    pub fn handle_no_source(&mut self) -> Option<Order> {
        self.end()
    }

    /// Time has come to `now`.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Order> {
        if self.next_timeout() <= now { self.end() } else { None }
    }

    /// Players who wait have it pulled to where they wait for it.
    fn settle(&mut self) -> Option<Order> {
        // While nobody holds it, the stream may get another home; a connection that is elsewhere then could not publish it.
        let is_right = self.pulled_to == Some(self.home);
        if self.players == 0 || self.on_air == OnAir::Theirs || is_right {
            return None;
        }
        self.pulled_to = Some(self.home);
        Some(Order::Begin { home: self.home })
    }

    fn end(&mut self) -> Option<Order> {
        self.let_go_at = None;
        self.pulled_to.take().map(|_| Order::End)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINGER: Duration = Duration::from_secs(5);
    const HOME: CoreId = CoreId(1);
    const BEGIN: Option<Order> = Some(Order::Begin { home: HOME });

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1000)
    }

    #[test]
    fn it_is_pulled_once_for_all_players_and_let_go_after_the_last_one() {
        let mut demand = Demand::new(LINGER);
        assert!(demand.is_idle());
        assert_eq!(demand.handle_play(HOME), BEGIN);
        assert_eq!((demand.handle_play(HOME), demand.handle_play(HOME)), (None, None));
        assert_eq!(demand.handle_stream(true), None);
        demand.handle_play_end(at(0));
        demand.handle_play_end(at(0));
        assert_eq!(demand.next_timeout(), Instant::FAR_FUTURE, "somebody plays still");
        demand.handle_play_end(at(1000));
        assert_eq!(demand.next_timeout(), at(6000));
        assert_eq!(demand.handle_timeout(at(5999)), None);
        // Who comes back in time finds it, and the time begins anew when they go.
        assert_eq!(demand.handle_play(HOME), None);
        assert_eq!(demand.handle_timeout(at(7000)), None);
        demand.handle_play_end(at(8000));
        assert_eq!(demand.handle_timeout(at(13_000)), Some(Order::End));
        assert_eq!(demand.handle_timeout(at(14_000)), None);
        assert!(!demand.is_idle(), "it is on the air until the core says otherwise");
        assert_eq!(demand.handle_stream_end(), None);
        assert!(demand.is_idle());
    }

    /// Other upstreams: a pull that is played begins anew, one that nobody plays ends, and who waits without one has one begun.
    #[test]
    fn other_sources_begin_a_pull_anew_for_players_alone() {
        let mut demand = Demand::new(LINGER);
        assert_eq!(demand.handle_other_sources(), None);
        assert_eq!(demand.handle_play(HOME), BEGIN);
        assert_eq!(demand.handle_stream(true), None);
        assert_eq!(demand.handle_other_sources(), BEGIN);
        // The old pull's stream ends when the new one has begun already.
        assert_eq!(demand.handle_stream_end(), None);
        assert_eq!(demand.handle_no_source(), Some(Order::End));
        assert_eq!(demand.handle_no_source(), None);
        assert!(!demand.is_idle(), "somebody waits");
        assert_eq!(demand.handle_other_sources(), BEGIN);
        demand.handle_play_end(at(0));
        assert_eq!(demand.handle_other_sources(), Some(Order::End), "nobody plays what lingers");
        // A publisher here has precedence over whatever it could be pulled from.
        assert_eq!(demand.handle_stream(false), None);
        assert_eq!(demand.handle_play(HOME), None);
        assert_eq!(demand.handle_other_sources(), None);
    }

    #[test]
    fn it_stands_back_from_a_publisher_and_comes_back_for_players() {
        let mut demand = Demand::new(LINGER);
        assert_eq!(demand.handle_stream(false), None);
        assert_eq!(demand.handle_play(HOME), None, "it is here");
        assert_eq!(demand.handle_stream_end(), BEGIN);
        // A publisher comes before anything was pulled, and after the players have gone.
        assert_eq!(demand.handle_stream(false), Some(Order::End));
        demand.handle_play_end(at(0));
        assert_eq!(demand.next_timeout(), Instant::FAR_FUTURE);
        assert_eq!(demand.handle_stream_end(), None);
        assert!(demand.is_idle());
        // The same while it lingers: there is nothing left to let go of.
        assert_eq!(demand.handle_play(HOME), BEGIN);
        demand.handle_play_end(at(0));
        assert_eq!(demand.handle_stream(false), Some(Order::End));
        assert_eq!(demand.handle_timeout(at(60_000)), None);
    }

    #[test]
    fn a_source_whose_stream_ends_stays_pulled_while_somebody_plays() {
        let mut demand = Demand::new(LINGER);
        assert_eq!(demand.handle_play(HOME), BEGIN);
        for _ in 0..3 {
            assert_eq!(demand.handle_stream(true), None);
            assert_eq!(demand.handle_stream_end(), None);
        }
        assert_eq!(demand.next_timeout(), Instant::FAR_FUTURE);
    }

    #[test]
    fn it_follows_the_stream_to_another_home_and_is_tried_again_for_the_next_player() {
        let mut demand = Demand::new(LINGER);
        assert_eq!(demand.handle_play(HOME), BEGIN);
        demand.handle_play_end(at(0));
        assert_eq!(demand.handle_play(CoreId(0)), Some(Order::Begin { home: CoreId(0) }));
        demand.handle_no_pull();
        assert_eq!(demand.handle_play(CoreId(0)), Some(Order::Begin { home: CoreId(0) }));
        // An end too many changes nothing.
        for now in 0..5 {
            demand.handle_play_end(at(now));
        }
        assert_eq!(demand.handle_timeout(at(5001)), Some(Order::End));
        assert!(demand.is_idle());
    }

    /// Random walks: a pull never stands beside a publisher, players without a stream always have one, and in the end nothing is left.
    #[test]
    fn a_walk_through_everything_keeps_the_invariant() {
        for seed in 0..500 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut demand = Demand::new(LINGER);
            let (mut players, mut theirs, mut pulls, mut now) = (0_u32, false, 0_u32, at(0));
            for _ in 0..200 {
                now = now + Duration::from_millis(random.u64(0..4000));
                let mut orders = vec![demand.handle_timeout(now)];
                match random.u8(0..4) {
                    0 => {
                        players += 1;
                        orders.push(demand.handle_play(HOME));
                    }
                    1 if players > 0 => {
                        players -= 1;
                        demand.handle_play_end(now);
                    }
                    2 if !theirs => {
                        theirs = true;
                        orders.push(demand.handle_stream(false));
                    }
                    3 if theirs => {
                        theirs = false;
                        orders.push(demand.handle_stream_end());
                    }
                    _ => {}
                }
                for order in orders.into_iter().flatten() {
                    pulls = match order {
                        Order::Begin { .. } => pulls + 1,
                        Order::End => pulls - 1,
                    };
                }
                assert!(pulls <= 1 && (!theirs || pulls == 0), "seed {seed}: {demand:?}");
                assert!(players == 0 || theirs || pulls == 1, "seed {seed}: {demand:?}");
            }
            if theirs {
                let begun = demand.handle_stream_end();
                pulls += u32::from(begun.is_some());
            }
            for _ in 0..players {
                demand.handle_play_end(now);
            }
            let ended = demand.handle_timeout(now + LINGER);
            pulls -= u32::from(ended.is_some());
            assert!(pulls == 0 && demand.is_idle(), "seed {seed}: {demand:?}");
        }
    }
}
