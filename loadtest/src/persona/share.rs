//! Shares of the load, as they are written: `--persona [publish.|play.]NAME[:PARAMETER]=SHARE`, as `play.slow-link:500k=0.1`.
//!
//! A share is one of the publishers and of the players; `publish.` and `play.` restrict it to one of the two.
//!
//! # Errors
//! What is no share is told in one line, which says how to write one.

use std::fmt;
use std::str::FromStr;

use inrush::session::Role;

use super::Persona;
use crate::hostile::kind::Kind;

/// Longest time of a persona, seconds: a day.
const SECONDS_MAX: f64 = 86_400.0;
/// Shortest time of one that must not be 0, seconds.
const SECONDS_MIN: f64 = 0.05;
/// Slowest and fastest link, bits a second.
const LINK_BPS: std::ops::RangeInclusive<f64> = 1e3..=1e10;

/// How many peers behave so.
#[derive(Clone, Debug, PartialEq)]
pub struct Share {
    /// How.
    pub persona: Persona,
    /// Publishers only, or players only.
    pub only: Option<Role>,
    /// 0 to 1.
    pub share: f64,
}

impl Share {
    /// As on the command line, but without what lets others publish.
    pub fn label(&self) -> String {
        let only = self.prefix();
        match &self.persona {
            Persona::WrongKey { query } if !query.is_empty() => {
                let hidden = crate::report::without_secrets(&format!("?{query}"));
                format!("{only}wrong-key:{}", &hidden[1..])
            }
            persona => format!("{only}{persona}"),
        }
    }

    fn prefix(&self) -> &'static str {
        match self.only {
            Some(Role::Publish) => "publish.",
            Some(Role::Play) => "play.",
            None => "",
        }
    }

    /// Whether a peer of this role can be one of them.
    pub fn suits(&self, role: Role) -> bool {
        self.persona.suits(role) && self.only.is_none_or(|only| only == role)
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            "write it as NAME=SHARE with a share from 0 to 1; names are steady, slow-link:RATE, stalling:S, reconnecting:S, storm:S, \
             churning:STAY/AWAY, one-byte, half-open, garbage, wrong-key:QUERY (seconds; bits a second as 500k or 2M), \
             those from slow-link to one-byte also as publish.NAME or play.NAME"
                .to_owned()
        };
        // A query may hold `=`.
        let (name, share) = text.rsplit_once('=').ok_or_else(wrong)?;
        let (only, name) = if let Some(name) = name.strip_prefix("publish.") {
            (Some(Role::Publish), name)
        } else if let Some(name) = name.strip_prefix("play.") {
            (Some(Role::Play), name)
        } else {
            (None, name)
        };
        let persona = Persona::parse(name).ok_or_else(wrong)?;
        if only.is_some_and(|only| !persona.suits(only) || persona == Persona::Steady) {
            return Err(wrong());
        }
        let share = share.parse().ok().filter(|share| (0.0..=1.0).contains(share)).ok_or_else(wrong)?;
        Ok(Self { persona, only, share })
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}={}", self.prefix(), self.persona, self.share)
    }
}

impl Persona {
    fn parse(text: &str) -> Option<Self> {
        let (name, parameter) = match text.split_once(':') {
            Some((name, parameter)) => (name, Some(parameter)),
            None => (text, None),
        };
        let none = |persona| parameter.is_none().then_some(persona);
        let time = || parameter.and_then(|text| micros(text, SECONDS_MIN));
        match name {
            "steady" => none(Self::Steady),
            "slow-link" => Some(Self::SlowLink { bits_per_second: link_rate(parameter?)? }),
            "stalling" => Some(Self::Stalling { stall_us: time()? }),
            "reconnecting" => Some(Self::Reconnecting { every_us: time()? }),
            "storm" => Some(Self::Storm { every_us: time()? }),
            "churning" => {
                let (stay, away) = parameter?.split_once('/')?;
                Some(Self::Churning { stay_us: micros(stay, 0.0)?, away_us: micros(away, 0.0)? })
            }
            "one-byte" => none(Self::OneByte),
            "half-open" => none(Self::Hostile(Kind::HalfOpen)),
            "garbage" => none(Self::Hostile(Kind::Garbage)),
            "wrong-key" => Some(Self::WrongKey { query: parameter.unwrap_or_default().to_owned() }),
            _ => None,
        }
    }
}

