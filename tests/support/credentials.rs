//! What tests show to be let in.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// What tokens of [`hs256`] are signed with.
pub const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A file that holds [`SECRET`].
pub fn secret_file() -> String {
    let path = super::scratch_file("secret");
    std::fs::write(&path, SECRET).expect("write a secret");
    path.display().to_string()
}

/// A key as `[[key]]` has it.
pub fn sha256(key: &str) -> String {
    Sha256::digest(key).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A token with these claims.
pub fn hs256(claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(&json!({"alg": "HS256", "typ": "JWT"})), part(claims));
    let mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("any length").chain_update(&message);
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}
