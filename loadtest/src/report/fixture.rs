//! A small run whose figures can be checked by hand, for the tests of this folder.

use super::*;

/// 100 messages through a server that adds 0.1 to 10 ms, with two of them lost.
pub(super) fn run() -> Run {
    let mut recorder = Recorder::new();
    for at in 1..=100 {
        recorder.e2e(at * 100);
        recorder.gap(33_000);
        recorder.generator_late(at);
    }
    recorder.tcp_connect(80);
    recorder.tls_handshake(900);
    recorder.handshake(400);
    recorder.publish_accepted(2_001_000);
    recorder.counts = Counts {
        due: 102,
        sent: 102,
        received: 100,
        lost: 2,
        publishes_accepted: 1,
        plays_accepted: 1,
        ..Counts::default()
    };
    recorder.opened(0, false, 1_000_000);
    recorder.opened(0, false, 1_250_000);
    recorder.persona(0).counts = PersonaCounts::default();
    for us in [100, 110, 300] {
        recorder.rtt(us);
    }
    recorder.sessions = 4;
    let stalling = recorder.persona(1);
    stalling.counts =
        PersonaCounts { opened: 1, accepted: 1, received: 50, missing: 7, ..PersonaCounts::default() };
    stalling.e2e(2_000_000);
    stalling.gap(1_000_000);
    stalling.error(Stage::Media, "closed by <the> server");
    recorder.bytes_in = 2_000_000_000;
    recorder.bytes_out = 1_000_000_000;
    for _ in 0..3 {
        recorder.error(Stage::Handshake, "the peer closed");
    }
    recorder.error(Stage::Publish, "<refused> & \"gone\"");
    recorder.error(Stage::Publish, "<refused> & \"gone\"");
    let sample = |at: u32| Sample {
        t_s: f64::from(at),
        bytes_in: 500_000_000,
        bytes_out: 250_000_000 * u64::from(at % 2 + 1),
        cpu_share: Some(0.25 * f64::from(at)),
        rss_bytes: Some(30_000_000 + 1_000_000 * u64::from(at)),
        e2e_p99_us: Some(9_900 + 100 * u64::from(at)),
        connections: 2,
    };
    recorder.into_run(RunFacts {
        started_at_unix_ms: 1_700_000_000_000,
        setting: Setting {
            mode: "mixed".to_owned(),
            url: without_secrets("rtmp://127.0.0.1/live/s{i}?key=secret"),
            publishers: 1,
            players: 1,
            ramp_per_s: 10.0,
            warmup_s: 1.0,
            duration_s: 4.0,
            pace: "frame".to_owned(),
            chunk_size: 4096,
            timestamp_start_ms: 0,
            media: MediaSetting {
                source: "synthetic".to_owned(),
                bitrate_bps: 3_000_000,
                fps: 30.0,
                gop_s: 2.0,
                seed: 7,
                video: "avc=70,hevc=30".to_owned(),
                audio: "opus".to_owned(),
                tracks: "2:3".to_owned(),
                multitrack: Some("one".to_owned()),
            },
            player_multitrack: 0.5,
            tls: Some(TlsSetting {
                insecure: false,
                resume: 1.0,
                server_name: Some("edge.example".to_owned()),
            }),
            listen: Some("127.0.0.1:1940".to_owned()),
            hostile: vec!["garbage=3".to_owned()],
            hostile_sources: vec!["127.1.0.0/16".to_owned()],
            hostile_pause_s: 1.0,
            tls_flood_per_s: Some(2_000.0),
            personas: vec![PersonaShare { name: "steady".to_owned(), share: 1.0 }],
            threads: 1,
            cpus: vec![1],
            sources: Vec::new(),
        },
        personas: vec![("steady".to_owned(), 1), ("stalling:1".to_owned(), 1)],
        hostile: vec![hostile()],
        forwards: Some(forwards()),
        valid: Validity::default(),
        duration_s: 4.0,
        server: Some(ServerUse {
            user_s: 0.5,
            system_s: 1.5,
            rss_bytes: 34_000_000,
            pss_bytes: Some(33_000_000),
            idle_bytes: 30_000_000,
            connections: 2,
            publishers: 1,
        }),
        series: (0..4).map(sample).collect(),
    })
}

/// A stream over two connections, between which three of its messages are lost.
fn forwards() -> ForwardsResult {
    let many = |us: u64, count: u64| {
        let mut histogram = empty();
        histogram.record_n(us, count).expect("a histogram that grows takes any value");
        Histogram::from(&histogram)
    };
    ForwardsResult {
        streams: 1,
        opened: 2,
        published: 2,
        ended: 1,
        open: 1,
        received: 99,
        bytes: 1_000_000_000,
        lost: 3,
        duplicated: 0,
        reordered: 0,
        unstamped: 0,
        e2e: many(6_000, 99),
        gap: many(33_000, 98),
        ends: vec![ForwardEnd { how: "eof".to_owned(), count: 1 }],
        each: vec![ForwardedStream {
            stream: 0,
            name: Some("live/<s0>".to_owned()),
            connections: 2,
            received: 99,
            bytes: 990_000_000,
            lost: 3,
            duplicated: 0,
            reordered: 0,
            e2e_mean_us: Some(6_000.0),
            e2e_max_us: Some(6_000),
        }],
    }
}

/// Seven connections: five ended by the server after a millisecond each.
fn hostile() -> HostileResult {
    let many = |us: u64| {
        let mut histogram = empty();
        histogram.record_n(us, 5).expect("a histogram that grows takes any value");
        Histogram::from(&histogram)
    };
    HostileResult {
        kind: "garbage".to_owned(),
        peers: 3,
        opened: 7,
        refused: 1,
        ended: 5,
        left: 1,
        open: 1,
        handshakes: 5,
        skipped: 0,
        bytes_in: 56_000,
        bytes_out: 3_073,
        lasted: many(1_000),
        tls_handshake: many(2_000),
        ends: vec![HostileEnd { how: "reset by <the> server".to_owned(), count: 5 }],
    }
}
