//! The keys that a table's tokens are checked with, and when they are fetched again.
//!
//! A set from a URL is fetched at the start, then every `refresh`, and out of turn when a token names a key that is not in it, or names none and is
//! signed with none of them, at most once in [`FETCH_PAUSE`]. A fetch that fails changes nothing: the keys of before stay.

use std::time::Duration;

use super::jwt::{Expected, TokenError, VerifyingKey, check, names_key};
use super::ruling::Ruling;
use crate::runtime::outside::Action;
use crate::session::{Instant, StreamKey};

/// Largest key set that is taken, bytes.
pub const SET_BYTES_MAX: usize = 256 * 1024;

/// Shortest time between the beginnings of two fetches: strangers' tokens must not make us fetch at will.
pub const FETCH_PAUSE: Duration = Duration::from_secs(10);

/// How long a fetch may take.
pub const FETCH_TIME_MAX: Duration = Duration::from_secs(10);

/// What is said to a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judged {
    /// This.
    Now(Ruling),
    /// It depends on keys that are being fetched.
    AfterFetch,
    /// There are no keys, and none are being fetched.
    NoKeys,
}

/// A token, and what it is presented for.
#[derive(Clone, Copy)]
pub struct Presented<'a> {
    /// The token.
    pub token: &'a str,
    /// What is asked for.
    pub action: Action,
    /// Of which stream.
    pub stream: &'a StreamKey,
    /// Seconds since 1970.
    pub now_unix: u64,
}

/// The keys of one table.
#[derive(Debug)]
pub struct KeySet {
    keys: Vec<VerifyingKey>,
    /// `None` for keys that stay as they are.
    refresh: Option<Duration>,
    is_fetching: bool,
    fetch_began: Option<Instant>,
    fetch_due: Instant,
}

impl KeySet {
    /// Keys that stay as they are.
    pub fn fixed(keys: Vec<VerifyingKey>) -> Self {
        Self { keys, refresh: None, is_fetching: false, fetch_began: None, fetch_due: Instant::FAR_FUTURE }
    }

    /// Keys that are to be fetched, at once and every `refresh`.
    pub fn fetched(refresh: Duration) -> Self {
        let fetch_due = Instant::default();
        Self { keys: Vec::new(), refresh: Some(refresh), is_fetching: false, fetch_began: None, fetch_due }
    }

    /// When a fetch is due.
    pub fn next_fetch(&self) -> Option<Instant> {
        (self.refresh.is_some() && !self.is_fetching).then_some(self.fetch_due)
    }

    /// Says whether a fetch is to be begun now, and takes it as begun.
    pub fn begin_fetch(&mut self, now: Instant) -> bool {
        let is_due = self.next_fetch().is_some_and(|due| now >= due);
        if is_due {
            self.is_fetching = true;
            self.fetch_began = Some(now);
        }
        is_due
    }

    /// A fetch has ended.
    pub fn handle_fetched(&mut self, now: Instant, keys: Option<Vec<VerifyingKey>>) {
        self.is_fetching = false;
        let pause = match (&keys, self.refresh) {
            (Some(_), Some(refresh)) => refresh.max(FETCH_PAUSE),
            _ => FETCH_PAUSE,
        };
        self.fetch_due = now + pause;
        if let Some(keys) = keys {
            self.keys = keys;
        }
    }

    /// Keys that are known.
    pub fn known(&self) -> usize {
        self.keys.len()
    }

    /// What is said to a token. Whoever waits for a fetch asks again once it has ended, and has `waited` then.
    pub fn judge(
        &mut self,
        now: Instant,
        token: &Presented<'_>,
        expected: &Expected,
        waited: bool,
    ) -> Judged {
        if self.keys.is_empty() {
            return if !waited && self.may_fetch(now) { Judged::AfterFetch } else { Judged::NoKeys };
        }
        let Presented { token, action, stream, now_unix } = *token;
        match check(token, &self.keys, expected, now_unix, action, stream) {
            Ok(grant) => Judged::Now(Ruling::Allow(grant)),
            Err(error) if !waited && may_be_of_newer_key(error, token) && self.may_fetch(now) => {
                Judged::AfterFetch
            }
            Err(error) => Judged::Now(Ruling::deny(error.label(), &error.to_string())),
        }
    }

    /// Whether a fetch is under way, or can be had: then it is due now.
    fn may_fetch(&mut self, now: Instant) -> bool {
        if self.refresh.is_none() {
            return false;
        }
        if self.is_fetching {
            return true;
        }
        let can = self.fetch_began.is_none_or(|began| now - began >= FETCH_PAUSE);
        if can {
            self.fetch_due = now;
        }
        can
    }
}

