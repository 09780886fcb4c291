//! Keys from the configuration: whoever knows one may.
//!
//! The file holds the SHA-256 of each key (`inrush hash-key` makes the line), so that reading the file opens nothing; keys are to be long
//! and random, since a short one can be guessed from its hash.
//!
//! # What a credential of this kind is
//! - The parameter `key`, if it is not empty. It decides: the app, the name and the role of one key with this hash must cover the question,
//!   else the answer is no.
//! - The stream's name, if its hash is that of a key with a `stream`: the habit of OBS's users, whose "stream key" is all that they have. The
//!   real name is then `stream`. A name whose hash is no such key's is no credential, and the next source is asked.
//! # Timing
//! What is compared is a hash that the asker cannot choose, and it is compared in constant time.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::ruling::{ANY, Role, Ruling, covers};
use crate::media::Limits;
use crate::runtime::outside::{Action, Grant, Identity};
use crate::session::StreamKey;
use crate::session::params::param;

/// The parameter that holds a key.
pub const KEY_PARAM: &str = "key";

/// One `[[key]]` of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticKey {
    /// The app that it is good for, or `*`.
    pub app: String,
    /// The stream that it is good for, or `*`; said beside the key. Unused with `stream`.
    pub name: String,
    /// The stream that is meant where the key is said as the name; empty for a key that is not said so.
    pub stream: String,
    /// SHA-256 of the key.
    pub sha256: [u8; 32],
    /// What it is good for.
    pub role: Role,
    /// The publisher's rank.
    pub priority: u32,
    /// Whose it is; empty: its own hash's beginning stands for it.
    pub identity: String,
    /// What each session that it lets in may come to.
    pub limits: Limits,
    /// Streams that its identity may publish at a time.
    pub streams_max: Option<NonZeroU32>,
}

impl Default for StaticKey {
    fn default() -> Self {
        Self {
            app: ANY.into(),
            name: ANY.into(),
            stream: String::new(),
            sha256: [0; 32],
            role: Role::Publish,
            priority: 0,
            identity: String::new(),
            limits: Limits::default(),
            streams_max: None,
        }
    }
}

