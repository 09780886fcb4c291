//! The command line.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use ipnet::IpNet;

use crate::hostile::kind::Troop;
use crate::media::codec::{Audio, Mix, Video};
use crate::media::layout::{Multitrack, TrackCount};
use crate::pace::Pace;
use crate::persona::share::Share;
use crate::report::Threshold;

/// Behind the options of what makes a load.
const PERSONAS: &str = "\
Personas (--persona NAME=SHARE, SHARE from 0 to 1; the rest is steady; times in seconds):
  slow-link:RATE       reads and writes at most RATE bits a second: slow-link:500k=0.1
  stalling:S           a player that reads for S, stops reading for S, and so on; takes no publishers
  reconnecting:S       cuts its connection without a goodbye every S, each at another time, and comes back at once
  storm:S              the same, all of the share at one moment
  churning:STAY/AWAY   says goodbye STAY after it was accepted and returns AWAY later; 0/0 for sessions a second
  one-byte             a publisher that writes one byte at a time; takes no players
publish.NAME=SHARE and play.NAME=SHARE take only publishers, or only players, of these. Beside the load come:
  half-open, garbage   half a handshake, and bytes without meaning
  wrong-key:QUERY      a publish of a name that nobody uses, with QUERY for the URL's query: it should be refused

Hostile peers (--hostile KIND=COUNT, not part of the verdict; each comes again when the server has ended its connection):
  garbage, half-open   bytes without meaning, and half a handshake
  slow-handshake       a handshake at a byte a second
  slow-command         after the handshake, connect at a byte a second
  never-reading-player, never-reading-publisher
  tiny-chunks          a publisher of chunks of one byte
  header-flood, ack-flood, ping-flood, command-flood
                       empty messages, acknowledgement windows, pings, commands, as fast as they may, after connect
  memory-hog           two messages of 7 MiB before any publish, each sent up to its last byte
  reassembly-hog       unfinished messages on 51 chunk streams
  churn                connects and cuts
  failed-publish       asks for a name that is taken, again and again
  tls-hello            a ClientHello, and nothing after it";

/// Load for RTMP servers, and what they make of it.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Open loop: each message is due at a time that depends on nothing the server does, and its latency counts from there.\n\
                  Exit codes: 0 done, 1 a condition of --fail-if held, or there is one and the run is not valid, or the server died while it ran, \
                  2 nothing could be started."
)]
pub struct CommandLine {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Publish only
    #[command(after_help = PERSONAS)]
    Publish(Load),
    /// Play only what another process publishes
    #[command(after_help = PERSONAS)]
    Play(Load),
    /// Publish, and play what is published
    #[command(after_help = PERSONAS)]
    Mixed(Load),
    /// Put runs side by side, with their ratios to the first
    Compare {
        /// What --json wrote
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// As a Markdown table
        #[arg(long)]
        markdown: bool,
    },
    /// Measure inrush against nginx-rtmp and a bare sink: the whole table (benches/peers.sh builds what it needs)
    Peers(crate::peers::Options),
}

