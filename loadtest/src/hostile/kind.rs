//! What hostile peers do, and how many do it.

use std::fmt;
use std::str::FromStr;

/// What a hostile peer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Writes bytes that mean nothing.
    Garbage,
    /// Connects, begins a handshake, and says no more.
    HalfOpen,
    /// A handshake at a byte a second.
    SlowHandshake,
    /// After the handshake, `connect` at a byte a second.
    SlowCommand,
    /// Plays a stream of the load and reads none of it.
    NeverReadingPlayer,
    /// Publishes and asks for answers, of which it reads none.
    NeverReadingPublisher,
    /// Publishes in chunks of one byte, as fast as it may.
    TinyChunks,
    /// Headers of empty messages, and nothing else.
    HeaderFlood,
    /// Another acknowledgement window in each message, a tiny one.
    AckFlood,
    /// Pings.
    PingFlood,
    /// Commands that want answers.
    CommandFlood,
    /// Two large messages that are never finished, before any publish.
    MemoryHog,
    /// Messages on as many chunk streams as there may be, none of which is finished.
    ReassemblyHog,
    /// Connects and cuts, again and again.
    Churn,
    /// Asks to publish a name that is taken, without its key, again and again.
    FailedPublish,
    /// A ClientHello, and nothing after it.
    TlsHello,
    /// Full TLS handshakes at a rate; not a peer but what `--tls-flood` makes.
    TlsFlood,
}

impl Kind {
    /// Those that `--hostile` can name.
    pub const ALL: [Self; 16] = [
        Self::Garbage,
        Self::HalfOpen,
        Self::SlowHandshake,
        Self::SlowCommand,
        Self::NeverReadingPlayer,
        Self::NeverReadingPublisher,
        Self::TinyChunks,
        Self::HeaderFlood,
        Self::AckFlood,
        Self::PingFlood,
        Self::CommandFlood,
        Self::MemoryHog,
        Self::ReassemblyHog,
        Self::Churn,
        Self::FailedPublish,
        Self::TlsHello,
    ];

    /// As on the command line and in the report.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Garbage => "garbage",
            Self::HalfOpen => "half-open",
            Self::SlowHandshake => "slow-handshake",
            Self::SlowCommand => "slow-command",
            Self::NeverReadingPlayer => "never-reading-player",
            Self::NeverReadingPublisher => "never-reading-publisher",
            Self::TinyChunks => "tiny-chunks",
            Self::HeaderFlood => "header-flood",
            Self::AckFlood => "ack-flood",
            Self::PingFlood => "ping-flood",
            Self::CommandFlood => "command-flood",
            Self::MemoryHog => "memory-hog",
            Self::ReassemblyHog => "reassembly-hog",
            Self::Churn => "churn",
            Self::FailedPublish => "failed-publish",
            Self::TlsHello => "tls-hello",
            Self::TlsFlood => "tls-flood",
        }
    }

    /// Whether it goes to the TLS port and speaks no RTMP there.
    pub fn is_of_tls(self) -> bool {
        matches!(self, Self::TlsHello | Self::TlsFlood)
    }

    /// Whether it speaks below TLS even where the load is secured.
    pub fn is_below_tls(self) -> bool {
        matches!(self, Self::Garbage | Self::HalfOpen | Self::Churn) || self.is_of_tls()
    }

    /// Whether it comes again at once, that being the point of it.
    pub fn is_restless(self) -> bool {
        matches!(self, Self::Churn | Self::FailedPublish)
    }
}

/// So many peers of one kind: `KIND=COUNT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Troop {
    /// What they do.
    pub kind: Kind,
    /// How many there are.
    pub count: u32,
}

/// Peers of a kind at most.
const COUNT_MAX: u32 = 100_000;

impl FromStr for Troop {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, count) = text.split_once('=').unwrap_or((text, ""));
        let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.name() == name) else {
            let names: Vec<_> = Kind::ALL.iter().map(|kind| kind.name()).collect();
            return Err(format!("no kind \"{name}\"; there are {}", names.join(", ")));
        };
        match count.parse() {
            Ok(count) if (1..=COUNT_MAX).contains(&count) => Ok(Self { kind, count }),
            _ => Err(format!("say how many, from 1 to {COUNT_MAX}, as {name}=50")),
        }
    }
}

impl fmt::Display for Troop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.kind.name(), self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn troops_are_read_and_shown_alike() {
        for kind in Kind::ALL {
            let text = format!("{}=50", kind.name());
            assert_eq!(text.parse(), Ok(Troop { kind, count: 50 }));
            assert_eq!(text.parse::<Troop>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_troop_says_what_is_allowed() {
        let error = |text: &str| text.parse::<Troop>().unwrap_err();
        assert!(error("slowloris=3").starts_with("no kind \"slowloris\"; there are garbage, half-open, "));
        assert!(error("tls-flood=3").starts_with("no kind"), "its option is another one");
        for text in ["garbage", "garbage=", "garbage=0", "garbage=-1", "garbage=100001", "garbage=0.5"] {
            assert_eq!(error(text), "say how many, from 1 to 100000, as garbage=50", "{text}");
        }
    }
}
