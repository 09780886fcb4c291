//! Certificates: read from files, picked by the name that the client asks for, and replaced while connections go on.
//!
//! All cores share one [`Endpoint`]: its configuration is taken once a connection, never on a record, and its ticket keys are the same
//! for all, so that a session is resumed on whichever core takes the connection. Connections keep what they began with.
//! # Errors
//! A [`CertificateError`] names the file and what is wrong with it. A set is taken whole or not at all.
//! # Bounds
//! A file of 1 MiB. The names are looked through for each handshake, which costs hundreds of times as much.

use std::cell::RefCell;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, ServerConfig, version};

/// Longest file that is read, bytes: a chain is some 5 kB.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Tickets that a TLS 1.3 client is given: an encoder resumes one connection.
const TICKETS: usize = 1;

/// Where a certificate lies, PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate and the chain that leads to a root, in this order.
    pub chain_file: PathBuf,
    /// Its private key: PKCS #8, PKCS #1 or SEC 1.
    pub key_file: PathBuf,
}

thread_local! {
    /// The name that the last ClientHello on this thread asked for. Rustls tells it to the one who picks the certificate and not to the
    /// unbuffered connection, and calls the one while the other makes its step.
    static NAME_ASKED_FOR: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// The name asked for in the ClientHello that this thread has just dealt with, if there was one since the last call.
pub(super) fn take_name_asked_for() -> Option<String> {
    NAME_ASKED_FOR.take()
}

/// What is wrong with a certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// The chain cannot be used.
    #[error("{}: {problem}", path.display())]
    Chain {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The key cannot be used.
    #[error("{}: {problem}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The self-signed certificate cannot be made.
    #[error("no self-signed certificate: {0}")]
    SelfSigned(String),
}

/// A set of certificates; the first one serves who names none of the others, or nothing.
#[derive(Debug)]
pub struct Certificates {
    all: Vec<Certificate>,
}

/// When a certificate of a file is good no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateEnd {
    /// The file that it is in.
    pub chain_file: PathBuf,
    /// Its `notAfter` (RFC 5280 §4.1.2.5), seconds since 1970.
    pub unix_seconds: i64,
}

#[derive(Debug)]
struct Certificate {
    names: Vec<String>,
    /// `None` of one that we have made.
    end: Option<CertificateEnd>,
    key: Arc<CertifiedKey>,
}

impl Certificates {
    /// Reads all of them.
    ///
    /// # Errors
    /// The first file that cannot be used.
    pub fn read(files: &[CertificateFiles]) -> Result<Self, CertificateError> {
        let all = files.iter().map(Certificate::read).collect::<Result<_, _>>()?;
        Ok(Self { all })
    }

    /// A certificate for `localhost` that nobody has signed: for a try-out, since clients must be told not to verify it.
    ///
    /// # Errors
    /// When the machine has no random numbers.
    pub fn self_signed() -> Result<Self, CertificateError> {
        let wrong = |error: &dyn std::fmt::Display| CertificateError::SelfSigned(error.to_string());
        let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        let made = rcgen::generate_simple_self_signed(names).map_err(|error| wrong(&error))?;
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).map_err(|error| wrong(&error))?;
        let key = CertifiedKey::from_der(vec![made.cert.der().clone()], key, &ring::default_provider())
            .map_err(|error| wrong(&error))?;
        Ok(Self { all: vec![Certificate { names: vec!["localhost".into()], end: None, key: Arc::new(key) }] })
    }

    /// When those that came from files end; a file that is named twice is there twice.
    fn ends(&self) -> Vec<CertificateEnd> {
        self.all.iter().filter_map(|one| one.end.clone()).collect()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The certificates for a name; those for all when there is none for it.
    fn candidates(&self, name: Option<&str>) -> impl Iterator<Item = &Certificate> {
        let named = self.all.iter().filter(move |one| name.is_some_and(|name| one.serves(name)));
        named.chain(self.all.first())
    }
}

impl ResolvesServerCert for Certificates {
    /// The first certificate for the name that the client can verify: a name may have one of each kind of key.
    fn resolve(&self, client: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        NAME_ASKED_FOR.set(client.server_name().map(str::to_owned));
        let can_verify = |one: &&Certificate| one.key.key.choose_scheme(client.signature_schemes()).is_some();
        let found = self.candidates(client.server_name()).find(can_verify);
        found.or_else(|| self.candidates(client.server_name()).next()).map(|one| one.key.clone())
    }
}

