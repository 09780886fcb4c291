//! The cases of the table, as data.
//!
//! # Invariant
//! A row names trials of its own case by their place in it; a test checks all of them.

use super::figure::Figure;
use super::row::{Reach, Row};
use super::server::{Inrush, Server};
use super::size::{Length, Size};
use super::trial::{Drive, Trial};

/// The cases, in the order of the table.
pub(super) const NAMES: [&str; 13] = [
    "frame", "wan", "many", "e2e", "fan-out", "forward", "memory", "waiting", "sessions", "rtt", "wake-ups",
    "limit", "cores",
];

/// One load, the servers that bear it, and what is read from that.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) name: &'static str,
    /// The load, for readers of the table.
    pub(super) about: String,
    /// In the order of a round.
    pub(super) trials: Vec<Trial>,
    pub(super) rows: Vec<Row>,
}

/// All of them.
pub(super) fn all(length: Length) -> Vec<Case> {
    let size = Size::of(length);
    let mut cases = vec![paced(&size, "frame"), paced(&size, "wan"), many(&size), e2e(&size), fan_out(&size)];
    cases.extend([
        forward(&size),
        memory(&size),
        waiting(&size),
        sessions(&size),
        rtt(&size),
        wake_ups(&size),
        limit(&size),
        cores(&size),
    ]);
    cases
}

/// Without the GOP cache, as nginx-rtmp is.
fn uncached(budget_ms: u32) -> Server {
    Server::Inrush(Inrush { budget_ms, gop_cache: false, ..Inrush::default() })
}

fn cached(budget_ms: u32) -> Server {
    Server::Inrush(Inrush { budget_ms, gop_cache: true, ..Inrush::default() })
}

/// The floor of what polls every 10 ms.
fn polled_sink(cores: u16) -> Server {
    Server::Sink { poll_ms: Some(10), buffer_bytes: 16 * 1024, cores }
}

fn row(subject: usize, figure: Figure, reach: Reach) -> Row {
    Row { subject, figure, reach, note: "" }
}

fn trials(servers: Vec<Server>, drive: &Drive) -> Vec<Trial> {
    servers.into_iter().map(|server| Trial::new(server, drive.clone())).collect()
}

/// The cache may cost a fifth more.
const CACHED_AT_MOST: f64 = 1.2;
/// What the engine may cost without it, against a sink that is polled the same way.
const SINK_AT_MOST: f64 = 1.25;

/// The ingest rows, at one pacing.
fn paced(size: &Size, pacing: &'static str) -> Case {
    use Figure::CpuPerGbIn;
    const NGINX: usize = 0;
    const SINK: usize = 1;
    // Budget, and the ratio to nginx-rtmp.
    let budgets: &[(u32, f64)] =
        if pacing == "wan" { &[(10, 0.42), (20, 0.36), (0, 0.90)] } else { &[(10, 0.55), (20, 0.45)] };
    let mut servers = vec![Server::Nginx, polled_sink(1)];
    let mut rows = Vec::new();
    let mut sink_rows = Vec::new();
    let mut cached_rows = Vec::new();
    for (budget_ms, at_most) in budgets {
        let plain = servers.len();
        servers.extend([uncached(*budget_ms), cached(*budget_ms)]);
        rows.push(row(plain, CpuPerGbIn, Reach::Ratio { of: NGINX, at_most: *at_most }));
        cached_rows.push(row(plain + 1, CpuPerGbIn, Reach::Ratio { of: plain, at_most: CACHED_AT_MOST }));
        if *budget_ms == 10 {
            let against_sink =
                |subject, at_most| row(subject, CpuPerGbIn, Reach::Ratio { of: SINK, at_most });
            sink_rows.extend([
                against_sink(plain, SINK_AT_MOST),
                against_sink(plain + 1, SINK_AT_MOST * CACHED_AT_MOST),
            ]);
        }
    }
    rows.extend(sink_rows);
    rows.extend(cached_rows);
    Case {
        name: pacing,
        about: format!("{} publishers of {} Mbit/s, `{pacing}`", size.publishers, size.mbit()),
        trials: trials(servers, &Drive { pacing, ..size.publish(size.publishers, size.bitrate_kbit) }),
        rows,
    }
}

