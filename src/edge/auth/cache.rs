//! Answers of a back end that are kept: for a while as good as asking, and a yes for longer, as the best that is known while it fails.
//!
//! A yes and a no are kept apart, each on a shelf of its own: a stranger who asks for what is denied, with ever other parameters, pushes out
//! nobody who was let in. A no has no time after its own, since what it would say then the table says as well or better.
//! # Bounds
//! [`CacheSettings::entries_max`] entries of each kind; the oldest goes first. Questions are kept as their hash.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::runtime::outside::Verdict;
use crate::session::Instant;

/// What names a question: a hash of all that its answer may depend on.
pub type Subject = [u8; 32];

/// How long answers are kept, and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheSettings {
    /// For how long a yes is as good as asking.
    pub allow_time: Duration,
    /// For how long a no is.
    pub deny_time: Duration,
    /// For how long a yes, older than that, serves while the back end fails.
    pub stale_time: Duration,
    /// Most answers of each kind.
    pub entries_max: usize,
}

#[derive(Debug)]
struct Entry {
    verdict: Verdict,
    fresh_until: Instant,
    stale_until: Instant,
    /// Tells its place in the order from those of entries that it has replaced.
    number: u64,
}

/// The answers.
#[derive(Debug)]
pub struct Cache {
    settings: CacheSettings,
    yes: Shelf,
    no: Shelf,
}

impl Cache {
    /// An empty one.
    pub fn new(settings: CacheSettings) -> Self {
        let shelf = || Shelf::new(settings.entries_max);
        Self { settings, yes: shelf(), no: shelf() }
    }

    /// Answers that are kept.
    pub fn kept(&self) -> usize {
        self.yes.entries.len() + self.no.entries.len()
    }

    /// An answer that is as good as asking.
    pub fn fresh(&self, now: Instant, subject: &Subject) -> Option<Verdict> {
        let entry = self.yes.entries.get(subject).or_else(|| self.no.entries.get(subject));
        entry.filter(|entry| now < entry.fresh_until).map(|entry| entry.verdict.clone())
    }

    /// The best that is known, for when nobody can be asked.
    pub fn stale(&self, now: Instant, subject: &Subject) -> Option<Verdict> {
        let entry = self.yes.entries.get(subject).or_else(|| self.no.entries.get(subject));
        entry.filter(|entry| now < entry.stale_until).map(|entry| entry.verdict.clone())
    }

    /// Keeps an answer, in place of the one before it.
    pub fn keep(&mut self, now: Instant, subject: Subject, verdict: &Verdict) {
        let (shelf, other, fresh_time, stale_time) = match verdict {
            Verdict::Allow(_) => {
                (&mut self.yes, &mut self.no, self.settings.allow_time, self.settings.stale_time)
            }
            Verdict::Deny(_) => (&mut self.no, &mut self.yes, self.settings.deny_time, Duration::ZERO),
        };
        other.entries.remove(&subject);
        let fresh_until = now + fresh_time;
        shelf.keep(now, subject, verdict, fresh_until, fresh_until + stale_time);
    }
}

/// The answers of one kind.
#[derive(Debug)]
struct Shelf {
    entries_max: usize,
    entries: HashMap<Subject, Entry>,
    /// Oldest first. Places of replaced entries stay until they are met, or until they are as many as there may be entries.
    order: VecDeque<(u64, Subject)>,
    next_number: u64,
}

impl Shelf {
    fn new(entries_max: usize) -> Self {
        Self { entries_max, entries: HashMap::new(), order: VecDeque::new(), next_number: 0 }
    }

    fn keep(
        &mut self,
        now: Instant,
        subject: Subject,
        verdict: &Verdict,
        fresh_until: Instant,
        stale_until: Instant,
    ) {
        if stale_until <= now || self.entries_max == 0 {
            self.entries.remove(&subject);
            return;
        }
        let number = self.next_number;
        self.next_number += 1;
        self.entries.insert(subject, Entry { verdict: verdict.clone(), fresh_until, stale_until, number });
        self.order.push_back((number, subject));
        self.shrink(now);
    }

