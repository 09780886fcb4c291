//! What a question is known by: all that its answer may depend on, and what is suspected when it fails.

use sha2::{Digest as _, Sha256};

use super::broker::Suspect;
use super::cache::Subject;
use super::callback;
use super::rules::NetworkBits;
use crate::runtime::outside::Question;

/// Names a question by all that its answer may depend on, which is all that a back end is given: what is asked for, with which parameters, of which
/// host, by which encoder, and from which network, and `more`, which is what the source `callback` is not given but `nginx` is. The port and the
/// connection's name are left out: they mean nothing beyond one connection.
pub(super) fn subject(question: &Question, bits: NetworkBits, more: &[&str]) -> Subject {
    let facts = &question.facts;
    let network = network(question, bits);
    let absent_or =
        |text: &Option<String>| text.clone().map_or_else(|| "-".into(), |text| format!("+{text}"));
    let parts = [
        callback::event(question.action),
        question.stream.app(),
        question.stream.name(),
        &facts.params,
        &network,
        &absent_or(&facts.host),
        &absent_or(&facts.server_name),
        if facts.tls { "tls" } else { "" },
        &facts.tc_url,
        &facts.flash_ver,
    ];
    hashed(parts.iter().chain(more))
}

/// Names what is asked for and from which network, and nothing else that a peer says: it can change that each time.
pub(super) fn suspect(question: &Question, bits: NetworkBits) -> Suspect {
    let stream = &question.stream;
    let network = network(question, bits);
    Suspect(hashed([callback::event(question.action), stream.app(), stream.name(), &network].iter()))
}

/// The network that a question comes from, as far as a table tells them apart.
fn network(question: &Question, bits: NetworkBits) -> String {
    let peer = question.facts.peer.ip().to_canonical();
    let bits = if peer.is_ipv4() { bits.ipv4 } else { bits.ipv6 };
    // A setting beyond the address's length is refused at load.
    ipnet::IpNet::new(peer, bits).map(|network| network.trunc().to_string()).unwrap_or_default()
}

/// A hash that tells parts from each other, also where a character moves from one to the next.
fn hashed<'p>(parts: impl Iterator<Item = &'p &'p str>) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::edge::auth::tests::question;
    use crate::runtime::outside::{Action, Facts};

    /// Two questions are the same exactly when a back end could not tell them apart by what its answer may depend on.
    #[test]
    fn the_same_question_has_the_same_name() {
        let (exact, wide) = (NetworkBits { ipv4: 32, ipv6: 64 }, NetworkBits { ipv4: 24, ipv6: 64 });
        let first = question("live", "test", "a=1");
        let with = |change: &dyn Fn(&mut Facts)| {
            let mut other = question("live", "test", "a=1");
            let mut facts = (*other.facts).clone();
            change(&mut facts);
            other.facts = Arc::new(facts);
            other
        };
        let name = |question: &Question| subject(question, exact, &[]);
        assert_eq!(name(&first), name(&with(&|facts| facts.peer.set_port(1))));
        for other in [
            question("live", "test2", "a=1"),
            question("live", "tes", "ta=1"),
            question("livet", "est", "a=1"),
            question("live", "test", ""),
            Question { action: Action::Play, ..question("live", "test", "a=1") },
            with(&|facts| facts.flash_ver = "x".into()),
            with(&|facts| facts.tc_url.push_str("?secret=1")),
            with(&|facts| facts.host = None),
            with(&|facts| facts.host = Some(String::new())),
            with(&|facts| facts.server_name = None),
            with(&|facts| facts.tls = false),
            with(&|facts| facts.peer.set_ip("192.0.2.8".parse().unwrap())),
        ] {
            assert_ne!(name(&first), name(&other), "{other:?}");
        }
        let neighbour = with(&|facts| facts.peer.set_ip("192.0.2.8".parse().unwrap()));
        assert_eq!(subject(&first, wide, &[]), subject(&neighbour, wide, &[]));
        assert_ne!(subject(&first, exact, &["a", ""]), subject(&first, exact, &["", "a"]));
        let mapped = with(&|facts| facts.peer.set_ip("::ffff:192.0.2.7".parse().unwrap()));
        assert_eq!(name(&first), name(&mapped));
    }

    #[test]
    fn who_is_suspected_is_known_by_what_it_asks_for_and_from_where() {
        let (exact, wide) = (NetworkBits { ipv4: 32, ipv6: 64 }, NetworkBits { ipv4: 24, ipv6: 64 });
        let first = question("live", "test", "a=1");
        let mut neighbour = question("live", "test", "");
        let mut facts = (*neighbour.facts).clone();
        facts.peer.set_ip("192.0.2.8".parse().unwrap());
        neighbour.facts = Arc::new(facts);
        assert_eq!(suspect(&first, exact), suspect(&question("live", "test", ""), exact));
        assert_eq!(suspect(&first, wide), suspect(&neighbour, wide));
        for other in [
            neighbour,
            question("live", "tes", ""),
            question("livet", "est", ""),
            Question { action: Action::Play, ..question("live", "test", "") },
        ] {
            assert_ne!(suspect(&first, exact), suspect(&other, exact), "{other:?}");
        }
    }
}
