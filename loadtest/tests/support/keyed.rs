//! A server that lets in publishers who know the key, and says no to all others. It plays nothing to anybody.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use bytes::Bytes;
use inrush::rtmp::handshake::Entropy;
use inrush::session::{Event, Instant, Output, Rejection, ServerSession, ServerSettings};
use inrush_loadtest::clock::now_us;

/// What the query must hold.
pub const KEY: &str = "key=right";

/// Listens on a port of its own until the test's process ends.
pub fn start() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind a port");
    let address = listener.local_addr().expect("a bound socket has an address");
    thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            // A connection that breaks is the harness's to tell.
            thread::spawn(move || serve(socket));
        }
    });
    address
}

fn now() -> Instant {
    Instant::from_micros(now_us())
}

fn serve(mut socket: TcpStream) -> std::io::Result<()> {
    let entropy = Box::new(Entropy { time_ms: now().as_millis() as u32, random: [7; 1528] });
    let mut session = ServerSession::new(now(), Arc::new(ServerSettings::default()), entropy);
    let mut buffer = vec![0; 65536];
    loop {
        let read = socket.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        session.handle_bytes(now(), Bytes::copy_from_slice(&buffer[..read]));
        while let Some(output) = session.poll_output() {
            match output {
                Output::Send(bytes) => socket.write_all(&bytes)?,
                Output::Event(Event::PublishRequested(publish)) => {
                    if publish.address.params.split('&').any(|param| param == KEY) {
                        session.accept_publish(now(), publish.request);
                    } else {
                        session.reject(now(), publish.request, Rejection::publish_denied("wrong key"));
                    }
                }
                Output::Event(Event::PlayRequested(play)) => {
                    session.reject(now(), play.request, Rejection::play_denied("nothing is played here"));
                }
                Output::Event(Event::Closed { .. }) => return socket.shutdown(std::net::Shutdown::Write),
                Output::Event(_) | Output::Timeout(_) | Output::Progress => {}
            }
        }
    }
}
