//! TLS for test clients and certificates for servers: rustls's own client over a blocking socket, and `rcgen`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;

use inrush::runtime::tls::anybody::Anybody;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, StreamOwned, SupportedProtocolVersion};

use super::{PATIENCE, scratch_file};

/// A certificate in two files, which go with it.
pub struct Certificate {
    /// The certificate, PEM.
    pub chain_file: PathBuf,
    /// Its key, PEM.
    pub key_file: PathBuf,
}

impl Certificate {
    /// A new one for these names, signed by itself.
    pub fn new(names: &[&str]) -> Self {
        let certificate = Self { chain_file: scratch_file("chain.pem"), key_file: scratch_file("key.pem") };
        certificate.renew(names);
        certificate
    }

    /// Puts another certificate and key in the place of these, as a renewal does: each file whole, by a rename.
    pub fn renew(&self, names: &[&str]) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).expect("make a certificate");
        for (file, text) in
            [(&self.chain_file, made.cert.pem()), (&self.key_file, made.signing_key.serialize_pem())]
        {
            let new = file.with_extension("new");
            std::fs::write(&new, text).expect("write a certificate");
            std::fs::rename(&new, file).expect("put a certificate in place");
        }
    }

    /// The table of a configuration file that names it.
    pub fn table(&self) -> String {
        let (chain, key) = (self.chain_file.display(), self.key_file.display());
        format!("[[certificate]]\nchain_file = \"{chain}\"\nkey_file = \"{key}\"\n")
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.chain_file);
        let _ = std::fs::remove_file(&self.key_file);
    }
}

/// How a test client speaks TLS: it believes every certificate, and goes on with sessions of before.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ClientConfig>,
    name: String,
}

impl Tls {
    /// TLS 1.2 and 1.3.
    pub fn new() -> Self {
        Self::with_versions(rustls::ALL_VERSIONS)
    }

    /// These versions alone.
    pub fn with_versions(versions: &[&'static SupportedProtocolVersion]) -> Self {
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .expect("versions that there are")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody::new()))
            .with_no_client_auth();
        Self { config: Arc::new(config), name: "localhost".to_owned() }
    }

    /// Asks for this name.
    pub fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// What rustls is told.
    pub fn config(&self) -> Arc<ClientConfig> {
        self.config.clone()
    }

    /// Connects, and shakes hands.
    #[track_caller]
    pub fn connect(&self, address: SocketAddr) -> Transport {
        let socket =
            TcpStream::connect(address).unwrap_or_else(|error| panic!("connect to {address}: {error}"));
        self.over(socket)
    }

    /// Begins a handshake: says the first word and waits for no answer.
    #[track_caller]
    pub fn begin(&self, mut socket: TcpStream) {
        self.connection().write_tls(&mut socket).expect("send a ClientHello");
    }

    #[track_caller]
    fn connection(&self) -> ClientConnection {
        let name = ServerName::try_from(self.name.clone()).expect("a name");
        ClientConnection::new(self.config.clone(), name).expect("a TLS client")
    }

    /// Shakes hands over a socket that is connected already.
    #[track_caller]
    pub fn over(&self, mut socket: TcpStream) -> Transport {
        socket.set_read_timeout(Some(PATIENCE)).expect("set a timeout");
        let mut connection = self.connection();
        while connection.is_handshaking() {
            connection.complete_io(&mut socket).expect("shake hands");
        }
        Transport::Tls(Box::new(StreamOwned::new(connection, socket)))
    }
}

impl Default for Tls {
    fn default() -> Self {
        Self::new()
    }
}

/// What a client writes to and reads from.
pub enum Transport {
    /// TCP alone.
    Plain(TcpStream),
    /// TLS over it.
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Transport {
    /// The socket below.
    pub fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => &stream.sock,
        }
    }

    /// The certificate that the server has shown.
    #[track_caller]
    pub fn certificate(&self) -> CertificateDer<'static> {
        let Self::Tls(stream) = self else { panic!("not over TLS") };
        stream.conn.peer_certificates().expect("a certificate")[0].clone().into_owned()
    }

    /// Says that no more is sent, as TLS and TCP do.
    pub fn shut_write(&mut self) {
        if let Self::Tls(stream) = self {
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
        self.socket().shutdown(std::net::Shutdown::Write).expect("shut the write side");
    }
}

impl Read for Transport {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Transport {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}
