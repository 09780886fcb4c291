//! Signed addresses: whoever has one may do what it says until it expires, and no back end is asked.
//!
//! # The signature
//! `s` is the HMAC-SHA256, base64url without padding, over seven lines joined with single line feeds, none at the end:
//!
//! ```text
//! inrush1
//! APP
//! NAME
//! EXPIRY        the parameter e: seconds since 1970, decimal
//! NETWORK       the parameter a: ADDRESS/BITS that the peer must be in, or nothing
//! ROLE          the parameter r: publish, play or both; publish where it is left out
//! PRIORITY      the parameter p: decimal; 0 where it is left out
//! ```
//!
//! App and name are those of the canonical key ([`crate::session::stream_key`]): decoded once, app is the first segment of the path, the name all others with
//! single slashes between them; case counts. However an address is written, the stream that is published or played is the one that it is judged by. The parameter `k` names the secret; without it
//! the first one is meant. So `live/test?e=1750000000&r=play&k=2026&s=…`. `inrush sign` makes one.
//! # What a credential of this kind is
//! The parameter `s`, if it is not empty. It decides.
//! # Timing
//! Signatures are compared in constant time. Nothing of what is signed is looked at before the signature is good.

use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use ipnet::IpNet;
use sha2::Sha256;

use super::access::canonical;
use super::ruling::{Role, Ruling};
use crate::edge::secret::Secret;
use crate::runtime::outside::{Action, Grant, Identity};
use crate::session::StreamKey;
use crate::session::params::param;

/// A secret with the name that addresses know it by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedSecret {
    /// The parameter `k`.
    pub id: String,
    /// What is signed with.
    pub secret: Secret,
}

/// What an address is signed for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Last second in which it is good, since 1970.
    pub expires_unix: u64,
    /// Where the peer must be, if anywhere.
    pub network: Option<IpNet>,
    /// What it is good for.
    pub role: Role,
    /// The publisher's rank.
    pub priority: u32,
}

impl Terms {
    fn mac(&self, stream: &StreamKey, secret: &Secret) -> Hmac<Sha256> {
        let network = self.network.map(|network| network.to_string()).unwrap_or_default();
        let (app, name) = (stream.app(), stream.name());
        let Self { expires_unix, role, priority, .. } = self;
        let text = format!("inrush1\n{app}\n{name}\n{expires_unix}\n{network}\n{}\n{priority}", role.name());
        // HMAC takes keys of every length.
        let Ok(mac) = Hmac::<Sha256>::new_from_slice(secret.bytes()) else { unreachable!("any key length") };
        mac.chain_update(text)
    }
}

/// The query that a stream's address gets: everything that [`judge`] reads.
pub fn sign(stream: &StreamKey, terms: &Terms, secret: &NamedSecret) -> String {
    let mut query = format!("e={}", terms.expires_unix);
    if let Some(network) = terms.network {
        // Some encoders cut a URL at its last slash, wherever that is.
        query.push_str(&format!("&a={}", network.to_string().replace('/', "%2F")));
    }
    query.push_str(&format!("&r={}", terms.role.name()));
    if terms.priority > 0 {
        query.push_str(&format!("&p={}", terms.priority));
    }
    let signature = terms.mac(stream, &secret.secret).finalize().into_bytes();
    query.push_str(&format!("&k={}&s={}", secret.id, URL_SAFE_NO_PAD.encode(signature)));
    query
}

/// What a signature says to a question. `skew_seconds` is how far the signer's clock may be behind ours.
pub fn judge(
    secrets: &[NamedSecret],
    skew_seconds: u64,
    now_unix: u64,
    action: Action,
    stream: &StreamKey,
    peer: IpAddr,
    params: &str,
) -> Ruling {
    let Some(signature) = param(params, "s").filter(|signature| !signature.is_empty()) else {
        return Ruling::Pass;
    };
    let wrong = || Ruling::deny("signature_wrong", "this address is not signed, or not for this stream");
    let id = param(params, "k");
    let secret = secrets.iter().find(|secret| id.as_deref().is_none_or(|id| secret.id == id));
    let (Some(secret), Some(terms)) = (secret, terms(params)) else { return wrong() };
    let Ok(signature) = URL_SAFE_NO_PAD.decode(signature.as_bytes()) else { return wrong() };
    if terms.mac(stream, &secret.secret).verify_slice(&signature).is_err() {
        return wrong();
    }
    if now_unix > terms.expires_unix.saturating_add(skew_seconds) {
        return Ruling::deny("signature_expired", "this address has expired: get a new one");
    }
    if !terms.role.covers(action) {
        return Ruling::deny("signature_role", "this address is not signed for this");
    }
    if terms.network.is_some_and(|network| !canonical(network).contains(&peer.to_canonical())) {
        return Ruling::deny("signature_address", "this address is signed for another network");
    }
    // Fresh signatures by one secret for one stream are of one owner.
    let identity = Some(Identity(Arc::from(format!("signed:{}", secret.id))));
    Ruling::Allow(Grant { identity, priority: terms.priority, ..Grant::default() })
}

