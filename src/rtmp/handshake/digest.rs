//! Digests and signatures of the handshake that Flash Player 9 brought, which is in no published specification.
//!
//! C1 and S1 consist of a time, a version other than zero, and two blocks of 764 bytes in either order:
//!
//! ```text
//! digest block   4 bytes whose sum, modulo 728, says how far behind them the digest stands
//!                728 + 32 bytes, the digest among them
//! key block      what RTMPE needs to agree on a key; random bytes here
//! ```
//!
//! The digest is the HMAC-SHA256 of the packet's other 1,504 bytes; the key is the text with which each side names itself. C2
//! and S2 end with a signature: the HMAC-SHA256 of their first 1,504 bytes, whose key in turn is the HMAC-SHA256 of the
//! digest that they answer, under that text followed by 32 fixed bytes. The texts and the fixed bytes are the same in every
//! implementation (librtmp, ffmpeg and the original), so that this proves nothing about anybody; but Flash Player plays
//! H.264 only from a server that signs, and ffmpeg, when it plays, leaves a server whose signature is wrong.
//! # Invariant
//! A digest lies wholly inside its block: 4 + 727 + 32 < 764.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::{PACKET_BYTES, Packet};

/// Bytes of a digest and of a signature.
const DIGEST_BYTES: usize = 32;

/// Bytes of the digest block and of the key block.
const BLOCK_BYTES: usize = 764;

/// Bytes of the field that says where in its block the digest stands.
const OFFSET_BYTES: usize = 4;

/// Places that a digest can stand at.
const OFFSETS: usize = BLOCK_BYTES - OFFSET_BYTES - DIGEST_BYTES;

/// Where the signature of C2 and S2 begins.
const SIGNATURE_AT: usize = PACKET_BYTES - DIGEST_BYTES;

const _: () = assert!(8 + 2 * BLOCK_BYTES == PACKET_BYTES && OFFSETS == 728);

/// HMAC-SHA256 of a C1 or S1.
pub(super) type Digest = [u8; DIGEST_BYTES];

/// The order of the two blocks. Others number them, and not all in the same order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    /// Digest block, then key block, as ffmpeg sends it.
    DigestFirst,
    /// Key block, then digest block, as ffmpeg sends it when it asks for RTMPE.
    KeyFirst,
}

impl Scheme {
    /// In the order in which they are tried.
    const ALL: [Self; 2] = [Self::DigestFirst, Self::KeyFirst];

    /// Where the digest of `packet` stands.
    fn digest_at(self, packet: &Packet) -> usize {
        let block = match self {
            Self::DigestFirst => 8,
            Self::KeyFirst => 8 + BLOCK_BYTES,
        };
        let sum: usize = packet[block..block + OFFSET_BYTES].iter().map(|byte| usize::from(*byte)).sum();
        block + OFFSET_BYTES + sum % OFFSETS
    }
}

/// Who made a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signer {
    /// Of C1 and C2.
    Client,
    /// Of S1 and S2.
    Server,
}

impl Signer {
    /// Key of the digests.
    fn digest_key(self) -> &'static [u8] {
        match self {
            Self::Client => b"Genuine Adobe Flash Player 001",
            Self::Server => b"Genuine Adobe Flash Media Server 001",
        }
    }

    /// What follows the digest key in the key of the signatures.
    const SIGNATURE_KEY_TAIL: [u8; 32] = [
        0xf0, 0xee, 0xc2, 0x4a, 0x80, 0x68, 0xbe, 0xe8, 0x2e, 0x00, 0xd0, 0xd1, 0x02, 0x9e, 0x7e, 0x57, 0x6e,
        0xec, 0x5d, 0x2d, 0x29, 0x80, 0x6f, 0xab, 0x93, 0xb8, 0xe6, 0x36, 0xcf, 0xeb, 0x31, 0xae,
    ];

    /// HMAC of a packet's signed part, ready to be compared or taken.
    fn signature(self, packet: &Packet, answered: &Digest) -> Hmac<Sha256> {
        // Longer than a block of SHA-256 (64 bytes) on the server's side, so the parts cannot be fed as a padded block.
        let mut key = [0; 36 + Self::SIGNATURE_KEY_TAIL.len()];
        let name = self.digest_key();
        let len = name.len() + Self::SIGNATURE_KEY_TAIL.len();
        key[..name.len()].copy_from_slice(name);
        key[name.len()..len].copy_from_slice(&Self::SIGNATURE_KEY_TAIL);
        let one_time_key = hmac(&key[..len], &[answered]).finalize().into_bytes();
        hmac(&one_time_key, &[&packet[..SIGNATURE_AT]])
    }
}

/// Puts the digest into a C1 or S1, and gives it: the answer will be signed with it.
pub(super) fn imprint(packet: &mut Packet, scheme: Scheme, signer: Signer) -> Digest {
    let at = scheme.digest_at(packet);
    let digest: Digest = digest(packet, at, signer).finalize().into_bytes().into();
    packet[at..at + DIGEST_BYTES].copy_from_slice(&digest);
    digest
}

/// Which scheme a C1 or S1 follows, and its digest; `None` when it carries none, as in the simple handshake.
pub(super) fn find(packet: &Packet, signer: Signer) -> Option<(Scheme, Digest)> {
    Scheme::ALL.into_iter().find_map(|scheme| {
        let at = scheme.digest_at(packet);
        let found: &Digest = packet[at..].first_chunk()?;
        digest(packet, at, signer).verify_slice(found).ok()?;
        Some((scheme, *found))
    })
}