/// SHA-256 of a key.
pub fn hash(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

/// A hash as the configuration has it.
pub fn hex(hash: &[u8; 32]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// All keys, found by the beginning of their hash.
#[derive(Debug, Default)]
pub struct StaticKeys {
    keys: HashMap<[u8; 8], Vec<StaticKey>>,
}

impl StaticKeys {
    /// From the configuration.
    pub fn new(keys: &[StaticKey]) -> Self {
        let mut by_hash: HashMap<[u8; 8], Vec<StaticKey>> = HashMap::new();
        for key in keys {
            by_hash.entry(beginning(&key.sha256)).or_default().push(key.clone());
        }
        Self { keys: by_hash }
    }

    /// What they say to a question.
    pub fn judge(&self, action: Action, stream: &StreamKey, params: &str) -> Ruling {
        if let Some(said) = param(params, KEY_PARAM).filter(|said| !said.is_empty()) {
            let said = hash(&said);
            let good = self.with_hash(&said).find(|key| {
                let name = if key.stream.is_empty() { &key.name } else { &key.stream };
                covers(&key.app, stream.app()) && covers(name, stream.name()) && key.role.covers(action)
            });
            return match good {
                Some(key) => Ruling::Allow(grant(key)),
                None => Ruling::deny("key_wrong", "this key does not open this stream"),
            };
        }
        let name = hash(stream.name());
        let named =
            self.with_hash(&name).filter(|key| !key.stream.is_empty() && covers(&key.app, stream.app()));
        let mut is_known = false;
        for key in named {
            if key.role.covers(action) {
                let stream = StreamKey::new(stream.app(), &key.stream);
                return Ruling::Allow(Grant { stream: Some(stream), ..grant(key) });
            }
            is_known = true;
        }
        if is_known { Ruling::deny("key_wrong", "this key is not for this") } else { Ruling::Pass }
    }

    fn with_hash<'a>(&'a self, hash: &'a [u8; 32]) -> impl Iterator<Item = &'a StaticKey> {
        let same_beginning = self.keys.get(&beginning(hash)).into_iter().flatten();
        same_beginning.filter(|key| key.sha256.ct_eq(hash).into())
    }
}

fn beginning(hash: &[u8; 32]) -> [u8; 8] {
    let [a, b, c, d, e, f, g, h, ..] = *hash;
    [a, b, c, d, e, f, g, h]
}

fn grant(key: &StaticKey) -> Grant {
    let identity = if key.identity.is_empty() {
        format!("key:{}", hex(&key.sha256).get(..16).unwrap_or_default())
    } else {
        key.identity.clone()
    };
    Grant {
        identity: Some(Identity(Arc::from(identity))),
        priority: key.priority,
        limits: key.limits.clone(),
        streams_max: key.streams_max,
        ..Grant::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> StaticKeys {
        let key = |key: &str, app: &str, name: &str, stream: &str, role| StaticKey {
            app: app.into(),
            name: name.into(),
            stream: stream.into(),
            sha256: hash(key),
            role,
            priority: 7,
            identity: String::new(),
            limits: Limits { seconds: NonZeroU32::new(60), ..Limits::default() },
            streams_max: NonZeroU32::new(3),
        };
        StaticKeys::new(&[
            key("any-of-live", "live", "*", "", Role::Publish),
            key("one-of-live", "live", "one", "", Role::Publish),
            key("watch", "*", "*", "", Role::Play),
            key("all", "*", "*", "", Role::Both),
            key("as-the-name", "live", "*", "studio", Role::Publish),
            // The same key for two streams, of two apps.
            key("twice", "a", "*", "x", Role::Both),
            key("twice", "b", "*", "y", Role::Both),
        ])
    }

    /// `+` allowed (with the stream that is meant), `-` denied, `.` passed on.
    fn told(action: Action, app: &str, name: &str, params: &str) -> String {
        match keys().judge(action, &StreamKey::new(app, name), params) {
            Ruling::Pass => ".".into(),
            Ruling::Deny(denial) => {
                assert_eq!(denial.label, "key_wrong");
                "-".into()
            }
            Ruling::Allow(grant) => {
                assert_eq!(grant.priority, 7);
                assert_eq!(
                    (grant.limits.seconds, grant.streams_max),
                    (NonZeroU32::new(60), NonZeroU32::new(3))
                );
                assert!(grant.identity.is_some() && !grant.dry_run && grant.forwards.is_empty());
                format!("+{}", grant.stream.map(|stream| stream.name().to_owned()).unwrap_or_default())
            }
        }
    }

    #[test]
    fn a_key_opens_what_it_is_for() {
        use Action::{Play, Publish};
        for (action, app, name, params, expected) in [
            (Publish, "live", "a", "key=any-of-live", "+"),
            (Publish, "radio", "a", "key=any-of-live", "-"),
            (Play, "live", "a", "key=any-of-live", "-"),
            (Publish, "live", "one", "key=one-of-live", "+"),
            (Publish, "live", "two", "key=one-of-live", "-"),
            (Play, "live", "a", "key=watch", "+"),
            (Publish, "live", "a", "key=watch", "-"),
            (Publish, "x", "y", "key=all", "+"),
            (Play, "x", "y", "key=all", "+"),
            (Publish, "live", "a", "key=%61ll", "+"),
            // A wrong key decides, an absent or empty one does not.
            (Publish, "live", "a", "key=wrong", "-"),
            (Publish, "live", "a", "key=", "."),
            (Publish, "live", "a", "", "."),
            (Publish, "live", "a", "k=all", "."),
            (Publish, "live", "a", "key=All", "-"),
            // The name is the key.
            (Publish, "live", "as-the-name", "", "+studio"),
            (Publish, "radio", "as-the-name", "", "."),
            (Play, "live", "as-the-name", "", "-"),
            (Publish, "live", "studio", "", "."),
            (Publish, "live", "any-of-live", "", "."),
            (Publish, "a", "twice", "", "+x"),
            (Publish, "b", "twice", "", "+y"),
            // A key with a stream, said beside it, is for that one alone.
            (Publish, "live", "studio", "key=as-the-name", "+"),
            (Publish, "live", "other", "key=as-the-name", "-"),
            // What is said beside the name counts first.
            (Publish, "live", "as-the-name", "key=wrong", "-"),
        ] {
            assert_eq!(told(action, app, name, params), expected, "{action:?} {app}/{name}?{params}");
        }
    }

    #[test]
    fn keys_are_told_apart_by_identity() {
        let identity =
            |params: &str| match keys().judge(Action::Publish, &StreamKey::new("live", "a"), params) {
                Ruling::Allow(grant) => grant.identity.unwrap(),
                other => panic!("{other:?}"),
            };
        assert_eq!(identity("key=all"), identity("x=1&key=all"));
        assert_ne!(identity("key=all"), identity("key=any-of-live"));
    }

    #[test]
    fn a_hash_is_that_of_any_other_tool() {
        // printf %s hunter2 | sha256sum
        assert_eq!(hex(&hash("hunter2")), "f52fbd32b2b3b86ff88ef6c490628285f482af15ddcb29541f94bcf526a3f6c7");
    }
}