/// As on the command line.
impl fmt::Display for Persona {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |us: &u64| *us as f64 / 1e6;
        f.write_str(self.name())?;
        match self {
            Self::SlowLink { bits_per_second } => write!(f, ":{bits_per_second}"),
            Self::Stalling { stall_us: us }
            | Self::Reconnecting { every_us: us }
            | Self::Storm { every_us: us } => {
                write!(f, ":{}", seconds(us))
            }
            Self::Churning { stay_us, away_us } => write!(f, ":{}/{}", seconds(stay_us), seconds(away_us)),
            Self::WrongKey { query } if !query.is_empty() => write!(f, ":{query}"),
            _ => Ok(()),
        }
    }
}

fn micros(text: &str, seconds_min: f64) -> Option<u64> {
    let seconds: f64 = text.strip_suffix('s').unwrap_or(text).parse().ok()?;
    (seconds_min..=SECONDS_MAX).contains(&seconds).then_some((seconds * 1e6).round() as u64)
}

fn link_rate(text: &str) -> Option<u64> {
    let (number, unit) = match text.strip_suffix(['k', 'K']) {
        Some(number) => (number, 1e3),
        None => text.strip_suffix('M').map_or((text, 1.0), |number| (number, 1e6)),
    };
    let rate = number.parse::<f64>().ok()? * unit;
    LINK_BPS.contains(&rate).then_some(rate as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(text: &str) -> Share {
        text.parse().unwrap()
    }

    #[test]
    fn shares_are_read_and_shown_alike() {
        for text in [
            "garbage=0.05",
            "half-open=1",
            "steady=0.5",
            "slow-link:500000=0.1",
            "play.slow-link:2000000=0.1",
            "stalling:2.5=0",
            "play.stalling:3=1",
            "publish.reconnecting:10=1",
            "storm:0.05=1",
            "churning:0/0=1",
            "play.churning:1.5/30=0.25",
            "one-byte=0.01",
            "wrong-key:key=a=b&t=1=0.1",
            "wrong-key=0.1",
        ] {
            assert_eq!(share(text).to_string(), text);
        }
        assert_eq!(share("slow-link:2M=1"), share("slow-link:2000k=1"));
        assert_eq!(share("stalling:2s=1"), share("stalling:2=1"));
    }

    #[test]
    fn what_is_no_share_is_told_in_one_line() {
        for text in [
            "",
            "garbage",
            "garbage=",
            "garbage=2",
            "garbage=-0.1",
            "garbage=NaN",
            "garbage:1=0.1",
            "kind=0.1",
            "slow-link=0.1",
            "slow-link:0=0.1",
            "slow-link:fast=0.1",
            "slow-link:99999999M=0.1",
            "stalling:0=0.1",
            "stalling:inf=0.1",
            "storm:-1=0.1",
            "churning:1=0.1",
            "churning:1/=0.1",
            "churning:-1/0=0.1",
            "publish.stalling:1=0.1",
            "play.one-byte=0.1",
            "play.garbage=0.1",
            "play.steady=0.1",
        ] {
            let error = text.parse::<Share>().expect_err(text);
            assert!(!error.contains('\n') && error.contains("NAME=SHARE"), "{text}: {error}");
        }
    }

    #[test]
    fn a_wrong_key_is_not_shown() {
        assert_eq!(share("wrong-key:key=abc&t=1=0.1").label(), "wrong-key:key=…&t=…");
        assert_eq!(share("play.storm:3=1").label(), "play.storm:3");
    }
}