/// What the parameters say is signed; nothing when one of them cannot be read.
fn terms(params: &str) -> Option<Terms> {
    let decimal =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u64>().ok())?;
    let network = match param(params, "a") {
        Some(text) => Some(text.parse().ok()?),
        None => None,
    };
    let role = match param(params, "r") {
        Some(name) => Role::from_name(&name)?,
        None => Role::Publish,
    };
    let priority = match param(params, "p") {
        Some(text) => u32::try_from(decimal(&text)?).ok()?,
        None => 0,
    };
    Some(Terms { expires_unix: decimal(&param(params, "e")?)?, network, role, priority })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::session::stream_key::canonical as address;

    const NOW: u64 = 1_750_000_000;

    fn secrets() -> [NamedSecret; 2] {
        [("2026", "0123456789abcdef"), ("2025", "fedcba9876543210")]
            .map(|(id, secret)| NamedSecret { id: id.into(), secret: Secret::new(secret) })
    }

    fn stream() -> StreamKey {
        StreamKey::new("live", "test")
    }

    fn terms_for(role: Role) -> Terms {
        Terms { expires_unix: NOW, network: None, role, priority: 0 }
    }

    /// `+`, `.` or the label of the denial.
    fn told(now: u64, action: Action, stream: &StreamKey, peer: &str, params: &str) -> String {
        match judge(&secrets(), 30, now, action, stream, peer.parse().unwrap(), params) {
            Ruling::Pass => ".".into(),
            Ruling::Deny(denial) => denial.label.into(),
            Ruling::Allow(grant) => format!("+{}", grant.priority),
        }
    }

    fn publish(params: &str) -> String {
        told(NOW, Action::Publish, &stream(), "192.0.2.7", params)
    }

    /// Made by another implementation:
    /// `printf 'inrush1\nlive\ntest\n1750000000\n\npublish\n0' | openssl dgst -sha256 -hmac 0123456789abcdef -binary | basenc --base64url`
    #[test]
    fn signatures_are_those_of_any_other_tool() {
        let [first, second] = secrets();
        assert_eq!(
            sign(&stream(), &terms_for(Role::Publish), &first),
            "e=1750000000&r=publish&k=2026&s=XsIhUesaiwkFyDTYplCdxUTPIY1dje82JRGkyinAvuQ"
        );
        let terms = Terms {
            expires_unix: NOW + 3600,
            network: Some("192.0.2.0/24".parse().unwrap()),
            role: Role::Both,
            priority: 9,
        };
        assert_eq!(
            sign(&StreamKey::new("", "été/1"), &terms, &second),
            "e=1750003600&a=192.0.2.0%2F24&r=both&p=9&k=2025&s=o_vj7Ke3eFbwN3C7zbCYGPU--mAdNDa6jgF4TqXJQRM"
        );
    }

    #[test]
    fn what_was_signed_is_good_and_nothing_else() {
        let [first, second] = secrets();
        let good = sign(&stream(), &terms_for(Role::Publish), &first);
        assert_eq!(publish(&good), "+0");
        assert_eq!(
            publish(&good.replace("&r=publish", "")),
            "+0",
            "publish is what a signature is for, unless it says so"
        );
        assert_eq!(publish(&good.replace("&k=2026", "")), "+0", "the first secret is meant");
        assert_eq!(
            publish(&sign(&stream(), &terms_for(Role::Publish), &second)),
            "+0",
            "the old secret is good still"
        );
        for (from, to) in [
            ("e=1750000000", "e=1750000001"),
            ("e=1750000000", "e=+1750000000"),
            ("e=1750000000", "e=99999999999999999999"),
            ("e=1750000000&", ""),
            ("r=publish", "r=both"),
            ("r=publish", "r=none"),
            ("k=2026", "k=2025"),
            ("k=2026", "k=2024"),
            ("&s=", "&p=1&s="),
            ("&s=", "&p=x&s="),
            ("&s=", "&a=0.0.0.0/0&s="),
            ("&s=", "&a=anywhere&s="),
            ("&s=", "&s=A"),
        ] {
            let forged = good.replace(from, to);
            assert_ne!(forged, good);
            assert_eq!(publish(&forged), "signature_wrong", "{forged}");
        }
        let short = &good[..good.len() - 2];
        assert_eq!(publish(short), "signature_wrong");
        for other in
            [StreamKey::new("live", "test2"), StreamKey::new("liv", "e\ntest"), StreamKey::new("", "test")]
        {
            assert_eq!(told(NOW, Action::Publish, &other, "192.0.2.7", &good), "signature_wrong");
        }
        assert_eq!(publish(""), ".");
        assert_eq!(publish("e=1750000000&s="), ".");
    }

    /// Whatever is written, what is judged is the key, and the key is what is published: the same stream in other words is the same stream, and
    /// nothing that looks alike is.
    #[test]
    fn a_signature_is_for_one_stream_however_its_address_is_written() {
        let [first, _] = secrets();
        let stream = StreamKey::new("live", "a/b");
        let good = sign(&stream, &terms_for(Role::Publish), &first);
        let told = |tc_url: &str, app: &str, name: &str| {
            let address = address(tc_url, app, &format!("{name}?{good}")).unwrap();
            assert_eq!(address.params, good);
            told(NOW, Action::Publish, &address.key, "192.0.2.7", &address.params)
        };
        for (app, name) in [
            ("live", "a/b"),
            ("live", "a%2Fb"),
            ("live", "a%2fb"),
            ("live", "%61/b"),
            ("live", "a//b"),
            ("live", "a/b/"),
            ("live", "/a/b"),
            ("live/", "a/b"),
            ("live/a", "b"),
            ("live%2Fa", "b"),
            ("live/_definst_", "a/b"),
            ("", "live/a/b"),
        ] {
            assert_eq!(told("rtmp://h", app, name), "+0", "{app} {name}");
        }
        for (app, name) in [
            ("live", "a"),
            ("live", "b"),
            ("live", "ab"),
            ("live", "A/b"),
            ("LIVE", "a/b"),
            ("live", "a/b/c"),
            ("live", "a/b/./"),
            ("live", "a/../a/b"),
            ("live", "a%252Fb"),
            ("live", "a\\b"),
            ("live", "a%0Ab"),
            ("live", "a/b%00"),
            ("live/a/b", "a/b"),
            ("", "a/b"),
        ] {
            assert_eq!(told("rtmp://h", app, name), "signature_wrong", "{app} {name}");
        }
    }

    fn written() -> impl Strategy<Value = String> {
        const PIECES: &[&str] =
            &["a", "b", "A", "/", "//", "%2F", "%61", "%252F", "%0A", "\n", "_definst_", ".", " ", "%"];
        prop::collection::vec(prop::sample::select(PIECES), 0..6).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        /// A signature for what one address means is good for another exactly when both mean the same.
        #[test]
        fn a_signature_is_good_where_the_keys_are_equal(one in (written(), written()), other in (written(), written())) {
            let key = |(app, name): &(String, String)| address("", app, name).map(|address| address.key);
            if let (Ok(one), Ok(other)) = (key(&one), key(&other)) {
                let [first, _] = secrets();
                let good = sign(&one, &terms_for(Role::Publish), &first);
                let expected = if one == other { "+0" } else { "signature_wrong" };
                prop_assert_eq!(told(NOW, Action::Publish, &other, "192.0.2.7", &good), expected);
            }
        }
    }

    #[test]
    fn terms_hold() {
        let [first, _] = secrets();
        let good = sign(&stream(), &terms_for(Role::Publish), &first);
        for (now, expected) in [(NOW - 1, "+0"), (NOW + 30, "+0"), (NOW + 31, "signature_expired")] {
            assert_eq!(told(now, Action::Publish, &stream(), "192.0.2.7", &good), expected);
        }
        for (role, action, expected) in [
            (Role::Publish, Action::Play, "signature_role"),
            (Role::Play, Action::Publish, "signature_role"),
            (Role::Play, Action::Play, "+0"),
            (Role::Both, Action::Play, "+0"),
            (Role::Both, Action::Publish, "+0"),
        ] {
            let params = sign(&stream(), &terms_for(role), &first);
            assert_eq!(told(NOW, action, &stream(), "192.0.2.7", &params), expected);
        }
        let network = Some("192.0.2.0/24".parse().unwrap());
        let bound = sign(&stream(), &Terms { network, priority: 5, ..terms_for(Role::Publish) }, &first);
        for (peer, expected) in [
            ("192.0.2.7", "+5"),
            ("::ffff:192.0.2.7", "+5"),
            ("192.0.3.7", "signature_address"),
            ("::1", "signature_address"),
        ] {
            assert_eq!(told(NOW, Action::Publish, &stream(), peer, &bound), expected);
        }
        let network = Some("::ffff:192.0.2.0/120".parse().unwrap());
        let mapped = sign(&stream(), &Terms { network, ..terms_for(Role::Publish) }, &first);
        assert_eq!(told(NOW, Action::Publish, &stream(), "192.0.2.7", &mapped), "+0");
    }
}