    /// Lets go what is of no use any more, and the oldest of what is too much.
    fn shrink(&mut self, now: Instant) {
        while let Some((number, subject)) = self.order.front() {
            let is_place_of = |entry: &Entry| entry.number == *number;
            let entry = self.entries.get(subject).filter(|entry| is_place_of(entry));
            let is_over = self.entries.len() > self.entries_max;
            match entry {
                Some(entry) if !is_over && now < entry.stale_until => {
                    if self.order.len() <= 2 * self.entries_max {
                        return;
                    }
                    // An old entry at the front keeps replaced ones behind it from being met.
                    let entries = &self.entries;
                    self.order.retain(|(number, subject)| {
                        entries.get(subject).is_some_and(|entry| entry.number == *number)
                    });
                    return;
                }
                Some(_) => drop(self.entries.remove(&subject.clone())),
                None => {}
            }
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::outside::{Denial, Grant};

    fn at(seconds: u64) -> Instant {
        Instant::default() + Duration::from_secs(seconds)
    }

    fn cache(entries_max: usize) -> Cache {
        let seconds = Duration::from_secs;
        Cache::new(CacheSettings {
            allow_time: seconds(10),
            deny_time: seconds(2),
            stale_time: seconds(100),
            entries_max,
        })
    }

    fn subject(number: u8) -> Subject {
        [number; 32]
    }

    #[test]
    fn answers_are_fresh_then_stale_then_gone() {
        let mut cache = cache(10);
        cache.keep(at(0), subject(1), &Verdict::Allow(Grant::default()));
        cache.keep(at(0), subject(2), &Verdict::Deny(Denial { label: "x", description: String::new() }));
        for (now, number, fresh, stale) in [
            (9, 1, true, true),
            (10, 1, false, true),
            (109, 1, false, true),
            (110, 1, false, false),
            (1, 2, true, true),
            (2, 2, false, false),
            (0, 3, false, false),
        ] {
            let found = (cache.fresh(at(now), &subject(number)), cache.stale(at(now), &subject(number)));
            assert_eq!((found.0.is_some(), found.1.is_some()), (fresh, stale), "{number} at {now} s");
        }
    }

    #[test]
    fn the_oldest_goes_first_and_one_that_was_renewed_is_young() {
        let mut cache = cache(3);
        let yes = Verdict::Allow(Grant::default());
        for number in [1, 2, 3, 1, 4] {
            cache.keep(at(0), subject(number), &yes);
        }
        let kept: Vec<_> = (1..=4).filter(|number| cache.fresh(at(1), &subject(*number)).is_some()).collect();
        assert_eq!(kept, [1, 3, 4]);
    }

    /// Who asks for what is denied, again and again with other parameters, costs nobody the yes that holds while the back end fails.
    #[test]
    fn a_flood_of_no_pushes_out_no_yes_and_the_newest_answer_counts() {
        let mut cache = cache(8);
        let (yes, no) = (
            Verdict::Allow(Grant::default()),
            Verdict::Deny(Denial { label: "x", description: String::new() }),
        );
        cache.keep(at(0), subject(1), &yes);
        for number in 2..=255 {
            cache.keep(at(0), subject(number), &no);
        }
        assert_eq!((cache.kept(), cache.stale(at(50), &subject(1)).is_some()), (9, true));
        cache.keep(at(1), subject(1), &no);
        assert!(matches!(cache.fresh(at(1), &subject(1)), Some(Verdict::Deny(_))));
        assert!(cache.stale(at(4), &subject(1)).is_none(), "the yes of before is gone");
    }

    #[test]
    fn it_stays_small_whatever_is_kept() {
        let mut cache = cache(8);
        let yes = Verdict::Allow(Grant::default());
        for round in 0..10_000_u64 {
            // One that stays at the front, and others that are renewed all the time.
            if round == 0 {
                cache.keep(at(0), subject(0), &yes);
            }
            cache.keep(at(0), subject(1 + (round % 7) as u8), &yes);
            assert!(
                cache.kept() <= 8 && cache.yes.order.len() <= 17,
                "{} {}",
                cache.kept(),
                cache.yes.order.len()
            );
        }
        assert!(cache.fresh(at(1), &subject(0)).is_some(), "nothing pushed it out");
        cache.keep(at(1_000), subject(9), &yes);
        assert_eq!(cache.kept(), 1, "what is of no use goes with the next that comes");
    }
}
