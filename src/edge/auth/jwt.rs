//! JSON Web Tokens (RFC 7519): whoever has one may do what its claims say.
//!
//! # Claims
//! | claim | meaning |
//! |---|---|
//! | `exp` | when it expires, seconds since 1970; required |
//! | `nbf` | when it begins to be good |
//! | `iss`, `aud` | must be what `jwt_issuer` and `jwt_audience` say, where those are set; `aud` may be a list that has it |
//! | `name` | the stream, or `*` for every one; required, so that a token made for something else opens nothing; nothing but a star alone is a pattern, so who lets users choose names must not let them choose that one |
//! | `app` | the app; every one that the table is for where it is left out |
//! | `role` | `publish`, `play` or `both`; `publish` where it is left out |
//! | `priority` | the publisher's rank; 0 where it is left out |
//! | `forwards` | a list of URLs that the stream is forwarded to as well |
//! | `limits` | what each session that it lets in may come to, in the form of a back end's answer ([`super::said_limits`]) |
//! | `sub` | who it is, to tell a publisher's comeback from a stranger; all tokens without one are of one owner |
//!
//! A claim of a wrong type makes the token wrong, also one that may be left out.
//! # What a credential of this kind is
//! The parameter `jwt`, if it is not empty. It decides.
//! # Which key
//! A key says for itself which algorithm it is for (HS256, RS256 or ES256), and a token is checked with keys of its header's algorithm alone: no
//! header makes a public key a secret, or a signature none. Secrets are never taken from a key set (JWKS).

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm as Named, DecodingKeyKind};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde::Deserialize;
use thiserror::Error;

use super::callback::{FORWARDS_MAX, forward};
use super::ruling::{Role, covers};
use super::said_limits::SaidLimits;
use crate::edge::secret::Secret;
use crate::runtime::outside::{Action, Grant, Identity};
use crate::session::StreamKey;

/// The parameter that holds a token.
pub const TOKEN_PARAM: &str = "jwt";

/// Keys of one set; further ones are left out.
pub const KEYS_MAX: usize = 64;

/// What a key or certificate in PEM begins with.
const PEM_BEGIN: &[u8] = b"-----BEGIN";

/// What the label of every private key in PEM has in it.
const PRIVATE: &[u8] = b"PRIVATE KEY-----";

/// Keys that one token without `kid` is tried with: what a stranger may make us compute.
const TRIES_MAX: usize = 4;

/// The algorithms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC with SHA-256: a shared secret.
    Hs256,
    /// RSA PKCS#1 1.5 with SHA-256; the modulus has 2048 to 8192 bits.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
}

impl Algorithm {
    /// How they are written, for error lines.
    pub const NAMES: &'static str = "HS256, RS256, ES256";

    /// By its name.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "HS256" => Some(Self::Hs256),
            "RS256" => Some(Self::Rs256),
            "ES256" => Some(Self::Es256),
            _ => None,
        }
    }

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
        }
    }

    fn of(named: Named) -> Option<Self> {
        match named {
            Named::HS256 => Some(Self::Hs256),
            Named::RS256 => Some(Self::Rs256),
            Named::ES256 => Some(Self::Es256),
            _ => None,
        }
    }
}

/// A key that tokens are checked with.
#[derive(Clone)]
pub struct VerifyingKey {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

impl std::fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "VerifyingKey({:?}, {})", self.id, self.algorithm.name())
    }
}

impl VerifyingKey {
    /// A shared secret, for HS256.
    ///
    /// # Errors
    /// When it is a key or certificate in PEM: a public one is no secret, and who knows it could make tokens.
    pub fn shared(secret: &Secret) -> Result<Self, String> {
        if secret.bytes().trim_ascii_start().starts_with(PEM_BEGIN) {
            return Err(
                "is PEM, and HS256 takes a secret; for a public key jwt_algorithm is RS256 or ES256".into()
            );
        }
        Ok(Self::secret(secret))
    }

