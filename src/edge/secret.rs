//! Secrets that the configuration refers to and does not hold: a file's content or an environment variable.
//!
//! So `inrush check`, logs and process lists show where a secret stands, and never the secret.
//! # Bounds
//! [`SECRET_BYTES_MIN`] to [`SECRET_BYTES_MAX`]; one line feed at the end is not part of it, since editors and `echo` put one there.

use std::fmt;
use std::io::Read as _;
use std::path::PathBuf;

/// Shortest secret, bytes: 128 bits if they are random.
pub const SECRET_BYTES_MIN: usize = 16;

/// Longest secret or public key, bytes.
pub const SECRET_BYTES_MAX: usize = 16 * 1024;

/// How a place is written, for error lines.
pub const PLACE: &str = "file:PATH or env:NAME";

/// Where a secret stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretPlace {
    /// The content of a file.
    File(PathBuf),
    /// An environment variable.
    Variable(String),
}

impl SecretPlace {
    /// Reads `file:PATH` or `env:NAME`.
    ///
    /// # Errors
    /// Says what is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.into())),
            Some(("env", name)) if !name.is_empty() && !name.contains('=') => Ok(Self::Variable(name.into())),
            // It may be the secret itself, so it is not repeated.
            _ => Err("names no place of a secret".into()),
        }
    }

    /// The secret as it is now.
    ///
    /// # Errors
    /// Says what is wrong, without a byte of it.
    pub fn read(&self) -> Result<Secret, String> {
        let mut bytes = self.read_any()?;
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
            bytes.pop_if(|byte| *byte == b'\r');
        }
        if bytes.len() < SECRET_BYTES_MIN {
            return Err(format!("{self}: is shorter than {SECRET_BYTES_MIN} bytes"));
        }
        Ok(Secret(bytes))
    }

    /// What is there, as it is: also a public key, which is no secret.
    ///
    /// # Errors
    /// Says what is wrong.
    pub fn read_any(&self) -> Result<Vec<u8>, String> {
        self.read_up_to(SECRET_BYTES_MAX)
    }

    /// The same of what may be longer, such as a key set.
    ///
    /// # Errors
    /// Says what is wrong.
    pub fn read_up_to(&self, bytes_max: usize) -> Result<Vec<u8>, String> {
        let bytes = match self {
            Self::File(path) => {
                let cannot = |error: std::io::Error| format!("{self}: cannot be read: {error}");
                let file = std::fs::File::open(path).map_err(cannot)?;
                let mut bytes = Vec::new();
                file.take(bytes_max as u64 + 1).read_to_end(&mut bytes).map_err(cannot)?;
                bytes
            }
            Self::Variable(name) => {
                let value = std::env::var_os(name).filter(|value| !value.is_empty());
                let value = value.ok_or_else(|| format!("{self}: is not set"))?;
                std::os::unix::ffi::OsStringExt::into_vec(value)
            }
        };
        if bytes.len() > bytes_max {
            return Err(format!("{self}: is longer than {bytes_max} bytes"));
        }
        Ok(bytes)
    }
}

impl fmt::Display for SecretPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Variable(name) => write!(f, "env:{name}"),
        }
    }
}

/// A secret that shows in no `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// A secret from its bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes, for whoever signs or verifies with them.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_and_shown_alike() {
        for text in ["file:/etc/inrush/secret", "env:LIVE_SECRET", "file:a:b"] {
            assert_eq!(SecretPlace::parse(text).unwrap().to_string(), text);
        }
        for text in ["", "file:", "env:", "env:A=B", "hunter2hunter2hunter2", "https://x"] {
            let problem = SecretPlace::parse(text).unwrap_err();
            assert_eq!(problem, "names no place of a secret", "{text}");
        }
    }

    #[test]
    fn a_secret_is_the_file_without_its_last_line_feed() {
        let path = std::env::temp_dir().join(format!("inrush-secret-{}", std::process::id()));
        let place = SecretPlace::File(path.clone());
        for (content, secret) in [
            ("0123456789abcdef", Some("0123456789abcdef")),
            ("0123456789abcdef\n", Some("0123456789abcdef")),
            ("0123456789abcdef\r\n", Some("0123456789abcdef")),
            ("0123456789abcdef\n\n", Some("0123456789abcdef\n")),
            ("0123456789abcde\n", None),
            ("", None),
        ] {
            std::fs::write(&path, content).unwrap();
            assert_eq!(place.read().ok(), secret.map(Secret::new), "{content:?}");
        }
        std::fs::write(&path, vec![b'x'; SECRET_BYTES_MAX + 1]).unwrap();
        assert!(place.read().unwrap_err().ends_with("is longer than 16384 bytes"));
        std::fs::remove_file(&path).unwrap();
        assert!(place.read().unwrap_err().contains("cannot be read"));
        let nowhere = SecretPlace::Variable("INRUSH_TEST_NOT_SET".into());
        assert_eq!(nowhere.read().unwrap_err(), "env:INRUSH_TEST_NOT_SET: is not set");
        assert_eq!(format!("{:?}", Secret::new("hunter2hunter2hu")), "Secret");
    }
}
