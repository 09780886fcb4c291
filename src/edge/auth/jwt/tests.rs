//! Tokens: vectors of another tool, forgeries of every kind, and each claim.

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use super::vectors::{
    EC_K256, EC_P384, EC_PUBLIC, ES256, ES256_KID, KEY_SET, RS256, RS256_KID, RSA_1024, RSA_PUBLIC,
};
use super::*;

const NOW: u64 = 1_750_000_000;
const SECRET: &str = "0123456789abcdef";

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn token_with(header: &Value, claims: &Value, secret: &[u8]) -> String {
    let message = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
    let mac = Hmac::<Sha256>::new_from_slice(secret).unwrap().chain_update(&message).finalize();
    format!("{message}.{}", encode(mac.into_bytes()))
}

fn token(claims: &Value) -> String {
    token_with(&json!({"alg": "HS256", "typ": "JWT"}), claims, SECRET.as_bytes())
}

fn live() -> StreamKey {
    StreamKey::new("live", "test")
}

fn checked(token: &str, keys: &[VerifyingKey]) -> Result<Grant, TokenError> {
    check(token, keys, &Expected::default(), NOW, Action::Publish, &live())
}

fn secret() -> [VerifyingKey; 1] {
    [VerifyingKey::secret(&Secret::new(SECRET))]
}

fn rsa() -> VerifyingKey {
    VerifyingKey::public(Algorithm::Rs256, RSA_PUBLIC.as_bytes()).unwrap()
}

fn ec() -> VerifyingKey {
    VerifyingKey::public(Algorithm::Es256, EC_PUBLIC.as_bytes()).unwrap()
}

/// RFC 7515 §A.1: the signature is good, and what is said is not what we need.
#[test]
fn the_specifications_own_token_verifies() {
    let token = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ\
                 .dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    let secret = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
    let keys = [VerifyingKey::secret(&Secret::new(URL_SAFE_NO_PAD.decode(secret).unwrap()))];
    assert_eq!(checked(token, &keys).unwrap_err(), TokenError::Claims, "it has no name");
}

#[test]
fn public_keys_verify_what_their_private_keys_have_signed() {
    let set = key_set(KEY_SET.as_bytes()).unwrap();
    assert_eq!(format!("{set:?}"), "[VerifyingKey(Some(\"r1\"), RS256), VerifyingKey(Some(\"e1\"), ES256)]");
    for (token, keys) in [
        (RS256, vec![rsa()]),
        (ES256, vec![ec()]),
        (RS256, vec![ec(), rsa()]),
        (RS256_KID, set.clone()),
        (ES256_KID, set.clone()),
        (RS256, set.clone()),
        (ES256, set.clone()),
        // A key from a PEM file has no name, and is for all tokens of its algorithm.
        (RS256_KID, vec![rsa()]),
    ] {
        let grant = checked(token, &keys).unwrap();
        assert_eq!(grant.identity, Some(Identity("jwt:0::user-7".into())));
        // Each byte of each part counts.
        for at in (0..token.len()).step_by(7) {
            let mut bytes = token.as_bytes().to_vec();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(bytes).unwrap();
            assert!(checked(&forged, &keys).is_err(), "byte {at}");
        }
    }
}

/// No header turns one kind of key into another, or a signature into none.
#[test]
fn algorithms_cannot_be_confused() {
    let claims = json!({"exp": NOW + 60, "name": "*"});
    let set = key_set(KEY_SET.as_bytes()).unwrap();
    let all = [set, vec![rsa(), ec()]].concat();
    let spki = RSA_PUBLIC.lines().filter(|line| !line.starts_with('-')).collect::<String>();
    // A public key as the secret of an HMAC, in the forms in which a verifier may hold it.
    for secret in
        [RSA_PUBLIC.as_bytes(), RSA_PUBLIC.trim().as_bytes(), spki.as_bytes(), b"", b"secretsecretsecret"]
    {
        for kid in [None, Some("r1"), Some("o")] {
            let header = json!({"alg": "HS256", "kid": kid});
            assert_eq!(
                checked(&token_with(&header, &claims, secret), &all).unwrap_err(),
                TokenError::KeyUnknown
            );
        }
    }
    for algorithm in
        ["none", "None", "NONE", "HS384", "HS512", "RS512", "PS256", "ES384", "EdDSA", "", "hs256"]
    {
        let header = json!({"alg": algorithm});
        let with_secret = token_with(&header, &claims, SECRET.as_bytes());
        let unsigned = format!("{}.{}.", encode(header.to_string()), encode(claims.to_string()));
        for token in [with_secret, unsigned] {
            for keys in [&all[..], &secret()] {
                assert_eq!(checked(&token, keys).unwrap_err(), TokenError::Malformed, "{algorithm}");
            }
        }
    }
    // The header of one algorithm over the signature of another.
    let (_, body) = ES256.split_once('.').unwrap();
    let swapped = format!("{}.{body}", encode(json!({"alg": "RS256"}).to_string()));
    assert_eq!(checked(&swapped, &all).unwrap_err(), TokenError::Signature);
    let critical = token_with(&json!({"alg": "HS256", "crit": ["x"], "x": 1}), &claims, SECRET.as_bytes());
    assert_eq!(
        checked(&critical, &secret()).unwrap_err(),
        TokenError::Malformed,
        "it asks for what is not known here"
    );
}