fn many(size: &Size) -> Case {
    let mut drive = size.publish(size.many_publishers, size.many_bitrate_kbit);
    drive.ramp *= 3;
    Case {
        name: "many",
        about: format!("{} publishers of {} kbit/s, `frame`", size.many_publishers, size.many_bitrate_kbit),
        trials: trials(vec![Server::Nginx, uncached(20), cached(20)], &drive),
        rows: vec![
            row(1, Figure::CpuPerGbIn, Reach::Ratio { of: 0, at_most: 0.80 }),
            row(2, Figure::CpuPerGbIn, Reach::Ratio { of: 1, at_most: CACHED_AT_MOST }),
        ],
    }
}

fn e2e(size: &Size) -> Case {
    let publishers = if size.publishers == 500 { 500 } else { size.few_publishers };
    let drive = Drive { mode: "mixed", players: 1, per_stream: true, ..size.publish(publishers, 3_000) };
    let reach = [12.0, 22.0, 5.0];
    Case {
        name: "e2e",
        about: format!("{publishers} publishers of 3 Mbit/s with one player each"),
        trials: trials(vec![cached(10), cached(20), cached(0)], &drive),
        rows: (0..).zip(reach).map(|(at, ms)| row(at, Figure::E2eP99, Reach::AtMost(ms))).collect(),
    }
}

fn fan_out(size: &Size) -> Case {
    use Figure::{CpuPerGbOut, E2eP99};
    let drive = Drive { mode: "mixed", players: size.players, ..size.publish(1, size.bitrate_kbit) };
    let mut rows = Vec::new();
    for (subject, budget_ms, at_most) in [(1, 10.0, 0.85), (2, 20.0, 0.72), (3, 0.0, 0.95)] {
        rows.push(row(subject, CpuPerGbOut, Reach::Ratio { of: 0, at_most }));
        rows.push(row(subject, E2eP99, Reach::Above { of: 0, at_most: budget_ms }));
    }
    Case {
        name: "fan-out",
        about: format!("1 publisher of {} Mbit/s, {} players, `frame`", size.mbit(), size.players),
        trials: trials(vec![Server::Nginx, uncached(10), uncached(20), uncached(0)], &drive),
        rows,
    }
}

fn forward(size: &Size) -> Case {
    use Figure::{CpuPerGbIn, ForwardedP99};
    // Who comes late to a stream without a cache waits for a key frame.
    let drive = Drive {
        forwarded: true,
        warmup_s: size.gop_warmup_s,
        gop_frames: size.forwarded_gop_frames,
        ..size.publish(size.forwarded, size.bitrate_kbit)
    };
    let mut rows = Vec::new();
    for (subject, at_most) in [(1, 0.65), (2, 0.55)] {
        rows.push(row(subject, CpuPerGbIn, Reach::Ratio { of: 0, at_most }));
        rows.push(row(subject, ForwardedP99, Reach::Stated));
    }
    rows.push(row(0, ForwardedP99, Reach::Stated));
    Case {
        name: "forward",
        about: format!(
            "{} publishers of {} Mbit/s, each forwarded to a server of the harness's (nginx-rtmp: `push`)",
            size.forwarded,
            size.mbit()
        ),
        trials: trials(vec![Server::Nginx, uncached(10), uncached(20)], &drive),
        rows,
    }
}