/// The load.
#[derive(Args, Debug)]
pub struct Load {
    /// Server and stream, {i} for the number of the stream: rtmp://host/app/name{i}
    #[arg(long)]
    pub url: String,
    /// Publishers, one a stream
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub publishers: u32,
    /// Players, spread over the streams
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub players: u32,
    /// Take --players as players of each stream
    #[arg(long)]
    pub per_stream: bool,
    /// Connections opened a second; 0 for all at once
    #[arg(long, value_name = "RATE", default_value_t = 500.0, value_parser = rate)]
    pub ramp: f64,
    /// How long to measure, seconds
    #[arg(long, value_name = "S", default_value = "10", value_parser = seconds)]
    pub duration: Duration,
    /// How long to wait after the last connection before anything is measured, seconds
    #[arg(long, value_name = "S", default_value = "3", value_parser = seconds)]
    pub warmup: Duration,
    /// Publish this file, again and again, in place of synthetic H.264 and AAC
    #[arg(long, value_name = "FILE")]
    pub flv: Option<PathBuf>,
    /// Synthetic media: bits a second
    #[arg(long, value_name = "BPS", default_value = "3M", value_parser = bits)]
    pub bitrate: u64,
    /// Synthetic media: video frames a second
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub fps: u32,
    /// Synthetic media: video frames from key frame to key frame [default: 2 s]
    #[arg(long, value_name = "FRAMES", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub gop: Option<u32>,
    /// Synthetic media: seed
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Synthetic media: video codecs, each of so many publishers: avc=70,hevc=20,av1=10. There are avc, enhanced-avc, hevc, legacy-hevc,
    /// av1, vp8, vp9, vvc
    #[arg(long, value_name = "MIX", default_value = "avc", conflicts_with = "flv")]
    pub codec: Mix<Video>,
    /// Synthetic media: audio codecs: aac, enhanced-aac, opus, flac, ac3, eac3, mp3, enhanced-mp3
    #[arg(long, value_name = "MIX", default_value = "aac", conflicts_with = "flv")]
    pub audio: Mix<Audio>,
    /// Synthetic media: video and audio tracks of each stream, as 2:3
    #[arg(long, value_name = "VIDEO:AUDIO", default_value = "1:1", conflicts_with = "flv")]
    pub tracks: TrackCount,
    /// Synthetic media: how tracks lie in messages [default: one, with several tracks]
    #[arg(long, value_name = "HOW", conflicts_with = "flv")]
    pub multitrack: Option<Multitrack>,
    /// Share of the players of streams with tracks that say they take several; the rest says nothing of Enhanced RTMP
    #[arg(long, value_name = "SHARE", default_value_t = 1.0, value_parser = share)]
    pub player_multitrack: f64,
    /// How bytes are spread over time: frame (each message at its time), wan (segments of 1448 bytes, evenly), burst:MS
    #[arg(long, default_value = "frame")]
    pub pacing: Pace,
    /// Chunk size of publishers, bytes
    #[arg(long, value_name = "BYTES", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=0xff_ffff))]
    pub chunk_size: u32,
    /// First timestamp of each stream, milliseconds
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub timestamp_start: u32,
    /// Threads that make the load
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: u16,
    /// CPUs to pin them to, in turn: 1,2 or 4-7
    #[arg(long, value_name = "LIST", value_parser = cpus)]
    pub cpus: Option<Cpus>,
    /// How a share of the peers behaves, as storm:10=0.1; repeatable, see below
    #[arg(long, value_name = "NAME[:PARAMETER]=SHARE")]
    pub persona: Vec<Share>,
    /// Where connections come from, in turn, for more than one address has ports for: 127.0.0.2-127.0.0.20 or a,b
    #[arg(long, value_name = "LIST", value_parser = sources)]
    pub source: Option<Sources>,
    /// RTMPS: accept any certificate
    #[arg(long, conflicts_with = "tls_ca")]
    pub tls_insecure: bool,
    /// RTMPS: certificates to trust, PEM [default: those that web browsers trust]
    #[arg(long, value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,
    /// RTMPS: whose certificate is wanted, and sent as SNI [default: the URL's host]
    #[arg(long, value_name = "NAME")]
    pub tls_server_name: Option<String>,
    /// RTMPS: share of connections that may resume an earlier one's session [default: 1]
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub tls_resume: Option<f64>,
    /// Hostile peers beside the load, as garbage=10,half-open=50; see below
    #[arg(long, value_name = "KIND=COUNT", value_delimiter = ',')]
    pub hostile: Vec<Troop>,
    /// Prefixes whose addresses hostile peers come from: 127.1.0.0/16
    #[arg(long, value_name = "PREFIX", value_delimiter = ',', value_parser = prefix)]
    pub hostile_source: Vec<IpNet>,
    /// How long after the end of its connection a hostile peer comes again, seconds
    #[arg(long, value_name = "S", default_value = "1", value_parser = pause)]
    pub hostile_pause: Duration,
    /// Full TLS handshakes a second beside the load
    #[arg(long, value_name = "RATE", value_parser = flood)]
    pub tls_flood: Option<f64>,
    /// Where tls-hello and --tls-flood go [default: the URL's server, if it is rtmps]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub hostile_tls: Option<SocketAddr>,
    /// Take here what the server forwards, as an RTMP server: every message is checked on its way from the publisher. Not of play
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = listen)]
    pub listen: Option<SocketAddr>,
    /// The server's process: tells its CPU time and memory
    #[arg(long, value_name = "PID")]
    pub server_pid: Option<u32>,
    /// Write the run as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the end-to-end latencies for HdrHistogram's plotters
    #[arg(long, value_name = "FILE")]
    pub hgrm: Option<PathBuf>,
    /// Write the run as one page with plots
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Exit with 1 when this holds: 'e2e.p99>50ms', 'lost>0'; repeatable
    #[arg(long, value_name = "CONDITION")]
    pub fail_if: Vec<Threshold>,
}

