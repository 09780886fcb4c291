//! The targets of one group, for one stream: one of them has it at a time. A target without a group is a group of one.
//!
//! The members stand in the order of their ranks, and of the file where ranks are equal. The first is tried at once; a further one when all
//! before it have failed or have had their time (`failover_ms`) without getting media. As soon as one has media, those behind it are given
//! up, and those before it go on being tried, if their rank is better.
//!
//! When a better one has media, both get it until the better one has had it for `failback_ms` without a break: then the worse is hung up.
//! So nothing is switched before the other side is known to work, and who dies again within that time has cost nobody a frame. A target
//! that has just been given up is not gone back to until all others have failed.
//!
//! # Invariant
//! Once a group has ended no try begins, and every connection and try of it has been hung up or cancelled.
//! # Bounds
//! Two connections a member (see [`super::life`]).

use std::collections::VecDeque;
use std::time::Duration;

use super::backoff::Backoff;
use super::failure::Failure;
use super::life::{Life, LifeState, Step};
use super::plan::{Action, Context, Ids, Note};
use super::target::{Rank, Target};
use crate::runtime::{OutgoingEnd, OutgoingEvent, OutgoingId};
use crate::session::Instant;

/// One group's state machine. After each input [`Self::poll_action`] is drained; [`Self::next_timeout`] says when time is an input.
#[derive(Debug)]
pub struct Group {
    members: Vec<Member>,
    ids: Ids,
    random: fastrand::Rng,
    has_begun: bool,
    has_ended: bool,
    actions: VecDeque<Action>,
}

/// One member.
#[derive(Debug)]
struct Member {
    life: Life,
    rank: Rank,
    failover: Duration,
    failback: Duration,
    wanted_since: Instant,
    live_since: Option<Instant>,
    /// It has been lost, or could not be reached, and has had no media since.
    is_failing: bool,
}

impl Member {
    /// Whether the next one has to be tried as well.
    fn has_failed(&self, now: Instant) -> bool {
        self.is_failing || now - self.wanted_since >= self.failover
    }

    fn has_proven_itself(&self, now: Instant) -> bool {
        self.live_since.is_some_and(|since| now - since >= self.failback)
    }
}

/// Getters.
impl Group {
    /// A group whose members are these targets, in the order of [`in_order`]; the first try begins at once.
    pub fn new(now: Instant, number: u32, seed: u64, targets: &[&Target]) -> Self {
        let member = |(index, target): (usize, &&Target)| Member {
            life: Life::new(
                now,
                index,
                Backoff { min: target.backoff_min, max: target.backoff_max },
                target.url.as_ref().is_some_and(|url| url.is_tls()),
            ),
            rank: target.rank,
            failover: target.failover,
            failback: target.failback,
            wanted_since: now,
            live_since: None,
            is_failing: false,
        };
        let mut group = Self {
            members: targets.iter().enumerate().map(member).collect(),
            ids: Ids::new(number),
            random: fastrand::Rng::with_seed(seed),
            has_begun: false,
            has_ended: false,
            actions: VecDeque::new(),
        };
        group.settle(now);
        group
    }

    /// Its members' lives, in their order.
    pub fn lives(&self) -> impl Iterator<Item = &Life> {
        self.members.iter().map(|member| &member.life)
    }

    /// The member that has the stream: of two that get media, the one that had it first.
    pub fn active(&self) -> Option<usize> {
        let live =
            self.members.iter().enumerate().filter_map(|(index, member)| Some((member.live_since?, index)));
        live.min().map(|(_, index)| index)
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn next_timeout(&self) -> Instant {
        let lives = self.lives().map(Life::next_timeout);
        let mut next = lives.min().unwrap_or(Instant::FAR_FUTURE);
        match self.best_live() {
            Some(best) => {
                let is_any_behind =
                    self.members.iter().skip(best + 1).any(|member| member.live_since.is_some());
                if let Some(member) = self.members.get(best).filter(|_| is_any_behind)
                    && let Some(since) = member.live_since
                {
                    next = next.min(since + member.failback);
                }
            }
            None => next = next.min(self.next_failover()),
        }
        if self.has_ended { Instant::FAR_FUTURE } else { next }
    }

    /// When the next member is to be tried as well, unless all before it fail first.
    fn next_failover(&self) -> Instant {
        let mut at = Instant::default();
        for member in &self.members {
            if !member.life.is_wanted() {
                return at;
            }
            if !member.is_failing {
                at = at.max(member.wanted_since + member.failover);
            }
        }
        Instant::FAR_FUTURE
    }

    /// What is to be done next.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    fn best_live(&self) -> Option<usize> {
        self.members.iter().position(|member| member.live_since.is_some())
    }
}

/// Input.
impl Group {
    /// A try is further.
    pub fn handle_step(&mut self, now: Instant, id: OutgoingId, step: Step) {
        self.each_life(now, |life, cx| life.handle_step(cx, id, step));
    }