#[test]
fn what_is_no_token_is_refused() {
    let good = token(&json!({"exp": NOW + 60, "name": "test"}));
    assert!(checked(&good, &secret()).is_ok());
    for bad in [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        &good[1..],
        &format!("{good}."),
        &format!("{good}="),
        &format!(" {good}"),
        "é.é.é",
    ] {
        assert!(checked(bad, &secret()).is_err(), "{bad}");
    }
    let other =
        token_with(&json!({"alg": "HS256"}), &json!({"exp": NOW + 60, "name": "test"}), b"fedcba9876543210");
    assert_eq!(checked(&other, &secret()).unwrap_err(), TokenError::Signature);
    assert_eq!(checked(&good, &[]).unwrap_err(), TokenError::KeyUnknown);
    // Many keys are not all tried.
    let many: Vec<_> =
        (0..10).map(|i| VerifyingKey::secret(&Secret::new(format!("{SECRET}{i}")))).chain(secret()).collect();
    assert_eq!(checked(&good, &many).unwrap_err(), TokenError::Signature);
}

/// Each claim at its border, of a wrong type, and left out.
#[test]
fn claims_mean_what_is_documented() {
    use TokenError::{Claims, Early, Elsewhere, Expired, OtherStream};
    let base = json!({"exp": NOW, "name": "test", "iss": "me", "aud": ["x", "inrush"]});
    let expected = Expected { issuer: Some("me".into()), audience: Some("inrush".into()), skew_seconds: 10 };
    let told = |change: Value, action: Action, now: u64| {
        let mut claims = base.clone();
        for (name, value) in change.as_object().unwrap() {
            match value {
                Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
                value => claims[name] = value.clone(),
            }
        }
        check(&token(&claims), &secret(), &expected, now, action, &live())
    };
    assert!(told(json!({}), Action::Publish, NOW).is_ok());
    for (now, result) in [(NOW + 10, None), (NOW + 11, Some(Expired)), (0, None)] {
        assert_eq!(told(json!({}), Action::Publish, now).err(), result, "at {now}");
    }
    for (change, result) in [
        (json!({"exp": null}), Some(Claims)),
        (json!({"exp": "4000000000"}), Some(Claims)),
        (json!({"exp": NOW as f64 + 0.5}), None),
        (json!({"exp": -1}), Some(Expired)),
        (json!({"nbf": NOW + 10}), None),
        (json!({"nbf": NOW + 11}), Some(Early)),
        (json!({"nbf": "0"}), Some(Claims)),
        (json!({"iss": "other"}), Some(Elsewhere)),
        (json!({"iss": null}), Some(Elsewhere)),
        (json!({"iss": ["me"]}), Some(Claims)),
        (json!({"aud": "inrush"}), None),
        (json!({"aud": "other"}), Some(Elsewhere)),
        (json!({"aud": []}), Some(Elsewhere)),
        (json!({"aud": null}), Some(Elsewhere)),
        (json!({"name": null}), Some(Claims)),
        (json!({"name": "*"}), None),
        (json!({"name": "other"}), Some(OtherStream)),
        // The star is a whole name or a letter like any other.
        (json!({"name": "te*"}), Some(OtherStream)),
        (json!({"name": "*t"}), Some(OtherStream)),
        (json!({"name": "**"}), Some(OtherStream)),
        (json!({"name": "t?st"}), Some(OtherStream)),
        (json!({"name": ".*"}), Some(OtherStream)),
        (json!({"name": " *"}), Some(OtherStream)),
        (json!({"name": "TEST"}), Some(OtherStream)),
        (json!({"name": "/test"}), Some(OtherStream)),
        (json!({"name": ["*"]}), Some(Claims)),
        (json!({"app": "li*"}), Some(OtherStream)),
        (json!({"app": ""}), Some(OtherStream)),
        (json!({"app": "live"}), None),
        (json!({"app": "*"}), None),
        (json!({"app": "radio"}), Some(OtherStream)),
        (json!({"app": 1}), Some(Claims)),
        (json!({"role": "both"}), None),
        (json!({"role": "play"}), Some(OtherStream)),
        (json!({"role": "admin"}), Some(Claims)),
        (json!({"priority": 4_294_967_295_u32}), None),
        (json!({"priority": -1}), Some(Claims)),
        (json!({"priority": "1"}), Some(Claims)),
        (json!({"forwards": ["rtmp://h/a/b"]}), None),
        (json!({"forwards": ["http://h/a/b"]}), Some(Claims)),
        (json!({"forwards": vec!["rtmp://h/a/b"; FORWARDS_MAX + 1]}), Some(Claims)),
        (json!({"limits": {"codecs": ["avc1"], "height": 720}}), None),
        (json!({"limits": {"height": 0}}), Some(Claims)),
        (json!({"limits": {"hight": 720}}), Some(Claims)),
        (json!({"limits": {"codecs": ["h264"]}}), Some(Claims)),
        (json!({"limits": 720}), Some(Claims)),
        (json!({"unknown": {"a": 1}}), None),
    ] {
        assert_eq!(told(change.clone(), Action::Publish, NOW).err(), result, "{change}");
    }
    assert!(told(json!({"role": "play"}), Action::Play, NOW).is_ok());
    assert_eq!(
        told(json!({}), Action::Play, NOW).err(),
        Some(OtherStream),
        "publish is what a token is for, unless it says so"
    );
    let all = json!({"sub": "u", "priority": 3, "forwards": ["rtmp://h/a/b"], "limits": {"height": 720, "streams": 2}});
    let grant = told(all, Action::Publish, NOW).unwrap();
    let identity = Some(Identity("jwt:2:me:u".into()));
    assert_eq!(
        grant,
        Grant {
            identity,
            priority: 3,
            forwards: vec!["rtmp://h/a/b".into()],
            limits: crate::media::Limits { height: std::num::NonZeroU32::new(720), ..Default::default() },
            streams_max: std::num::NonZeroU32::new(2),
            ..Grant::default()
        }
    );
}

