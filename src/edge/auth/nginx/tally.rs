//! What the calls of one back end came to, for `/metrics`.
//!
//! # Bounds
//! Series: tables times calls times results, all from the configuration and from fixed sets. A table that is in force no more shows until the next
//! reading of the configuration that finds nothing left of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::form::Call;
use super::lives::Counters;
use crate::control::metrics::{Family, Value};

/// Results of a call, as metrics call them: 2xx, 3xx, 4xx, other statuses, no answer.
const RESULTS: [&str; 5] = ["taken", "redirected", "refused", "status", "no_answer"];

/// One table's counts, through all readings of the configuration.
#[derive(Debug, Default)]
pub struct Tally {
    calls: [[AtomicU64; RESULTS.len()]; Call::ALL.len()],
    lives: Mutex<Counters>,
}

impl Tally {
    /// A call has ended, with this status if it was answered.
    pub(super) fn on_call(&self, call: Call, status: Option<u16>) {
        let result = match status {
            Some(200..=299) => 0,
            Some(300..=399) => 1,
            Some(400..=499) => 2,
            Some(_) => 3,
            None => 4,
        };
        let results = Call::ALL.iter().zip(&self.calls).find(|(one, _)| **one == call);
        if let Some(count) = results.and_then(|(_, results)| results.get(result)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Sessions of one reading of the configuration stood there, and stand here now.
    pub(super) fn on_lives(&self, before: Counters, now: Counters) {
        let mut lives = self.lives.lock().unwrap_or_else(PoisonError::into_inner);
        let moved = |all: &mut u64, before: u64, now: u64| {
            // What was there before is part of all.
            *all = all.wrapping_sub(before).wrapping_add(now);
        };
        moved(&mut lives.ended, before.ended, now.ended);
        moved(&mut lives.untold, before.untold, now.untold);
        moved(&mut lives.dropped, before.dropped, now.dropped);
        moved(&mut lives.sessions_now, before.sessions_now, now.sessions_now);
        moved(&mut lives.waiting_now, before.waiting_now, now.waiting_now);
    }

    /// Whether there is still something to be told.
    pub(in crate::edge::auth) fn is_busy(&self) -> bool {
        let lives = self.lives();
        lives.sessions_now > 0 || lives.waiting_now > 0
    }

    pub(in crate::edge::auth) fn lives(&self) -> Counters {
        *self.lives.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Everything of all tables that speak the dialect, by their names.
pub fn families<'a>(tallies: impl Iterator<Item = (&'a str, &'a Tally)> + Clone) -> Vec<Family> {
    if tallies.clone().next().is_none() {
        return Vec::new();
    }
    let calls = tallies.clone().flat_map(|(table, tally)| {
        Call::ALL.iter().zip(&tally.calls).flat_map(move |(call, results)| {
            let counted =
                RESULTS.iter().zip(results).map(|(result, count)| (*result, count.load(Ordering::Relaxed)));
            counted.filter(|(_, count)| *count > 0).map(move |(result, count)| {
                let labels = vec![
                    ("table", table.to_owned()),
                    ("call", call.word().to_owned()),
                    ("result", result.to_owned()),
                ];
                (labels, Value::Whole(count))
            })
        })
    });
    let of_each = |read: fn(&Counters) -> u64| {
        let tallies = tallies.clone();
        tallies
            .map(|(table, tally)| (vec![("table", table.to_owned())], Value::Whole(read(&tally.lives()))))
            .collect()
    };
    vec![
        Family::new(
            "inrush_nginx_calls",
            "Calls of back ends in nginx-rtmp's dialect, by what came of them",
            true,
            calls.collect(),
        ),
        Family::new(
            "inrush_nginx_sessions",
            "Sessions that a back end is told of",
            false,
            of_each(|counters| counters.sessions_now),
        ),
        Family::new(
            "inrush_nginx_sessions_ended",
            "Sessions that a back end has ended by its answer to an update",
            true,
            of_each(|counters| counters.ended),
        ),
        Family::new(
            "inrush_nginx_sessions_untold",
            "Sessions that a back end is not told of since there are too many",
            true,
            of_each(|counters| counters.untold),
        ),
        Family::new(
            "inrush_nginx_ends_waiting",
            "Ends of sessions that wait to be told",
            false,
            of_each(|counters| counters.waiting_now),
        ),
        Family::new(
            "inrush_nginx_ends_dropped",
            "Ends of sessions that were not told: nobody answered, or too many waited",
            true,
            of_each(|counters| counters.dropped),
        ),
    ]
}