/// Addresses of this machine, in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources(pub Vec<IpAddr>);

/// CPU numbers, in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cpus(pub Vec<u32>);

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.strip_suffix('s').unwrap_or(text).parse().map_err(|_| "seconds, as 10 or 0.5")?;
    if (0.0..=1e6).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err("0 to 1000000 seconds".to_owned())
    }
}

/// A hostile peer that comes again at once is none that a server has ended: it would only be counted faster.
fn pause(text: &str) -> Result<Duration, String> {
    seconds(text).ok().filter(|pause| *pause >= PAUSE_MIN).ok_or("0.02 to 1000000 seconds".to_owned())
}

/// Shortest pause of a hostile peer.
const PAUSE_MIN: Duration = Duration::from_millis(20);

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "a share, from 0 to 1".to_owned())
}

fn flood(text: &str) -> Result<f64, String> {
    let rate = text.strip_suffix("/s").unwrap_or(text).parse();
    rate.ok()
        .filter(|rate| (0.1..=1e5).contains(rate))
        .ok_or("handshakes a second, from 0.1 to 100000".to_owned())
}

fn prefix(text: &str) -> Result<IpNet, String> {
    text.parse().map_err(|_| format!("\"{text}\" is no prefix; write it as 127.1.0.0/16"))
}

/// A port that somebody chose: the server must have been told.
fn listen(text: &str) -> Result<SocketAddr, String> {
    let address = text.parse().ok().filter(|address: &SocketAddr| address.port() != 0);
    address.ok_or("an address and a port that the server under test was told, as 127.0.0.1:1940".to_owned())
}

fn rate(text: &str) -> Result<f64, String> {
    match text.strip_suffix("/s").unwrap_or(text).parse() {
        // Slower ones would put the last connection beyond any clock.
        Ok(rate) if rate == 0.0 || (0.001..=1e6).contains(&rate) => Ok(rate),
        _ => Err("connections a second, as 500 or 0.5, from 0.001 to 1000000; or 0".to_owned()),
    }
}

fn bits(text: &str) -> Result<u64, String> {
    let (number, unit) = match text.strip_suffix(['k', 'K']) {
        Some(number) => (number, 1e3),
        None => text.strip_suffix('M').map_or((text, 1.0), |number| (number, 1e6)),
    };
    match number.parse::<f64>() {
        Ok(number) if (10e3..=1e9).contains(&(number * unit)) => Ok((number * unit) as u64),
        _ => Err("10k to 1000M bits a second, as 300k or 3M".to_owned()),
    }
}

/// Addresses that a range may span.
const SOURCES_MAX: u32 = 65_536;

