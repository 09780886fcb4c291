//! The handshake against clients that others wrote: their checks of S1, S2 and C2, not ours, decide.
//!
//! ffmpeg sends a digest and, when it plays, goes away if our signature is wrong; rtmpdump speaks the simple kind and warns of an S2
//! that is no echo; ffmpeg as a server warns of a C2 that is none. Each run here ends after the handshake.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use bytes::Bytes;
use inrush::rtmp::handshake::{ClientHandshake, Entropy, HandshakeKind, PACKET_BYTES, ServerHandshake};

/// How long a client may take for anything.
const PATIENCE: Duration = Duration::from_secs(20);

fn entropy() -> Box<Entropy> {
    let random = std::array::from_fn(|i| (i as u8).wrapping_mul(73).wrapping_add(5));
    Box::new(Entropy { time_ms: 0, random })
}

/// Debian's ffmpeg, and the static one of a later generation where `.ci/test` put it.
fn ffmpegs() -> Vec<String> {
    let later = concat!(env!("CARGO_TARGET_TMPDIR"), "/../imageio/ffmpeg");
    let mut found = vec!["ffmpeg".to_owned()];
    found.extend(std::fs::exists(later).unwrap().then(|| later.to_owned()));
    found
}

/// Starts a client with its complaints piped to us.
fn start(program: &str, arguments: &[&str]) -> Child {
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}; `.ci/test` installs it"))
}

/// Ends the client, and gives what it complained of.
fn end(mut child: Child) -> String {
    let _ = child.kill();
    let output = child.wait_with_output().unwrap();
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Serves one connection until the client has sent its `connect`: it does so only when it is content with S0, S1 and S2.
fn serve(listener: &TcpListener, client: &mut Child) -> Result<HandshakeKind, String> {
    let mut socket = accept(listener, client)?;
    let mut handshake = ServerHandshake::new(entropy());
    let mut rest: Option<Vec<u8>> = None;
    let mut buffer = [0; 4096];
    loop {
        let n = socket.read(&mut buffer).map_err(|error| error.to_string())?;
        match (&mut rest, n) {
            (_, 0) => return Err(format!("client went away, after {rest:?}")),
            (Some(rest), n) => rest.extend_from_slice(&buffer[..n]),
            (None, n) => {
                let progress = handshake.handle_bytes(Bytes::copy_from_slice(&buffer[..n])).unwrap();
                socket.write_all(&progress.send.unwrap_or_default()).unwrap();
                rest = progress.done.map(Into::into);
            }
        }
        if rest.as_ref().is_some_and(|rest| rest.windows(7).any(|window| window == b"connect")) {
            return Ok(handshake.kind().unwrap());
        }
    }
}

fn accept(listener: &TcpListener, client: &mut Child) -> Result<TcpStream, String> {
    listener.set_nonblocking(true).unwrap();
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until && client.try_wait().unwrap().is_none() {
        if let Ok((socket, _)) = listener.accept() {
            socket.set_nonblocking(false).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            return Ok(socket);
        }
        sleep(Duration::from_millis(10));
    }
    Err("client did not come".to_owned())
}

/// ffmpeg finds our digest in S1 and our signature in S2, and goes on to `connect`. It looks only when it plays.
#[test]
fn ffmpeg_accepts_the_digest_answer() {
    let source = ["-loglevel", "warning", "-f", "lavfi", "-i", "anullsrc", "-t", "1", "-f", "flv"];
    for (ffmpeg, publishes) in ffmpegs().iter().flat_map(|ffmpeg| [(ffmpeg, false), (ffmpeg, true)]) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("rtmp://{}/live/a", listener.local_addr().unwrap());
        let plays = ["-loglevel", "warning", "-i", &url, "-f", "null", "-"];
        let mut client =
            start(ffmpeg, &if publishes { [&source[..], &[&url]].concat() } else { plays.to_vec() });
        let served = serve(&listener, &mut client);
        let complaints = end(client);
        assert_eq!(served, Ok(HandshakeKind::Digest), "{ffmpeg}, publishes: {publishes}: {complaints}");
    }
}

/// rtmpdump gets back the C1 that it sent.
#[test]
fn rtmpdump_accepts_the_simple_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("rtmp://{}/live/a", listener.local_addr().unwrap());
    let mut client = start("rtmpdump", &["--live", "-r", &url, "-o", "/dev/null"]);
    let served = serve(&listener, &mut client);
    let complaints = end(client);
    assert_eq!(served, Ok(HandshakeKind::Simple), "{complaints}");
    assert!(!complaints.contains("signature does not match"), "{complaints}");
}

/// As a client, we answer ffmpeg's S1 with the echo that it looks for, whichever kind we offer.
#[test]
fn ffmpeg_as_a_server_accepts_our_answer() {
    for (ffmpeg, kind) in
        ffmpegs().iter().flat_map(|f| [(f, HandshakeKind::Simple), (f, HandshakeKind::Digest)])
    {
        // Free a moment ago; ffmpeg cannot be told to take any. On an address of its own, where no other test is given the port meanwhile.
        let address = TcpListener::bind("127.0.0.3:0").unwrap().local_addr().unwrap();
        let url = format!("rtmp://{address}/live/a");
        let mut server =
            start(ffmpeg, &["-loglevel", "warning", "-listen", "1", "-i", &url, "-f", "null", "-"]);
        let until = Instant::now() + PATIENCE;
        let mut socket = loop {
            match TcpStream::connect(address) {
                Ok(socket) => break socket,
                Err(_) if Instant::now() < until && server.try_wait().unwrap().is_none() => {
                    sleep(Duration::from_millis(20));
                }
                Err(error) => panic!("{ffmpeg} does not listen: {error}: {}", end(server)),
            }
        };
        socket.set_read_timeout(Some(PATIENCE)).unwrap();

        let mut client = ClientHandshake::new(entropy(), kind);
        socket.write_all(&client.start()).unwrap();
        let mut buffer = [0; 2 * PACKET_BYTES];
        loop {
            let n = socket.read(&mut buffer).unwrap();
            assert_ne!(n, 0, "{ffmpeg} went away: {}", end(server));
            let progress = client.handle_bytes(Bytes::copy_from_slice(&buffer[..n])).unwrap();
            socket.write_all(&progress.send.unwrap_or_default()).unwrap();
            if progress.done.is_some() {
                break;
            }
        }
        assert_eq!(client.is_verified(), Some(true), "{ffmpeg} did not echo our C1");
        // FIN: ffmpeg has read C2 by the time that it finds no command after it and ends.
        drop(socket);
        let until = Instant::now() + PATIENCE;
        while server.try_wait().unwrap().is_none() && Instant::now() < until {
            sleep(Duration::from_millis(10));
        }
        let complaints = end(server);
        assert!(!complaints.contains("C2") && !complaints.contains("C1"), "{ffmpeg}: {complaints}");
    }
}
