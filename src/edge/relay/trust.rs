//! Whom we trust when we speak TLS to a target: the web's roots, a file of certificates, or everybody.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
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

/// How connections to a target are made secure.
///
/// # Errors
/// When the file cannot be used.
pub fn client_config(ca_file: Option<&Path>, verify: bool) -> Result<Arc<ClientConfig>, TrustError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(rustls::ALL_VERSIONS)
        .expect("ring has cipher suites for both versions of TLS");
    let mut config = if verify {
        let roots = match ca_file {
            Some(path) => read(path)?,
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

fn read(path: &Path) -> Result<RootCertStore, TrustError> {
    let wrong = |problem: String| TrustError { path: path.into(), problem };
    let cannot = |error: io::Error| wrong(format!("cannot be read: {error}"));
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(cannot)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(wrong("is longer than 1 MiB".into()));
    }
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&bytes) {
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
        assert!(client_config(Some(&good), true).is_ok());
        assert!(client_config(None, true).is_ok());
        assert!(client_config(None, false).is_ok());
        let pem = |body: &str| format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n");
        for (path, problem) in [
            (directory.join("none"), "cannot be read: No such file or directory (os error 2)"),
            (file("empty", ""), "has no certificate in it"),
            (file("torn", "-----BEGIN CERTIFICATE-----\nAAAA\n"), "is not PEM: "),
            (file("junk", &(made.cert.pem() + &pem("AAAA"))), "a certificate cannot be used: "),
            (file("long", &" ".repeat((1 << 20) + 1)), "is longer than 1 MiB"),
        ] {
            let error = client_config(Some(&path), true).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{}: {problem}", path.display())), "{error}");
        }
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