fn sources(text: &str) -> Result<Sources, String> {
    let mut all = Vec::new();
    for part in text.split(',') {
        let wrong = || format!("\"{part}\" is no address, and no range of IPv4 addresses");
        match part.split_once('-') {
            None => all.push(part.parse().map_err(|_| wrong())?),
            Some((first, last)) => {
                let number = |text: &str| text.parse::<Ipv4Addr>().map(u32::from).map_err(|_| wrong());
                let (first, last) = (number(first)?, number(last)?);
                if first > last || last - first >= SOURCES_MAX {
                    return Err(wrong());
                }
                all.extend((first..=last).map(|number| IpAddr::from(Ipv4Addr::from(number))));
            }
        }
    }
    Ok(Sources(all))
}

fn cpus(text: &str) -> Result<Cpus, String> {
    let mut all = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| text.parse::<u32>().ok().filter(|cpu| *cpu < 1024);
        match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => all.extend(first..=last),
            _ => return Err(format!("\"{part}\" is no CPU number, and no range of them")),
        }
    }
    Ok(Cpus(all))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hostile::kind::Kind;
    use crate::media::codec::Choice;

    #[test]
    fn quantities_are_read_with_their_units() {
        assert_eq!(bits("300k"), Ok(300_000));
        assert_eq!(bits("2.5M"), Ok(2_500_000));
        assert!(bits("3").is_err() && bits("NaN").is_err());
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        assert!(seconds("-1").is_err() && seconds("inf").is_err());
        assert_eq!(rate("50/s"), Ok(50.0));
        assert!(rate("0").is_ok() && rate("0.001").is_ok() && rate("1e-300").is_err() && rate("-1").is_err());
        assert_eq!(cpus("1,4-6"), Ok(Cpus(vec![1, 4, 5, 6])));
        let Sources(all) = sources("127.0.0.254-127.0.1.1,::1").unwrap();
        assert_eq!(all.len(), 5);
        assert_eq!((all[2], all[4]), ("127.0.1.0".parse().unwrap(), "::1".parse().unwrap()));
        for wrong in ["", "127.0.0.2-127.0.0.1", "0.0.0.0-255.255.255.255", "::1-::2", "host"] {
            assert!(sources(wrong).is_err(), "{wrong}");
        }
        assert!(
            listen("127.0.0.1:1940").is_ok() && listen("127.0.0.1:0").is_err() && listen("1940").is_err()
        );
        assert!(cpus("").is_err() && cpus("3-1").is_err() && cpus("9999").is_err());
    }

    /// Each name that is taken is in the help, and the examples in it are.
    #[test]
    fn the_help_tells_the_personas() {
        for name in
            "slow-link stalling reconnecting storm churning one-byte half-open garbage wrong-key".split(' ')
        {
            assert!(PERSONAS.contains(name), "{name}");
        }
        assert!("slow-link:500k=0.1".parse::<Share>().is_ok() && "storm:10=0.1".parse::<Share>().is_ok());
    }

    /// The same of hostile peers and codecs.
    #[test]
    fn the_help_tells_hostile_peers_and_codecs() {
        use clap::CommandFactory;
        for kind in Kind::ALL {
            assert!(PERSONAS.contains(kind.name()), "{}", kind.name());
        }
        let mut command = CommandLine::command();
        let help = command.find_subcommand_mut("mixed").unwrap().render_long_help().to_string();
        for name in Video::names().split(", ").chain(Audio::names().split(", ")) {
            assert!(help.contains(name), "{name}");
        }
    }

    #[test]
    fn shares_rates_and_prefixes_are_bounded() {
        assert_eq!(
            (share("0.25"), flood("2000/s"), pause("0.5")),
            (Ok(0.25), Ok(2e3), Ok(Duration::from_millis(500)))
        );
        assert!(share("1.1").is_err() && share("NaN").is_err() && flood("0").is_err() && pause("0").is_err());
        assert!(prefix("127.1.0.0/16").is_ok() && prefix("127.1.0.0").is_err() && prefix("::1/129").is_err());
    }

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        CommandLine::command().debug_assert();
    }
}
