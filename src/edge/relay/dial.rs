//! From a URL to a connected socket: the name, the addresses, the TLS handshake, each within its time.
//!
//! What comes out is given to a core. A target that hangs somewhere hangs here, on the edge's thread, where it costs a timer.
//! # Bounds
//! A step's time is the target's `step_ms_max`; how many dials there are at a time is [`super::places`]'. A handshake holds what [`Tls`] does, and its bytes.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::failure::Failure;
use super::life::Step;
use super::race::Race;
use super::reach;
use super::resolver::Resolver;
use crate::runtime::tls::{self, Shaken, Tls};
use crate::runtime::traffic::Traffic;
use crate::session::{ClientUrl, CloseReason, Instant};

/// What a handshake reads at a time, bytes: a flight is 3 to 5 kB.
const READ_BYTES: usize = 4 * 1024;

/// What became of a dial.
pub struct Connected {
    /// Blocking, as the cores' operations want it.
    pub socket: OwnedFd,
    /// The far end.
    pub peer: SocketAddr,
    /// TLS with its handshake done, where it is spoken.
    pub tls: Option<Tls>,
    /// What came behind the handshake.
    pub received: BytesMut,
}

/// On which terms a place is connected to.
#[derive(Clone, Debug)]
pub struct Terms {
    /// To public addresses alone.
    pub public_only: bool,
    /// How long each step may take.
    pub step_max: Duration,
    /// What the connection has, from its first packet on.
    pub traffic: Traffic,
}

/// Connects to where a URL says. `on_step` hears of each step as it begins, the first one apart.
///
/// # Errors
/// Whatever step fails, or takes longer than `step_max`.
pub async fn dial(
    resolver: &Resolver,
    url: &ClientUrl,
    trust: Option<&Arc<ClientConfig>>,
    terms: &Terms,
    now: impl Fn() -> Instant,
    mut on_step: impl FnMut(Step),
) -> Result<Connected, Failure> {
    let Terms { public_only, step_max, ref traffic } = *terms;
    let mut addresses = resolver.addresses(&url.host, step_max).await?;
    if public_only {
        addresses.retain(|address| !reach::is_near(*address));
        if addresses.is_empty() {
            return Err(Failure::NotPublic);
        }
    }
    on_step(Step::Connecting);
    let addresses = addresses.into_iter().map(|address| SocketAddr::new(address, url.port));
    let race = Race::new(now(), addresses);
    let (socket, peer) =
        timeout(step_max, connect(race, traffic, &now)).await.map_err(|_| Failure::ConnectTimeout)??;
    socket.set_nodelay(true).map_err(|error| Failure::Connect(error.kind()))?;
    let mut received = BytesMut::new();
    let mut tls = None;
    if url.tls {
        on_step(Step::Securing);
        let config = trust.ok_or(Failure::Tls("there are no certificates to trust"))?;
        let shaken = shake(&socket, &url.host, config, &mut received, now());
        tls = Some(timeout(step_max, shaken).await.map_err(|_| Failure::TlsTimeout)??);
    }
    let socket = socket.into_std().map_err(|error| Failure::Connect(error.kind()))?;
    // On a socket that does not block, an operation of the ring comes back at once in place of waiting.
    socket.set_nonblocking(false).map_err(|error| Failure::Connect(error.kind()))?;
    Ok(Connected { socket: socket.into(), peer, tls, received })
}

/// Connects to the first address that answers; the others are closed.
async fn connect(
    mut race: Race,
    traffic: &Traffic,
    now: impl Fn() -> Instant,
) -> Result<(TcpStream, SocketAddr), Failure> {
    let mut attempts = JoinSet::new();
    let mut last = std::io::ErrorKind::AddrNotAvailable;
    loop {
        while let Some(address) = race.poll(now()) {
            let traffic = traffic.clone();
            attempts.spawn(async move { (attempt(address, &traffic).await, address) });
        }
        if race.is_lost() {
            return Err(Failure::Connect(last));
        }
        let pause = race.next_at().map_or(Duration::MAX, |at| at - now());
        tokio::select! {
            Some(ended) = attempts.join_next() => match ended {
                Ok((Ok(socket), address)) => return Ok((socket, address)),
                Ok((Err(error), _)) => {
                    last = error.kind();
                    race.handle_failed(now());
                }
                // None panics, and all are ended with the set alone.
                Err(_) => race.handle_failed(now()),
            },
            () = tokio::time::sleep(pause) => {}
        }
    }
}