    /// A try has led to a connection. True when it is wanted still: then a core is to be given it.
    pub fn handle_dialed(&mut self, now: Instant, id: OutgoingId) -> bool {
        let mut is_wanted = false;
        self.each_life(now, |life, cx| is_wanted |= life.handle_dialed(cx, id));
        is_wanted
    }

    /// A try has failed.
    pub fn handle_failed(&mut self, now: Instant, id: OutgoingId, failure: &Failure) {
        self.each_life(now, |life, cx| life.handle_failed(cx, id, failure.clone()));
    }

    /// Something happened to a connection that a core has.
    pub fn handle_event(&mut self, now: Instant, id: OutgoingId, event: &OutgoingEvent) {
        if let OutgoingEvent::Closed { end: OutgoingEnd::Stopping, .. } = event {
            // There is no engine to try again for.
            return self.end(now);
        }
        self.each_life(now, |life, cx| life.handle_event(cx, id, event));
    }

    /// Time has come to `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.each_life(now, |life, cx| life.handle_timeout(cx));
    }

    /// The stream is over.
    pub fn end(&mut self, now: Instant) {
        // First, so that nobody is wanted again.
        self.has_ended = true;
        self.each_life(now, |life, cx| life.dismiss(cx));
    }

    fn each_life(&mut self, now: Instant, mut input: impl FnMut(&mut Life, &mut Context<'_>)) {
        for index in 0..self.members.len() {
            self.with_life(now, index, &mut input);
        }
        self.settle(now);
    }

    /// One input for one life, and what follows of it for its membership.
    fn with_life(&mut self, now: Instant, index: usize, input: impl FnOnce(&mut Life, &mut Context<'_>)) {
        let Self { members, ids, random, has_begun, actions, .. } = self;
        let Some(member) = members.get_mut(index) else { return };
        let was_live = member.live_since.is_some();
        input(&mut member.life, &mut Context { now, ids, random, has_begun, actions });
        if was_live && member.life.state() == LifeState::On(Step::Ready) {
            // A source that has ended a stream has its time again to begin the next one.
            member.wanted_since = now;
        }
        match member.life.state() {
            LifeState::Standby => member.is_failing = false,
            LifeState::Waiting => member.is_failing = true,
            LifeState::On(Step::Live) => member.is_failing = false,
            LifeState::On(_) => {}
        }
        member.live_since = member.life.is_live().then(|| member.live_since.unwrap_or(now));
    }

    fn want(&mut self, now: Instant, index: usize) {
        if let Some(member) = self.members.get_mut(index)
            && !member.life.is_wanted()
        {
            member.wanted_since = now;
            self.with_life(now, index, |life, cx| life.want(cx));
        }
    }

    fn dismiss(&mut self, now: Instant, index: usize) {
        if self.members.get(index).is_some_and(|member| member.life.is_wanted()) {
            self.with_life(now, index, |life, cx| life.dismiss(cx));
        }
    }

    /// Who is wanted, as things are now.
    fn settle(&mut self, now: Instant) {
        if self.has_ended {
            return;
        }
        match self.best_live() {
            Some(best) => self.settle_around(now, best),
            None => self.settle_without(now),
        }
    }

    /// `best` is the first that has media.
    fn settle_around(&mut self, now: Instant, best: usize) {
        let Some(member) = self.members.get(best) else { return };
        let (rank, has_proven_itself) = (member.rank, member.has_proven_itself(now));
        for index in 0..self.members.len() {
            let Some(other) = self.members.get(index) else { continue };
            let (other_rank, is_live) = (other.rank, other.live_since.is_some());
            if index < best && other_rank < rank {
                self.want(now, index);
            } else if index < best || (index > best && !is_live) {
                self.dismiss(now, index);
            } else if index > best && (has_proven_itself || other_rank == rank) {
                self.dismiss(now, index);
                self.actions.push_back(Action::Note(Note::Failback { member: best }));
            }
        }
    }

    /// Nobody has media: all before the first that has not failed yet are tried, and that one.
    fn settle_without(&mut self, now: Instant) {
        for index in 0..self.members.len() {
            if self.members.get(index).is_some_and(|member| !member.life.is_wanted()) {
                self.want(now, index);
                if index > 0 {
                    self.actions.push_back(Action::Note(Note::Failover { member: index }));
                }
            }
            if self.members.get(index).is_none_or(|member| !member.has_failed(now)) {
                return;
            }
        }
    }
}

/// Puts members of one group into the order in which they are wanted.
pub fn in_order<T>(members: &mut [T], rank: impl Fn(&T) -> Rank) {
    // Stable: equal ranks stay in the order of the file.
    members.sort_by_key(rank);
}

#[cfg(test)]
mod tests;
