//! Peers that mean no good, beside the load: what a server must bear without its other peers noticing.
//!
//! They are opened in the same ramp, after the others. The server ends them, or else they stay to the end of the run;
//! neither is an error, and [`Counts::hostile_ended`](crate::report::Counts) tells how many it ended.

use std::io;

use tokio::net::TcpStream;

use crate::clock::now_us;

/// What a hostile peer does below RTMP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hostility {
    /// Writes bytes that mean nothing.
    Garbage,
    /// Connects, begins a handshake, and says no more.
    HalfOpen,
}

impl Hostility {
    /// Plays the part until the server ends it.
    pub async fn play(self, socket: &TcpStream) -> io::Result<()> {
        let mut random = now_us() | 1;
        let mut word = move || {
            // xorshift64
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random.to_be_bytes()
        };
        match self {
            Self::Garbage => {
                let mut bytes: Vec<u8> = std::iter::repeat_with(&mut word).take(1_024).flatten().collect();
                bytes[0] = b'G'; // never the version of a handshake by chance
                let mut left = &bytes[..];
                while !left.is_empty() {
                    socket.writable().await?;
                    match socket.try_write(left) {
                        Ok(written) => left = &left[written..],
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        Err(error) => return Err(error),
                    }
                }
            }
            Self::HalfOpen => {
                // The version, and the first bytes of C1. A new socket has room for them.
                socket.writable().await?;
                socket.try_write(&[3, 0, 0, 0, 0])?;
            }
        }
        let mut buffer = [0; 4096];
        loop {
            socket.readable().await?;
            match socket.try_read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
}
