//! RTMPS: what all connections of a run share, and [`session`] for what each has of its own.
//!
//! # Invariant
//! Verification is the default: a certificate that does not lead to a known root, or is of another host, ends the connection.
//! # Errors
//! [`BadInput`] before any load; afterwards what rustls says, in its words.

pub mod session;
mod tickets;
mod trust;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use inrush::session::ClientUrl;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};

use crate::cli::Load;
use crate::input::BadInput;
use tickets::Tickets;
use trust::AnyCertificate;

/// What the command line says of TLS.
#[derive(Clone, Debug, PartialEq)]
pub struct TlsOptions {
    /// `--tls-insecure`
    pub insecure: bool,
    /// `--tls-ca`
    pub ca: Option<PathBuf>,
    /// `--tls-server-name`
    pub server_name: Option<String>,
    /// `--tls-resume`, 0 to 1.
    pub resume: f64,
}

/// How connections of a run are secured.
#[derive(Debug)]
pub struct Tls {
    /// With a store of tickets, which it shares with nobody else.
    resuming: Arc<ClientConfig>,
    /// Without.
    fresh: Arc<ClientConfig>,
    name: ServerName<'static>,
    /// Share of connections that may resume.
    resume: f64,
    /// Number of the next connection.
    next: AtomicU64,
}

/// How one connection is secured.
#[derive(Clone, Debug)]
pub struct Secured {
    /// Of rustls.
    pub config: Arc<ClientConfig>,
    /// Whose certificate is wanted; a name is sent as SNI.
    pub name: ServerName<'static>,
}

impl Tls {
    /// As the command line says for a URL that begins with `rtmps`.
    pub fn new(options: &TlsOptions, host: &str) -> Result<Self, BadInput> {
        let (option, name) = match &options.server_name {
            Some(name) => ("--tls-server-name", name.as_str()),
            None => ("--url", host),
        };
        let bad_name = || BadInput::ServerName { option, name: name.to_owned() };
        let name = ServerName::try_from(name.to_owned()).map_err(|_| bad_name())?;
        let fresh = match (options.insecure, &options.ca) {
            (true, _) => any_certificate(AnyCertificate::signed()),
            (false, ca) => {
                let roots = match ca {
                    Some(file) => {
                        let bad = |why| BadInput::Ca(file.display().to_string(), why);
                        trust::roots_of(file).map_err(bad)?
                    }
                    None => RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() },
                };
                builder().with_root_certificates(roots).with_no_client_auth()
            }
        };
        let mut resuming = fresh.clone();
        resuming.resumption = Resumption::store(Arc::new(Tickets::default()));
        Ok(Self {
            resuming: Arc::new(resuming),
            fresh: Arc::new(without_resumption(fresh)),
            name,
            resume: options.resume,
            next: AtomicU64::new(0),
        })
    }

    /// For the next connection. Those that may resume are spread evenly; whether one does is the server's to say, and needs a ticket of
    /// an earlier connection, whosever.
    pub fn next(&self) -> Secured {
        let number = self.next.fetch_add(1, Ordering::Relaxed) as f64;
        let resumes = ((number + 1.0) * self.resume).floor() > (number * self.resume).floor();
        let config = if resumes { &self.resuming } else { &self.fresh };
        Secured { config: config.clone(), name: self.name.clone() }
    }
}

/// For hostile peers: nothing is verified, since that is the price of the honest, and nothing is resumed, since that is cheap for the
/// server.
pub fn careless(name: ServerName<'static>) -> Secured {
    let config = without_resumption(any_certificate(AnyCertificate::unseen()));
    Secured { config: Arc::new(config), name }
}

/// What is refused of the options, seen without a network.
pub fn check(load: &Load, url: &ClientUrl) -> Result<(), BadInput> {
    if url.tls {
        return Ok(());
    }
    let given = [
        ("--tls-insecure", load.tls_insecure),
        ("--tls-ca", load.tls_ca.is_some()),
        ("--tls-server-name", load.tls_server_name.is_some()),
        ("--tls-resume", load.tls_resume.is_some()),
    ];
    match given.into_iter().find(|(_, given)| *given) {
        Some((option, _)) => Err(BadInput::Plain(option)),
        None => Ok(()),
    }
}

/// The name that hostile TLS goes by where no other is known.
pub fn name_of(address: SocketAddr) -> ServerName<'static> {
    ServerName::IpAddress(address.ip().into())
}

fn builder() -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has cipher suites of both versions")
}

fn any_certificate(verifier: AnyCertificate) -> ClientConfig {
    builder().dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth()
}

fn without_resumption(mut config: ClientConfig) -> ClientConfig {
    config.resumption = Resumption::disabled();
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(resume: f64) -> TlsOptions {
        TlsOptions { insecure: true, ca: None, server_name: None, resume }
    }

    #[test]
    fn the_share_that_may_resume_is_spread_evenly() {
        for (resume, wanted) in [(0.0, 0), (0.25, 25), (0.5, 50), (1.0, 100)] {
            let tls = Tls::new(&options(resume), "localhost").unwrap();
            let may: Vec<_> = (0..100).map(|_| Arc::ptr_eq(&tls.next().config, &tls.resuming)).collect();
            assert_eq!(may.iter().filter(|may| **may).count(), wanted, "{resume}");
            for ten in may.chunks(10) {
                let count = ten.iter().filter(|may| **may).count();
                assert!(count.abs_diff(wanted / 10) <= 1, "{resume}: {count}");
            }
        }
    }

    #[test]
    fn the_name_is_the_host_or_what_is_said() {
        for (host, server_name, wanted) in [
            ("edge.example", None, "edge.example"),
            ("127.0.0.1", None, "127.0.0.1"),
            ("::1", None, "::1"),
            ("127.0.0.1", Some("edge.example"), "edge.example"),
        ] {
            let options = TlsOptions { server_name: server_name.map(str::to_owned), ..options(1.0) };
            assert_eq!(Tls::new(&options, host).unwrap().next().name.to_str(), wanted);
        }
        let bad = TlsOptions { server_name: Some("no name".to_owned()), ..options(1.0) };
        let told = Tls::new(&bad, "h").unwrap_err().to_string();
        assert_eq!(told, "--tls-server-name: \"no name\" is no name of a host and no address");
    }
}
