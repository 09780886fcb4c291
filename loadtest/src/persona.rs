//! Peers that mean no good, beside the load: what a server must bear without its other peers noticing.
//!
//! They are opened in the same ramp, after the others. The server ends them, or else they stay to the end of the run;
//! neither is an error, and [`Counts::hostile_ended`](crate::report::Counts) tells how many it ended.

use std::fmt;
use std::io;
use std::str::FromStr;

use tokio::net::TcpStream;

use crate::clock::now_us;

/// What a hostile peer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persona {
    /// Writes bytes that mean nothing.
    Garbage,
    /// Connects, begins a handshake, and says no more.
    HalfOpen,
}

impl Persona {
    const ALL: [Self; 2] = [Self::Garbage, Self::HalfOpen];

    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Garbage => "garbage",
            Self::HalfOpen => "half-open",
        }
    }

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

/// How many of one kind there are for each connection of the load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    /// The kind.
    pub persona: Persona,
    /// 0 to 1.
    pub share: f64,
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || "NAME=SHARE, as garbage=0.05; names are garbage and half-open, shares 0 to 1".to_owned();
        let (name, share) = text.split_once('=').ok_or_else(wrong)?;
        let persona = Persona::ALL.into_iter().find(|persona| persona.name() == name).ok_or_else(wrong)?;
        let share = share.parse().ok().filter(|share| (0.0..=1.0).contains(share)).ok_or_else(wrong)?;
        Ok(Self { persona, share })
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.persona.name(), self.share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read_and_shown_alike() {
        for text in ["garbage=0.05", "half-open=1"] {
            assert_eq!(text.parse::<Share>().unwrap().to_string(), text);
        }
        for text in ["", "garbage", "garbage=", "garbage=2", "garbage=NaN", "kind=0.1"] {
            assert!(text.parse::<Share>().is_err(), "{text}");
        }
    }
}