fn memory(size: &Size) -> Case {
    let drive = Drive { warmup_s: size.gop_warmup_s, ..size.publish(size.publishers, 3_000) };
    Case {
        name: "memory",
        about: format!("{} publishers of 3 Mbit/s, GOPs of 2 s", size.publishers),
        trials: [uncached(10), cached(10)].map(|server| Trial::new(server, drive.clone()).watched()).to_vec(),
        rows: vec![
            row(0, Figure::PublisherMemory, Reach::AtMost(48.0)),
            row(1, Figure::PublisherMemoryBeyondGop, Reach::AtMost(48.0)),
        ],
    }
}

fn waiting(size: &Size) -> Case {
    let mut drive = Drive { mode: "play", players: size.waiting, ..size.publish(1, 3_000) };
    drive.ramp *= 5;
    Case {
        name: "waiting",
        about: format!("{} players waiting for a stream that has no publisher", size.waiting),
        trials: vec![Trial::new(cached(10), drive).watched()],
        rows: vec![row(0, Figure::SessionMemory, Reach::AtMost(12.0))],
    }
}

fn sessions(size: &Size) -> Case {
    let drive = Drive { churning: true, ..size.publish(size.sessions, 3_000) };
    Case {
        name: "sessions",
        about: format!("connect, publish accepted, close, {} at a time", size.sessions),
        trials: trials(vec![Server::Nginx, cached(10)], &drive),
        rows: vec![
            row(1, Figure::CpuPerSession, Reach::Ratio { of: 0, at_most: 0.8 }),
            row(1, Figure::SessionsPerSecond, Reach::Stated),
            row(0, Figure::SessionsPerSecond, Reach::Stated),
        ],
    }
}

fn rtt(size: &Size) -> Case {
    let at = |pacing: &'static str| {
        let drive = Drive { pacing, ..size.publish(size.few_publishers, 3_000) };
        Trial::new(cached(20), drive).watched().across_link().telling_pacing()
    };
    let row = |subject| Row {
        note: "`TCP_INFO` of the harness's sockets, in a network namespace of its own",
        ..row(subject, Figure::Rtt, Reach::AtMost(5.0))
    };
    Case {
        name: "rtt",
        about: format!("{} publishers of 3 Mbit/s across a veth pair", size.few_publishers),
        trials: ["frame", "wan"].map(at).to_vec(),
        rows: vec![row(0), row(1)],
    }
}

fn wake_ups(size: &Size) -> Case {
    let drive = Drive {
        mode: "mixed",
        players: 1,
        per_stream: true,
        pinned: false,
        ..size.publish(size.few_publishers, 3_000)
    };
    let server =
        Inrush { budget_ms: 10, gop_cache: true, cores: 2, placement: "core:0", ..Inrush::default() };
    Case {
        name: "wake-ups",
        about: format!(
            "{} publishers of 3 Mbit/s on core 0, one player each; harness not pinned",
            size.few_publishers
        ),
        trials: vec![Trial::new(Server::Inrush(server), drive).watched()],
        rows: vec![Row {
            note: "players are spread over both cores by the kernel's hash; those on core 0 cause none",
            ..row(0, Figure::WakeUps, Reach::AtMost(250.0))
        }],
    }
}

fn limit(size: &Size) -> Case {
    const CONNECTIONS: u32 = 4;
    let ingest = size.publish(size.publishers, size.bitrate_kbit);
    let bulk = size.publish(CONNECTIONS, size.publishers * size.bitrate_kbit / CONNECTIONS);
    Case {
        name: "limit",
        about: format!(
            "the bytes of case `frame` over {CONNECTIONS} connections into the sink, read 256 KiB at a time"
        ),
        trials: vec![
            Trial::new(Server::Sink { poll_ms: None, buffer_bytes: 262_144, cores: 1 }, bulk),
            Trial::new(uncached(20), ingest),
        ],
        rows: vec![
            row(0, Figure::CpuPerGbIn, Reach::Stated),
            Row {
                note: "how far the cheapest ingest is from the cheapest way to receive",
                ..row(1, Figure::CpuPerGbIn, Reach::StatedRatio { of: 0 })
            },
        ],
    }
}