async fn attempt(address: SocketAddr, traffic: &Traffic) -> std::io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    traffic.apply(&socket)?;
    socket.connect(address).await
}

/// The handshake, record by record.
async fn shake(
    socket: &TcpStream,
    host: &str,
    config: &Arc<ClientConfig>,
    received: &mut BytesMut,
    now: Instant,
) -> Result<Tls, Failure> {
    let name =
        ServerName::try_from(host.to_owned()).map_err(|_| Failure::Tls("the host is no name for TLS"))?;
    let mut tls = Tls::client(Arc::clone(config), name, now).map_err(|failure| refused(&failure))?;
    loop {
        send(socket, &tls.take_ready()).await?;
        match tls.shake(received) {
            Ok(Shaken::Done) => {
                send(socket, &tls.take_ready()).await?;
                return Ok(tls);
            }
            Ok(Shaken::Goes) => {}
            Err(failure) => {
                // It is owed the alert; whether it gets it changes nothing here.
                let _ = send(socket, &tls.take_ready()).await;
                return Err(refused(&failure));
            }
        }
        if !tls.is_ready() && !tls.has_step(received).map_err(|failure| refused(&failure))? {
            read(socket, received).await?;
        }
    }
}

async fn send(socket: &TcpStream, mut bytes: &[u8]) -> Result<(), Failure> {
    while !bytes.is_empty() {
        socket.writable().await.map_err(lost)?;
        match socket.try_write(bytes) {
            Ok(sent) => bytes = bytes.get(sent..).unwrap_or_default(),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(lost(error)),
        }
    }
    Ok(())
}

async fn read(socket: &TcpStream, received: &mut BytesMut) -> Result<(), Failure> {
    let mut buffer = [0; READ_BYTES];
    loop {
        socket.readable().await.map_err(lost)?;
        match socket.try_read(&mut buffer) {
            Ok(0) => return Err(Failure::Tls("it closed in the handshake")),
            Ok(read) => {
                received.extend_from_slice(buffer.get(..read).unwrap_or_default());
                return Ok(());
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(lost(error)),
        }
    }
}

fn lost(_: std::io::Error) -> Failure {
    Failure::Tls("the connection was lost in the handshake")
}

/// What a failed handshake says about the target.
fn refused(failure: &tls::Failure) -> Failure {
    match &failure.reason {
        CloseReason::Error(error) => Failure::Handshake(*error),
        _ => Failure::Tls("the handshake failed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By address and by name; the same address is connected to where that is allowed.
    #[test]
    fn a_private_address_is_dialed_only_where_it_may_be() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let resolver = Resolver::for_redirects();
            for (host, public_only, failure) in [
                ("127.0.0.1", true, Some(Failure::NotPublic)),
                ("localhost", true, Some(Failure::NotPublic)),
                ("127.0.0.1", false, None),
            ] {
                let url = ClientUrl::parse(&format!("rtmp://{host}:{port}/a/b")).unwrap();
                let patience = Duration::from_secs(20);
                let traffic = Traffic { congestion: "reno".into(), dscp: 46 };
                let terms = Terms { public_only, step_max: patience, traffic };
                let outcome = dial(&resolver, &url, None, &terms, Instant::default, |_| {}).await;
                if let Ok(connected) = &outcome {
                    let in_use = Traffic::in_use(&connected.socket).map(|it| (it.congestion, it.dscp));
                    assert_eq!(in_use, Some(("reno".into(), 46)));
                }
                assert_eq!(outcome.err(), failure, "{host}");
            }
        });
    }
}