    /// The same of a secret that is known to be none in PEM.
    pub(super) fn secret(secret: &Secret) -> Self {
        Self { id: None, algorithm: Algorithm::Hs256, key: DecodingKey::from_secret(secret.bytes()) }
    }

    /// A public key in PEM, for RS256 or ES256.
    ///
    /// # Errors
    /// Says what is wrong.
    pub fn public(algorithm: Algorithm, pem: &[u8]) -> Result<Self, String> {
        if pem.windows(PRIVATE.len()).any(|bytes| bytes == PRIVATE) {
            return Err(
                "has a private key in it, which belongs to the issuer alone; a public key is needed".into()
            );
        }
        let key = match algorithm {
            Algorithm::Hs256 => return Err("HS256 takes a secret".into()),
            Algorithm::Rs256 => DecodingKey::from_rsa_pem(pem),
            Algorithm::Es256 => DecodingKey::from_ec_pem(pem),
        };
        let key =
            key.map_err(|error| format!("is no public key for {} in PEM: {error}", algorithm.name()))?;
        Self { id: None, algorithm, key }.usable()
    }

    /// Itself, if a signature can be checked with it at all.
    fn usable(self) -> Result<Self, String> {
        let is_usable = match (self.algorithm, self.key.kind()) {
            (Algorithm::Hs256, _) => true,
            (Algorithm::Rs256, DecodingKeyKind::SecretOrDer(der)) => modulus(der).is_some_and(is_long_enough),
            (Algorithm::Rs256, DecodingKeyKind::RsaModulusExponent { n, .. }) => is_long_enough(n),
            (Algorithm::Es256, DecodingKeyKind::SecretOrDer(point)) => is_on_p256(point),
            (Algorithm::Es256, DecodingKeyKind::RsaModulusExponent { .. }) => false,
        };
        let problem = match self.algorithm {
            Algorithm::Es256 => "is not on the curve of ES256, P-256",
            _ => "has not the 2048 to 8192 bits that RS256 takes here",
        };
        if is_usable { Ok(self) } else { Err(problem.into()) }
    }

    /// A key of a key set; `None` for one that is of no use here.
    fn of(jwk: &Jwk) -> Option<Self> {
        let common = &jwk.common;
        if !matches!(common.public_key_use, None | Some(PublicKeyUse::Signature)) {
            return None;
        }
        let algorithm = match (&jwk.algorithm, common.key_algorithm) {
            (AlgorithmParameters::RSA(_), None | Some(KeyAlgorithm::RS256)) => Algorithm::Rs256,
            (AlgorithmParameters::EllipticCurve(curve), None | Some(KeyAlgorithm::ES256))
                if curve.curve == EllipticCurve::P256 =>
            {
                Algorithm::Es256
            }
            _ => return None,
        };
        Self { id: common.key_id.clone(), algorithm, key: DecodingKey::from_jwk(jwk).ok()? }.usable().ok()
    }

    fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        match (self.algorithm, self.key.kind()) {
            (Algorithm::Hs256, DecodingKeyKind::SecretOrDer(secret)) => {
                let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
                ring::hmac::verify(&key, message, signature).is_ok()
            }
            (Algorithm::Rs256, DecodingKeyKind::SecretOrDer(der)) => {
                UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, der).verify(message, signature).is_ok()
            }
            (Algorithm::Rs256, DecodingKeyKind::RsaModulusExponent { n, e }) => {
                let key = RsaPublicKeyComponents { n, e };
                key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature).is_ok()
            }
            (Algorithm::Es256, DecodingKeyKind::SecretOrDer(point)) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature).is_ok()
            }
            (Algorithm::Hs256 | Algorithm::Es256, DecodingKeyKind::RsaModulusExponent { .. }) => false,
        }
    }
}

/// Whether an RSA modulus, big-endian, has a length that signatures are checked with.
fn is_long_enough(modulus: &[u8]) -> bool {
    let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
    let Some((first, rest)) = modulus.get(zeros..).and_then(<[u8]>::split_first) else { return false };
    (2048..=8192).contains(&(rest.len() * 8 + 8 - first.leading_zeros() as usize))
}