#[test]
fn what_is_no_key_is_refused() {
    for bad in
        ["", "{}", "[]", r#"{"keys": []}"#, r#"{"keys": [{"kty": "oct", "k": "AAAA"}]}"#, r#"{"keys": 1}"#]
    {
        assert!(key_set(bad.as_bytes()).is_err(), "{bad}");
    }
    for (algorithm, pem) in [
        (Algorithm::Rs256, EC_PUBLIC),
        (Algorithm::Es256, RSA_PUBLIC),
        (Algorithm::Rs256, "junk"),
        (Algorithm::Hs256, RSA_PUBLIC),
    ] {
        assert!(VerifyingKey::public(algorithm, pem.as_bytes()).is_err(), "{algorithm:?}");
    }
}

/// Keys that no token could be good by, or that would make everybody who knows a public key an issuer.
#[test]
fn useless_and_dangerous_keys_are_refused() {
    let private = "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n";
    for (algorithm, pem, problem) in [
        (Algorithm::Rs256, RSA_1024, "has not the 2048"),
        (Algorithm::Es256, EC_P384, "is not on the curve"),
        (Algorithm::Es256, EC_K256, "is not on the curve"),
        (Algorithm::Rs256, private, "has a private key"),
        (Algorithm::Es256, private, "has a private key"),
    ] {
        let error = VerifyingKey::public(algorithm, pem.as_bytes()).unwrap_err();
        assert!(error.starts_with(problem), "{error}");
    }
    assert!(VerifyingKey::public(Algorithm::Rs256, RSA_PUBLIC.as_bytes()).is_ok());
    assert!(VerifyingKey::public(Algorithm::Es256, EC_PUBLIC.as_bytes()).is_ok());
    assert!(VerifyingKey::shared(&Secret::new(SECRET)).is_ok());
    for pem in [RSA_PUBLIC.to_owned(), format!("\n{EC_PUBLIC}")] {
        assert!(VerifyingKey::shared(&Secret::new(pem)).unwrap_err().starts_with("is PEM"));
    }
}

#[test]
fn useless_keys_of_a_set_are_skipped() {
    let with = |n: &str| format!(r#"{{"keys": [{{"kty": "RSA", "e": "AQAB", "n": "{n}"}}]}}"#);
    let modulus = |bytes: usize| encode([&[0x80][..], &vec![1; bytes - 1]].concat());
    assert_eq!(key_set(with(&modulus(256)).as_bytes()).unwrap().len(), 1);
    assert!(key_set(with(&modulus(255)).as_bytes()).is_err());
    assert!(key_set(with(&modulus(1025)).as_bytes()).is_err());
    let nowhere = encode([7; 32]);
    let point =
        format!(r#"{{"keys": [{{"kty": "EC", "crv": "P-256", "x": "{nowhere}", "y": "{nowhere}"}}]}}"#);
    assert!(key_set(point.as_bytes()).is_err());
}
