//! Whom we trust when we speak TLS to a target: the web's roots, a file of certificates, or everybody.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::runtime::tls::anybody::Anybody;

/// Longest file of certificates, bytes: all the web's roots are some 250 kB.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What is wrong with a file of certificates.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}: {problem}", path.display())]
pub struct TrustError {
    path: PathBuf,
    problem: String,
}

/// Whom a target is to be trusted by. Two are equal when they trust the same: a file is what was in it, not what it is called.
#[derive(Clone, Debug)]
pub struct Trust {
    pub(super) config: Arc<ClientConfig>,
    /// SHA-256 of the file's bytes; whether one verifies at all is the target's, which is compared beside it.
    digest: Option<[u8; 32]>,
}

impl PartialEq for Trust {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Trust {
    /// Reads the file, if there is one.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub fn new(ca_file: Option<&Path>, verify: bool) -> Result<Self, TrustError> {
        // Nobody asks for a file where nothing is verified.
        let bytes = ca_file.filter(|_| verify).map(|path| Ok((path, bytes_of(path)?))).transpose()?;
        let digest = bytes.as_ref().map(|(_, bytes)| Sha256::digest(bytes).into());
        let config = config(bytes.as_ref().map(|(path, bytes)| (*path, &**bytes)), verify)?;
        Ok(Self { config, digest })
    }
}

/// How connections to a target are made secure.
fn config(ca_file: Option<(&Path, &[u8])>, verify: bool) -> Result<Arc<ClientConfig>, TrustError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(rustls::ALL_VERSIONS)
        .expect("ring has cipher suites for both versions of TLS");
    let mut config = if verify {
        let roots = match ca_file {
            Some((path, bytes)) => roots(path, bytes)?,
            None => RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() },
        };
        builder.with_root_certificates(roots).with_no_client_auth()
    } else {
        let anybody = Arc::new(Anybody::new());
        builder.dangerous().with_custom_certificate_verifier(anybody).with_no_client_auth()
    };
    // The records are the runtime's, and need the keys.
    config.enable_secret_extraction = true;
    Ok(Arc::new(config))
}

fn bytes_of(path: &Path) -> Result<Vec<u8>, TrustError> {
    let wrong = |problem: String| TrustError { path: path.into(), problem };
    let cannot = |error: io::Error| wrong(format!("cannot be read: {error}"));
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(cannot)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(wrong("is longer than 1 MiB".into()));
    }
    Ok(bytes)
}

fn roots(path: &Path, bytes: &[u8]) -> Result<RootCertStore, TrustError> {
    let wrong = |problem: String| TrustError { path: path.into(), problem };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(bytes) {
        let certificate = certificate.map_err(|error| wrong(format!("is not PEM: {error}")))?;
        roots.add(certificate).map_err(|error| wrong(format!("a certificate cannot be used: {error}")))?;
    }
    if roots.is_empty() {
        return Err(wrong("has no certificate in it".into()));
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_certificates_is_read_whole_or_refused_by_name() {
        let directory = std::env::temp_dir().join(format!("inrush-trust-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        let file = |name: &str, text: &str| {
            let path = directory.join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let good = file("good", &(made.cert.pem() + &made.cert.pem()));
        let trust = Trust::new(Some(&good), true).unwrap();
        assert!(
            trust == Trust::new(Some(&file("same", &(made.cert.pem() + &made.cert.pem()))), true).unwrap()
        );
        assert!(trust != Trust::new(Some(&file("other", &made.cert.pem())), true).unwrap());
        assert!(Trust::new(None, true).unwrap() != trust);
        assert!(Trust::new(None, false).is_ok());
        let pem = |body: &str| format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n");
        for (path, problem) in [
            (directory.join("none"), "cannot be read: No such file or directory (os error 2)"),
            (file("empty", ""), "has no certificate in it"),
            (file("torn", "-----BEGIN CERTIFICATE-----\nAAAA\n"), "is not PEM: "),
            (file("junk", &(made.cert.pem() + &pem("AAAA"))), "a certificate cannot be used: "),
            (file("long", &" ".repeat((1 << 20) + 1)), "is longer than 1 MiB"),
        ] {
            let error = Trust::new(Some(&path), true).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{}: {problem}", path.display())), "{error}");
        }
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