/// Signs a C2 or S2 that answers a packet with this digest.
pub(super) fn sign(packet: &mut Packet, signer: Signer, answered: &Digest) {
    let signature = signer.signature(packet, answered).finalize().into_bytes();
    packet[SIGNATURE_AT..].copy_from_slice(&signature);
}

/// Whether a C2 or S2 is signed for a packet with this digest.
pub(super) fn is_signed(packet: &Packet, signer: Signer, answered: &Digest) -> bool {
    signer.signature(packet, answered).verify_slice(&packet[SIGNATURE_AT..]).is_ok()
}

/// HMAC of a C1 or S1 without its digest, which stands at `at`.
fn digest(packet: &Packet, at: usize, signer: Signer) -> Hmac<Sha256> {
    hmac(signer.digest_key(), &[&packet[..at], &packet[at + DIGEST_BYTES..]])
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> Hmac<Sha256> {
    // HMAC takes keys of any length (RFC 2104 §2), so this cannot fail.
    let mut hmac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes any key");
    parts.iter().for_each(|part| hmac.update(part));
    hmac
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A packet that everybody can make again: byte i is 7 i + 3.
    fn pattern() -> Packet {
        core::array::from_fn(|i| (i * 7 + 3) as u8)
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Digests of the pattern as Python's `hmac` and `hashlib` computed them, with the places where they stand.
    #[test]
    fn digests_agree_with_another_implementation() {
        for (signer, scheme, at, expected) in [
            (
                Signer::Client,
                Scheme::DigestFirst,
                290,
                "36d27b365b84e5e55f376e2f24f3a7dd6b8b5e9b002f035f99366c07e43b8d41",
            ),
            (
                Signer::Client,
                Scheme::KeyFirst,
                942,
                "492c04ebd265e6343c4c12f5580a46399bec2724821f27f321b95ca75b63b318",
            ),
            (
                Signer::Server,
                Scheme::DigestFirst,
                290,
                "2e691a99791972c8b772eb258df6475daab3454c59f81df497d3012cce3ec8bc",
            ),
            (
                Signer::Server,
                Scheme::KeyFirst,
                942,
                "01d1722f262d0920a2fd6c2cff614d034585bbacbc28b5c77a88ca2fc0c3b984",
            ),
        ] {
            let mut packet = pattern();
            let digest = imprint(&mut packet, scheme, signer);
            assert_eq!(hex(&digest), expected, "{signer:?} {scheme:?}");
            assert_eq!(hex(&packet[at..at + 32]), expected, "{signer:?} {scheme:?} stands elsewhere");
            assert_eq!(find(&packet, signer), Some((scheme, digest)));
        }
    }

    /// Signatures of the pattern that answer the digest 00 01 … 1f, computed in the same way.
    #[test]
    fn signatures_agree_with_another_implementation() {
        let answered = core::array::from_fn(|i| i as u8);
        for (signer, expected) in [
            (Signer::Client, "284c96e80458de5bca470ddda3f8a553d89856199073a49d480ad6b6805f425f"),
            (Signer::Server, "7fce027fd61c568e1d886d89070214fd2a2391e2c75bf93581cd361dab63b9fa"),
        ] {
            let mut packet = pattern();
            sign(&mut packet, signer, &answered);
            assert_eq!(hex(&packet[1504..]), expected, "{signer:?}");
            assert!(is_signed(&packet, signer, &answered));
        }
    }

    /// A digest or signature of the wrong side, of another packet or with one bit changed is none.
    #[test]
    fn what_was_changed_is_not_accepted() {
        for scheme in Scheme::ALL {
            let mut packet = pattern();
            let digest = imprint(&mut packet, scheme, Signer::Client);
            assert_eq!(find(&packet, Signer::Server), None);
            for at in [0, 7, 400, 1000, 1535] {
                packet[at] ^= 1;
                assert_eq!(find(&packet, Signer::Client), None, "{scheme:?}, byte {at}");
                packet[at] ^= 1;
            }
            assert_eq!(find(&packet, Signer::Client), Some((scheme, digest)));
        }
        let mut packet = pattern();
        sign(&mut packet, Signer::Server, &[1; 32]);
        assert!(is_signed(&packet, Signer::Server, &[1; 32]));
        assert!(!is_signed(&packet, Signer::Server, &[2; 32]));
        assert!(!is_signed(&packet, Signer::Client, &[1; 32]));
        packet[1503] ^= 0x80;
        assert!(!is_signed(&packet, Signer::Server, &[1; 32]));
    }

    /// The largest and the smallest offset keep the digest inside its block, so no packet can make us look outside.
    #[test]
    fn every_offset_stays_inside_the_block() {
        for (scheme, block) in [(Scheme::DigestFirst, 8), (Scheme::KeyFirst, 772)] {
            for sum in 0..=4 * 255_usize {
                let mut packet = [0; PACKET_BYTES];
                for i in 0..4 {
                    packet[block + i] = sum.saturating_sub(i * 255).min(255) as u8;
                }
                let at = scheme.digest_at(&packet);
                assert_eq!(at, block + 4 + sum % 728);
                assert!(at + DIGEST_BYTES <= block + BLOCK_BYTES);
            }
        }
    }
}