/// The modulus of an RSAPublicKey in DER (RFC 8017 §A.1.1): the first integer of a sequence.
fn modulus(der: &[u8]) -> Option<&[u8]> {
    element(0x02, element(0x30, der)?)
}

/// The content of the element, of this tag, that some DER begins with.
fn element(tag: u8, der: &[u8]) -> Option<&[u8]> {
    let (&[found, length], rest) = der.split_first_chunk()?;
    let (length, rest) = match length {
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(length & 0x7F))?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
        _ => (usize::from(length), rest),
    };
    if found == tag { rest.get(..length) } else { None }
}

/// Whether a point is one of P-256. A key agreement finds out, as it must not use any other.
fn is_on_p256(point: &[u8]) -> bool {
    use ring::agreement::{ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral};
    let ours = EphemeralPrivateKey::generate(&ECDH_P256, &ring::rand::SystemRandom::new());
    ours.is_ok_and(|ours| agree_ephemeral(ours, &UnparsedPublicKey::new(&ECDH_P256, point), |_| ()).is_ok())
}

/// The usable keys of a JWKS (RFC 7517): RSA for RS256 and P-256 for ES256, of those that are for signatures.
///
/// # Errors
/// When it is no key set, or has no usable key in it.
pub fn key_set(json: &[u8]) -> Result<Vec<VerifyingKey>, String> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<serde_json::Value>,
    }
    let set: Set = serde_json::from_slice(json).map_err(|error| format!("is no key set (JWKS): {error}"))?;
    let all = set.keys.len();
    // One key that we do not know must not hide the others.
    let known = set.keys.into_iter().filter_map(|key| serde_json::from_value::<Jwk>(key).ok());
    let keys: Vec<_> = known.filter_map(|jwk| VerifyingKey::of(&jwk)).take(KEYS_MAX).collect();
    if keys.len() < all {
        tracing::info!(
            taken = keys.len(),
            skipped = all - keys.len(),
            "a key set has keys that are of no use here"
        );
    }
    if keys.is_empty() { Err("has no key for RS256 or ES256 in it".into()) } else { Ok(keys) }
}

/// What tokens must say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// `iss`, if it matters.
    pub issuer: Option<String>,
    /// `aud`, if it matters.
    pub audience: Option<String>,
    /// How far the issuer's clock may be off.
    pub skew_seconds: u64,
}

/// What is wrong with a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TokenError {
    /// It is no token of an algorithm that we take.
    #[error("this is no token of {}", Algorithm::NAMES)]
    Malformed,
    /// No key has its `kid` and algorithm. Newer keys may have.
    #[error("this token is signed with a key that is not known here")]
    KeyUnknown,
    /// The signature is not that of the key.
    #[error("this token's signature is wrong")]
    Signature,
    /// A claim is missing or of a wrong type.
    #[error("this token lacks exp or name, or has a claim of a wrong type")]
    Claims,
    /// `exp` has passed.
    #[error("this token has expired: get a new one")]
    Expired,
    /// `nbf` has not come.
    #[error("this token is not good yet")]
    Early,
    /// `iss` or `aud` is another.
    #[error("this token is not for here")]
    Elsewhere,
    /// App, name or role is another.
    #[error("this token is not for this stream")]
    OtherStream,
}

impl TokenError {
    /// Metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Malformed => "token_malformed",
            Self::KeyUnknown => "token_key_unknown",
            Self::Signature => "token_signature",
            Self::Claims => "token_claims",
            Self::Expired => "token_expired",
            Self::Early => "token_early",
            Self::Elsewhere => "token_elsewhere",
            Self::OtherStream => "token_other_stream",
        }
    }
}

#[derive(Deserialize)]
struct Claims {
    // A NumericDate may have a fraction (RFC 7519 §2).
    exp: f64,
    nbf: Option<f64>,
    iss: Option<String>,
    aud: Option<Audience>,
    sub: Option<String>,
    app: Option<String>,
    name: String,
    role: Option<String>,
    #[serde(default)]
    priority: u32,
    #[serde(default)]
    forwards: Vec<String>,
    #[serde(default)]
    limits: SaidLimits,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Some(Vec<String>),
}