impl Certificate {
    fn read(files: &CertificateFiles) -> Result<Self, CertificateError> {
        let CertificateFiles { chain_file, key_file } = files;
        let wrong_chain = |problem: String| CertificateError::Chain { path: chain_file.clone(), problem };
        let wrong_key = |problem: String| CertificateError::Key { path: key_file.clone(), problem };

        let text = read_file(chain_file).map_err(wrong_chain)?;
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&text)
            .collect::<Result<_, _>>()
            .map_err(|error| wrong_chain(format!("is not PEM: {error}")))?;
        let first = chain.first().ok_or_else(|| wrong_chain("has no certificate in it".into()))?;
        let names = webpki::EndEntityCert::try_from(first)
            .map_err(|error| wrong_chain(format!("its first certificate cannot be used: {error}")))?
            .valid_dns_names()
            .map(str::to_ascii_lowercase)
            .collect();
        let (_, parsed) = x509_parser::parse_x509_certificate(first)
            .map_err(|error| wrong_chain(format!("its first certificate cannot be read: {error}")))?;
        let unix_seconds = parsed.validity().not_after.timestamp();
        let end = Some(CertificateEnd { chain_file: chain_file.clone(), unix_seconds });

        let text = read_file(key_file).map_err(wrong_key)?;
        let key = PrivateKeyDer::from_pem_slice(&text)
            .map_err(|error| wrong_key(format!("has no private key in it: {error}")))?;
        let key = CertifiedKey::from_der(chain, key, &provider()).map_err(|error| match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                wrong_key(format!("is not the key of {}", chain_file.display()))
            }
            error => wrong_key(format!("cannot be used: {error}")),
        })?;
        Ok(Self { names, end, key: Arc::new(key) })
    }

    /// Whether the certificate is for this name, which rustls has made lower case: the name itself, or `*` in place of its first label
    /// (RFC 6125 §6.4.3).
    fn serves(&self, name: &str) -> bool {
        self.names.iter().any(|own| match own.strip_prefix("*.") {
            Some(parent) => name.split_once('.').is_some_and(|(_, rest)| rest == parent),
            None => own == name,
        })
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    let cannot = |error: io::Error| format!("cannot be read: {error}");
    let file = std::fs::File::open(path).map_err(cannot)?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err("is longer than 1 MiB".into());
    }
    Ok(bytes)
}

fn provider() -> CryptoProvider {
    ring::default_provider()
}

/// What all cores speak TLS with.
pub struct Endpoint {
    config: RwLock<Arc<ServerConfig>>,
    /// For whoever watches; no connection looks at it.
    ends: Mutex<Vec<CertificateEnd>>,
}

impl Endpoint {
    /// TLS 1.2 and 1.3 with these certificates; neither early data nor ALPN, which RTMP has no use for.
    ///
    /// # Errors
    /// When the machine has no random numbers for the ticket keys.
    pub fn new(certificates: Certificates) -> Result<Self, rustls::Error> {
        let ends = Mutex::new(certificates.ends());
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(certificates));
        // Tickets hold the session, so that the server keeps none, and rotate their keys by themselves.
        config.ticketer = ring::Ticketer::new()?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = TICKETS;
        // For our own records.
        config.enable_secret_extraction = true;
        Ok(Self { config: RwLock::new(Arc::new(config)), ends })
    }

    /// What a new connection begins with.
    pub fn config(&self) -> Arc<ServerConfig> {
        self.config.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// When the certificates that are in force and came from files end.
    pub fn ends(&self) -> Vec<CertificateEnd> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Certificates for connections to come. Those that are there go on, and tickets stay good.
    pub fn replace(&self, certificates: Certificates) {
        let mut config = self.config.write().unwrap_or_else(PoisonError::into_inner);
        let mut new = ServerConfig::clone(&config);
        *self.ends.lock().unwrap_or_else(PoisonError::into_inner) = certificates.ends();
        new.cert_resolver = Arc::new(certificates);
        *config = Arc::new(new);
    }
}

/// Looks whether certificate files have changed, for a thread that may wait for a disk.
#[derive(Debug)]
pub struct Watch {
    files: Vec<CertificateFiles>,
    seen: Vec<Option<Stamp>>,
}

/// Changes when a file is written anew, and when another takes its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

impl Watch {
    /// Of files that have been read just now.
    pub fn new(files: Vec<CertificateFiles>) -> Self {
        let seen = stamps(&files);
        Self { files, seen }
    }

    /// Reads the files again if they are not what they were at the last look.
    pub fn look(&mut self) -> Option<Result<Certificates, CertificateError>> {
        // Before they are read: what changes meanwhile is found by the next look.
        let now = stamps(&self.files);
        if now == self.seen {
            return None;
        }
        self.seen = now;
        Some(Certificates::read(&self.files))
    }
}

