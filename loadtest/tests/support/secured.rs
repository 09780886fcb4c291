//! A front that speaks TLS and hands on what is in it: RTMPS for a server that has none, and a witness of what the harness does.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{HandshakeKind, ProtocolVersion, ServerConfig, ServerConnection};

use super::Scratch;

/// Whose certificate it shows, beside `127.0.0.1` and `localhost`.
pub const NAME: &str = "edge.example";

/// A handshake as the front saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// Whether it resumed an earlier one.
    pub resumed: bool,
    /// SNI.
    pub name: Option<String>,
    /// The version.
    pub version: Option<ProtocolVersion>,
}

/// A running front.
pub struct Secured {
    address: SocketAddr,
    certificate: Scratch,
    shared: Arc<Shared>,
    listening: Option<JoinHandle<()>>,
}

struct Shared {
    server: SocketAddr,
    config: Arc<ServerConfig>,
    handshakes: Mutex<Vec<Handshake>>,
    stop: AtomicBool,
}

impl Secured {
    /// In front of `server`, on a port of its own, in TLS 1.3 and 1.2.
    pub fn start(server: SocketAddr) -> Self {
        Self::start_with(server, rustls::ALL_VERSIONS)
    }

    /// The same in these versions.
    pub fn start_with(server: SocketAddr, versions: &[&'static rustls::SupportedProtocolVersion]) -> Self {
        let names = [NAME, "localhost", "127.0.0.1"].map(str::to_owned).to_vec();
        let made = rcgen::generate_simple_self_signed(names).expect("make a certificate");
        let certificate = Scratch::new("certificate.pem");
        std::fs::write(certificate.path(), made.cert.pem()).expect("write a certificate");
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("the provider has cipher suites of these versions")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("the key is the certificate's");
        config.ticketer = rustls::crypto::ring::Ticketer::new().expect("make a key for tickets");
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind a port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            server,
            config: Arc::new(config),
            handshakes: Mutex::default(),
            stop: AtomicBool::new(false),
        });
        let accepting = shared.clone();
        let listening = Some(thread::spawn(move || accepting.listen(&listener)));
        Self { address, certificate, shared, listening }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of a stream, or a pattern of them.
    pub fn url(&self, name: &str) -> String {
        format!("rtmps://{}/live/{name}", self.address)
    }

    /// The file with its certificate, for `--tls-ca`.
    pub fn certificate(&self) -> &str {
        let path: &Path = self.certificate.path();
        path.to_str().expect("a path of ours is text")
    }

    /// The handshakes that were done so far.
    pub fn handshakes(&self) -> Vec<Handshake> {
        self.shared.handshakes.lock().expect("no thread panicked over it").clone()
    }
}

impl Drop for Secured {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        // Wakes `accept`.
        let _ = TcpStream::connect(self.address);
        if let Some(listening) = self.listening.take() {
            let joined = listening.join();
            assert!(joined.is_ok() || thread::panicking(), "the front panicked");
        }
    }
}

impl Shared {
    fn listen(self: Arc<Self>, listener: &TcpListener) {
        for client in listener.incoming() {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            let client = client.expect("accept a connection");
            let shared = self.clone();
            // It ends when the harness's does. What breaks is the harness's to tell.
            thread::spawn(move || shared.serve(&client));
        }
    }

    /// One connection to its end, whichever side ends it.
    fn serve(&self, client: &TcpStream) -> Option<()> {
        client.set_nodelay(true).ok()?;
        let mut tls = ServerConnection::new(self.config.clone()).ok()?;
        tls.set_buffer_limit(None);
        while tls.is_handshaking() {
            tls.complete_io(&mut &*client).ok()?;
        }
        self.handshakes.lock().expect("no thread panicked over it").push(Handshake {
            resumed: tls.handshake_kind() == Some(HandshakeKind::Resumed),
            name: tls.server_name().map(str::to_owned),
            version: tls.protocol_version(),
        });
        let server = TcpStream::connect(self.server).ok()?;
        server.set_nodelay(true).ok()?;
        let tls = Mutex::new(tls);
        let end = || {
            // Whoever is left reading or writing on either of them ends with this.
            let _ = (client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
        };
        thread::scope(|scope| {
            scope.spawn(|| {
                let _ = inward(client, &server, &tls);
                let _ = server.shutdown(Shutdown::Write);
            });
            scope.spawn(|| {
                let _ = outward(client, &server, &tls);
                end();
            });
        });
        Some(())
    }
}

fn held(tls: &Mutex<ServerConnection>) -> MutexGuard<'_, ServerConnection> {
    tls.lock().expect("no thread panicked over it")
}

/// From the harness to the server.
fn inward(
    mut client: &TcpStream,
    mut server: &TcpStream,
    tls: &Mutex<ServerConnection>,
) -> std::io::Result<()> {
    let (mut buffer, mut plain) = ([0; 16 * 1024], Vec::new());
    loop {
        // What came with the handshake's last bytes is there already.
        {
            let mut tls = held(tls);
            match tls.reader().read_to_end(&mut plain) {
                Ok(_) => return server.write_all(&plain),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        server.write_all(&plain)?;
        plain.clear();
        let read = client.read(&mut buffer)?;
        let mut network = &buffer[..read];
        if network.is_empty() {
            return Ok(());
        }
        let mut tls = held(tls);
        while !network.is_empty() {
            tls.read_tls(&mut network)?;
            tls.process_new_packets().map_err(std::io::Error::other)?;
            match tls.reader().read_to_end(&mut plain) {
                Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
        }
    }
}

/// From the server to the harness.
fn outward(
    mut client: &TcpStream,
    mut server: &TcpStream,
    tls: &Mutex<ServerConnection>,
) -> std::io::Result<()> {
    let mut buffer = [0; 64 * 1024];
    loop {
        let read = server.read(&mut buffer)?;
        let mut tls = held(tls);
        match read {
            0 => tls.send_close_notify(),
            _ => tls.writer().write_all(&buffer[..read])?,
        }
        while tls.wants_write() {
            tls.write_tls(&mut client)?;
        }
        if read == 0 {
            return Ok(());
        }
    }
}