/// Whether a newer key could have signed a token that none of ours has. Who names no key may have signed with any.
fn may_be_of_newer_key(error: TokenError, token: &str) -> bool {
    match error {
        TokenError::KeyUnknown => true,
        TokenError::Signature => !names_key(token),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::secret::Secret;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u32) -> Instant {
        Instant::default() + SECOND * (1_000 + seconds)
    }

    /// Some keys; that the token of the tests is none of theirs does not matter here.
    fn keys() -> Option<Vec<VerifyingKey>> {
        Some(vec![VerifyingKey::secret(&Secret::new("0123456789abcdef"))])
    }

    /// A token whose header asks for a key that is not there.
    fn ask(set: &mut KeySet, now: Instant, waited: bool) -> String {
        let stream = StreamKey::new("live", "test");
        let token = "eyJhbGciOiJSUzI1NiJ9.e30.AAAA"; // {"alg":"RS256"}
        let presented = Presented { token, action: Action::Publish, stream: &stream, now_unix: 0 };
        match set.judge(now, &presented, &Expected::default(), waited) {
            Judged::Now(Ruling::Deny(denial)) => denial.label.into(),
            Judged::AfterFetch => "fetch".into(),
            Judged::NoKeys => "no keys".into(),
            Judged::Now(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn it_is_fetched_at_once_then_now_and_then() {
        let mut set = KeySet::fetched(60 * SECOND);
        assert!(set.begin_fetch(at(0)));
        assert!(!set.begin_fetch(at(1)), "one at a time");
        assert_eq!(set.next_fetch(), None);
        set.handle_fetched(at(2), keys());
        assert_eq!((set.next_fetch(), set.known()), (Some(at(62)), 1));
        assert!(!set.begin_fetch(at(61)));
        assert!(set.begin_fetch(at(62)));
        set.handle_fetched(at(63), None);
        assert_eq!(
            (set.next_fetch(), set.known()),
            (Some(at(73)), 1),
            "the old keys stay, and it is tried again sooner"
        );
    }

    #[test]
    fn who_comes_before_the_keys_waits_for_the_fetch_under_way() {
        let mut set = KeySet::fetched(60 * SECOND);
        assert_eq!(ask(&mut set, at(0), false), "fetch");
        assert!(set.begin_fetch(at(0)));
        assert_eq!(ask(&mut set, at(1), false), "fetch");
        set.handle_fetched(at(2), None);
        assert_eq!(ask(&mut set, at(2), true), "no keys", "once");
        assert_eq!(ask(&mut set, at(2), false), "no keys", "and nobody makes us fetch at will");
        assert_eq!(ask(&mut set, at(10), false), "fetch");
        assert!(set.begin_fetch(at(10)));
    }

    /// After a change of keys a token without `kid` looks like one with a wrong signature.
    #[test]
    fn a_signature_of_no_known_key_makes_a_fetch_due_if_the_token_names_no_key() {
        let mut set = KeySet::fetched(600 * SECOND);
        assert!(set.begin_fetch(at(0)));
        set.handle_fetched(at(0), keys());
        let mut judge = |token, now| {
            let stream = StreamKey::new("live", "test");
            let presented = Presented { token, action: Action::Publish, stream: &stream, now_unix: 0 };
            set.judge(now, &presented, &Expected::default(), false)
        };
        let (nameless, named) =
            ("eyJhbGciOiJIUzI1NiJ9.e30.AAAA", "eyJhbGciOiJIUzI1NiIsImtpZCI6ImEifQ.e30.AAAA");
        let wrong =
            |judged| matches!(judged, Judged::Now(Ruling::Deny(denial)) if denial.label == "token_signature");
        assert!(wrong(judge(nameless, at(9))), "not often");
        assert!(wrong(judge(named, at(10))), "it is of the key that it names");
        assert_eq!(judge(nameless, at(10)), Judged::AfterFetch);
    }

    #[test]
    fn an_unknown_key_makes_a_fetch_due_and_not_often() {
        let mut set = KeySet::fetched(600 * SECOND);
        assert!(set.begin_fetch(at(0)));
        set.handle_fetched(at(0), keys());
        assert_eq!(ask(&mut set, at(9), false), "token_key_unknown");
        assert_eq!(ask(&mut set, at(10), false), "fetch");
        assert!(set.begin_fetch(at(10)), "out of turn");
        set.handle_fetched(at(11), keys());
        assert_eq!(ask(&mut set, at(11), true), "token_key_unknown");
        assert_eq!(set.next_fetch(), Some(at(611)));
        let mut fixed = KeySet::fixed(keys().unwrap());
        assert_eq!(ask(&mut fixed, at(100), false), "token_key_unknown", "nothing can be fetched");
        assert_eq!((fixed.next_fetch(), fixed.begin_fetch(at(10_000))), (None, false));
    }
}