fn stamps(files: &[CertificateFiles]) -> Vec<Option<Stamp>> {
    let stamp = |path: &PathBuf| {
        let of = std::fs::metadata(path).ok()?;
        let changed = (of.mtime(), of.mtime_nsec());
        Some(Stamp { device: of.dev(), inode: of.ino(), bytes: of.size(), changed })
    };
    files.iter().flat_map(|files| [stamp(&files.chain_file), stamp(&files.key_file)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory of this test's own, which goes with it.
    struct Files(PathBuf);

    impl Files {
        fn new(name: &str) -> Self {
            let directory = std::env::temp_dir().join(format!("inrush-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&directory).unwrap();
            Self(directory)
        }

        /// Another certificate and key, each put in place by a rename.
        fn write(&self, names: &[&str]) -> CertificateFiles {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let made = rcgen::generate_simple_self_signed(names).unwrap();
            let files =
                CertificateFiles { chain_file: self.0.join("chain.pem"), key_file: self.0.join("key.pem") };
            for (file, text) in
                [(&files.chain_file, made.cert.pem()), (&files.key_file, made.signing_key.serialize_pem())]
            {
                std::fs::write(file.with_extension("new"), text).unwrap();
                std::fs::rename(file.with_extension("new"), file).unwrap();
            }
            files
        }
    }

    impl Drop for Files {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    /// Names are those of the certificate, whole or with its first label open, and never more than one label.
    #[test]
    fn a_certificate_serves_its_names() {
        let files = Files::new("names");
        let certificate =
            Certificate::read(&files.write(&["a.example", "*.b.example", "UPPER.example"])).unwrap();
        for name in ["a.example", "x.b.example", "upper.example"] {
            assert!(certificate.serves(name), "{name}");
        }
        for name in ["b.example", "x.y.b.example", "x.a.example", "example", "", "*.b.example.x"] {
            assert!(!certificate.serves(name), "{name}");
        }
    }

    /// The end is the certificate's own, to the second, and that of what is in force.
    #[test]
    fn an_end_is_that_of_the_certificate() {
        let files = Files::new("ends");
        let certificate = files.write(&["a.example"]);
        let key = rcgen::KeyPair::generate().unwrap();
        let mut wanted = rcgen::CertificateParams::new(["a.example".to_owned()]).unwrap();
        wanted.not_after = rcgen::date_time_ymd(2031, 2, 3);
        std::fs::write(&certificate.chain_file, wanted.self_signed(&key).unwrap().pem()).unwrap();
        std::fs::write(&certificate.key_file, key.serialize_pem()).unwrap();
        let endpoint = Endpoint::new(Certificates::self_signed().unwrap()).unwrap();
        assert_eq!(endpoint.ends(), []);
        endpoint.replace(Certificates::read(std::slice::from_ref(&certificate)).unwrap());
        // `date -ud 2031-02-03 +%s`
        let end = CertificateEnd { chain_file: certificate.chain_file.clone(), unix_seconds: 1_927_843_200 };
        assert_eq!(endpoint.ends(), [end]);
    }

    /// A look costs nothing while nothing has changed; a change is read once, good or bad.
    #[test]
    fn a_change_is_found_once() {
        let files = Files::new("watch");
        let certificate = files.write(&["a.example"]);
        let mut watch = Watch::new(vec![certificate.clone()]);
        assert!(watch.look().is_none());
        files.write(&["b.example"]);
        assert!(watch.look().unwrap().unwrap().all[0].serves("b.example"));
        assert!(watch.look().is_none());
        std::fs::write(&certificate.chain_file, "no certificate any more").unwrap();
        let error = watch.look().unwrap().unwrap_err();
        assert!(error.to_string().ends_with("chain.pem: has no certificate in it"), "{error}");
        assert!(watch.look().is_none(), "told once");
        std::fs::remove_file(&certificate.key_file).unwrap();
        assert!(watch.look().unwrap().is_err());
        files.write(&["c.example"]);
        assert!(watch.look().unwrap().is_ok());
    }

    /// A file without end is not read to its end.
    #[test]
    fn a_file_is_read_to_its_bound() {
        let files = CertificateFiles { chain_file: "/dev/zero".into(), key_file: "/dev/zero".into() };
        let error = Certificates::read(&[files]).unwrap_err();
        assert_eq!(error.to_string(), "/dev/zero: is longer than 1 MiB");
    }
}