fn cores(size: &Size) -> Case {
    use Figure::CpuPerGbIn;
    let publishers = size.few_publishers;
    let drive = size.publish(publishers, if size.publishers == 500 { 3_000 } else { size.bitrate_kbit });
    let two = Server::Inrush(Inrush { budget_ms: 10, gop_cache: false, cores: 2, ..Inrush::default() });
    Case {
        name: "cores",
        about: format!("{publishers} publishers of {} Mbit/s, spread over 2 cores", size.mbit()),
        trials: trials(vec![uncached(10), two, polled_sink(1), polled_sink(2)], &drive),
        rows: vec![
            Row {
                note: "the second core is the harness's too",
                ..row(1, CpuPerGbIn, Reach::Ratio { of: 0, at_most: 1.15 })
            },
            Row {
                note: "the machine's limit: what the second core adds to receiving alone, in the same arrangement",
                ..row(3, CpuPerGbIn, Reach::StatedRatio { of: 2 })
            },
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_name_trials_of_their_case_and_every_trial_is_read() {
        for length in [Length::Full, Length::Short] {
            let cases = all(length);
            assert_eq!(cases.iter().map(|case| case.name).collect::<Vec<_>>(), NAMES);
            for case in cases {
                for row in &case.rows {
                    let last = row.reach.of().unwrap_or(0).max(row.subject);
                    assert!(last < case.trials.len() && row.reach.of() != Some(row.subject), "{}", case.name);
                }
                for trial in 0..case.trials.len() {
                    assert!(case.rows.iter().any(|row| row.needs(trial)), "{} {trial}", case.name);
                }
                let names: std::collections::HashSet<_> = case.trials.iter().map(Trial::file_name).collect();
                assert_eq!(names.len(), case.trials.len(), "two files of one name in {}", case.name);
            }
        }
    }

    /// What is held against a server or a sink without the cache is held with it too, a fifth looser.
    #[test]
    fn every_ingest_row_is_repeated_with_the_cache_on() {
        let settings = |case: &Case, trial: usize| match &case.trials[trial].server {
            Server::Inrush(settings) => Some((settings.budget_ms, settings.gop_cache)),
            _ => None,
        };
        let mut repeated = 0;
        for case in all(Length::Full).iter().filter(|case| ["frame", "wan", "many"].contains(&case.name)) {
            for row in &case.rows {
                let (Some((budget_ms, false)), Reach::Ratio { of, at_most }) =
                    (settings(case, row.subject), row.reach)
                else {
                    continue;
                };
                // Against the same row without, or, since that has another limit, against the sink itself.
                let again = case.rows.iter().any(|other| {
                    settings(case, other.subject) == Some((budget_ms, true))
                        && match (other.reach, &case.trials[of].server) {
                            (Reach::Ratio { of: to, at_most: limit }, Server::Sink { .. }) => {
                                to == of && limit == at_most * CACHED_AT_MOST
                            }
                            (Reach::Ratio { of: to, at_most: limit }, _) => {
                                to == row.subject && limit == CACHED_AT_MOST
                            }
                            _ => false,
                        }
                });
                assert!(again, "{}: budget {budget_ms} ms", case.name);
                repeated += 1;
            }
        }
        // Two and one of `frame`, three and one of `wan`, one of `many`.
        assert_eq!(repeated, 8);
    }

    /// 36 minutes for five rounds: what takes longer is not run.
    #[test]
    fn the_whole_table_fits_in_35_minutes_or_so() {
        let seconds =
            |length| -> f64 { all(length).iter().flat_map(|case| &case.trials).map(Trial::seconds).sum() };
        assert!(seconds(Length::Full) * 5.0 <= 36.0 * 60.0, "{} s a round", seconds(Length::Full));
        assert!(seconds(Length::Short) <= 120.0, "{} s", seconds(Length::Short));
    }
}