/// Checks a token: first the signature, then what it says.
///
/// # Errors
/// What is wrong with it.
pub fn check(
    token: &str,
    keys: &[VerifyingKey],
    expected: &Expected,
    now_unix: u64,
    action: Action,
    stream: &StreamKey,
) -> Result<Grant, TokenError> {
    let claims = verified(token, keys)?;
    let (now, skew) = (now_unix as f64, expected.skew_seconds as f64);
    if now > claims.exp + skew {
        return Err(TokenError::Expired);
    }
    if claims.nbf.is_some_and(|begins| now + skew < begins) {
        return Err(TokenError::Early);
    }
    if expected.issuer.is_some() && claims.iss != expected.issuer {
        return Err(TokenError::Elsewhere);
    }
    if let Some(wanted) = &expected.audience {
        let is_meant = match &claims.aud {
            None => false,
            Some(Audience::One(one)) => one == wanted,
            Some(Audience::Some(some)) => some.contains(wanted),
        };
        if !is_meant {
            return Err(TokenError::Elsewhere);
        }
    }
    let role = match claims.role.as_deref() {
        None => Role::Publish,
        Some(name) => Role::from_name(name).ok_or(TokenError::Claims)?,
    };
    if claims.forwards.len() > FORWARDS_MAX || claims.forwards.iter().any(|url| forward(url).is_err()) {
        return Err(TokenError::Claims);
    }
    let streams_max = claims.limits.streams;
    let limits = claims.limits.limits().map_err(|_| TokenError::Claims)?;
    let app_fits = claims.app.as_deref().is_none_or(|app| covers(app, stream.app()));
    if !app_fits || !covers(&claims.name, stream.name()) || !role.covers(action) {
        return Err(TokenError::OtherStream);
    }
    // The length first, so that no other issuer and subject come out as the same text.
    let (issuer, subject) = (claims.iss.unwrap_or_default(), claims.sub.unwrap_or_default());
    let identity = format!("jwt:{}:{issuer}:{subject}", issuer.len());
    Ok(Grant {
        identity: Some(Identity(Arc::from(identity))),
        priority: claims.priority,
        forwards: claims.forwards,
        limits,
        streams_max,
        ..Grant::default()
    })
}

/// Whether a token names its key.
pub(super) fn names_key(token: &str) -> bool {
    jsonwebtoken::decode_header(token).is_ok_and(|header| header.kid.is_some())
}

/// The claims of a token whose signature is good.
fn verified(token: &str, keys: &[VerifyingKey]) -> Result<Claims, TokenError> {
    let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Malformed)?;
    if header.crit.is_some() {
        // It asks for what we do not know (RFC 7515 §4.1.11).
        return Err(TokenError::Malformed);
    }
    let algorithm = Algorithm::of(header.alg).ok_or(TokenError::Malformed)?;
    let (message, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
    let (_, claims) = message.split_once('.').ok_or(TokenError::Malformed)?;
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed);
    let signature = decode(signature)?;
    let fits = |key: &&VerifyingKey| {
        // A key without a name, as from a PEM file, is for all tokens of its algorithm.
        let id_fits = header.kid.is_none() || key.id.is_none() || key.id == header.kid;
        key.algorithm == algorithm && id_fits
    };
    let mut tried = keys.iter().filter(fits).take(TRIES_MAX).peekable();
    if tried.peek().is_none() {
        return Err(TokenError::KeyUnknown);
    }
    if !tried.any(|key| key.has_signed(message.as_bytes(), &signature)) {
        return Err(TokenError::Signature);
    }
    serde_json::from_slice(&decode(claims)?).map_err(|_| TokenError::Claims)
}

/// Where the key set of a table comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySetPlace {
    /// A file, read at the start.
    File(std::path::PathBuf),
    /// A URL, fetched again and again.
    Url(String),
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;
