//! What the API says of a stream and of the path that it comes by, against others that know.
#![cfg(feature = "engine")]

mod support;

use std::collections::HashMap;
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use socket2::{Domain, Socket, Type};

use support::client::Client;
use support::live::Live;
use support::media::H264_AAC;
use support::namespaces::{Link, Namespace};
use support::server::{Inrush, Server};
use support::synthetic::{Pattern, sequence_headers};
use support::{PATIENCE, wait_until};

/// What `ss -ti` says of the connections of a namespace, by the far end's address: words by their names, numbers as they stand there.
fn ss(namespace: &Namespace) -> HashMap<String, HashMap<String, String>> {
    let prefix = namespace.exec_prefix();
    let output = Command::new(&prefix[0]).args(&prefix[1..]).args(["ss", "-tinHO"]).output();
    let output = output.expect("ss is installed: run .ci/test");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("ss writes text");
    let connection = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let peer = (*words.get(4)?).to_owned();
        let mut named = HashMap::new();
        for (index, word) in words.iter().enumerate() {
            match word.split_once(':') {
                Some((name, value)) => named.insert(name.to_owned(), value.to_owned()),
                None => {
                    named.insert((*word).to_owned(), words.get(index + 1).copied().unwrap_or("").to_owned())
                }
            };
        }
        Some((peer, named))
    };
    text.lines().filter_map(connection).collect()
}

/// A number of ss: `12`, `12.5ms`, `12.5ms(3.1%)`, and of `1/2` the first (0) or second (1). What it does not name is 0.
fn number(of: &HashMap<String, String>, name: &str, part: usize) -> f64 {
    let Some(text) = of.get(name) else { return 0.0 };
    let text = text.split('/').nth(part).unwrap_or("0");
    let digits: String = text.chars().take_while(|it| it.is_ascii_digit() || *it == '.').collect();
    digits.parse().unwrap_or_else(|_| panic!("{name}:{text} of ss"))
}

/// Each figure of the API beside the same of `ss`, in the API's unit, and what rounding takes of the latter.
fn pairs(tcp: &Value, ss: &HashMap<String, String>) -> Vec<(&'static str, f64, f64, f64)> {
    let pair = |field: &'static str, name: &str, part: usize, unit: f64, rounding: f64| {
        let shown = tcp[field].as_f64().unwrap_or_else(|| panic!("{field} in {tcp}"));
        (field, shown, number(ss, name, part) * unit, rounding)
    };
    vec![
        pair("rtt_us", "rtt", 0, 1_000.0, 1.0),
        pair("rtt_deviation_us", "rtt", 1, 1_000.0, 1.0),
        pair("rtt_min_us", "minrtt", 0, 1_000.0, 1.0),
        pair("receive_rtt_us", "rcv_rtt", 0, 1_000.0, 1.0),
        pair("congestion_window_segments", "cwnd", 0, 1.0, 0.0),
        pair("segment_bytes", "mss", 0, 1.0, 0.0),
        pair("send_window_bytes", "snd_wnd", 0, 1.0, 0.0),
        pair("bytes_sent", "bytes_sent", 0, 1.0, 0.0),
        pair("bytes_acknowledged", "bytes_acked", 0, 1.0, 1.0),
        pair("bytes_received", "bytes_received", 0, 1.0, 0.0),
        pair("bytes_retransmitted", "bytes_retrans", 0, 1.0, 0.0),
        pair("retransmits", "retrans", 1, 1.0, 0.0),
        pair("lost_segments", "lost", 0, 1.0, 0.0),
        pair("out_of_order_segments", "rcv_ooopack", 0, 1.0, 0.0),
        pair("unsent_bytes", "notsent", 0, 1.0, 0.0),
        pair("busy_us", "busy", 0, 1_000.0, 1_000.0),
        pair("receive_window_limited_us", "rwnd_limited", 0, 1_000.0, 1_000.0),
        pair("send_buffer_limited_us", "sndbuf_limited", 0, 1_000.0, 1_000.0),
    ]
}

/// The figures of all connections that differ from `ss`'s by more than 10 %.
fn differences(server: &Server, namespace: &Namespace) -> Vec<String> {
    let (connections, ss) = (server.connections(), ss(namespace));
    let mut differ = Vec::new();
    for connection in &connections {
        let peer = connection["peer"].as_str().expect("text");
        let Some(ss) = ss.get(peer) else {
            differ.push(format!("{peer} is not in ss"));
            continue;
        };
        for (field, shown, seen, rounding) in pairs(&connection["tcp"], ss) {
            if (shown - seen).abs() > 0.1 * seen + rounding {
                differ.push(format!("{} {field}: {shown}, ss {seen}", connection["role"]));
            }
        }
    }
    differ
}

/// Over two namespaces, with a publisher, a player that is late to read, a forward, and a link that was cut for a moment: once the media rests,
/// all figures of the API are within 10 % of those of `ss -ti`, wherever the API shows them.
#[test]
fn figures_of_paths_are_those_of_ss() {
    let link = Link::new();
    let far = Inrush::new().cores(1).namespace(&link.client).rtmp("10.0.0.2:0").start();
    let target = format!("[[target]]\nurl = \"rtmp://{}/{{app}}/{{name}}\"\n", far.rtmp());
    let own = Inrush::new().cores(2).namespace(&link.server).rtmp(format!("{}:0", Link::SERVER));
    let server = own.config(&target).start();
    let connect = |receive_bytes: Option<usize>| {
        let socket = link.client.enter(|| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("make a socket");
            if let Some(bytes) = receive_bytes {
                socket.set_recv_buffer_size(bytes).expect("set SO_RCVBUF");
            }
            socket.connect(&server.rtmp().into()).expect("connect over the link");
            TcpStream::from(socket)
        });
        Client::over(socket).connect("live")
    };
    let headers = sequence_headers(&H264_AAC.media());
    let pattern = Pattern::with_bits_per_second(2_000_000);
    let late = connect(Some(16 * 1024)).play("a");
    let live = Live::start(connect(None).publish("a"), &headers, &pattern, 0);
    let tcp_of = |role: &str| {
        let connections = server.connections();
        connections.iter().find(|it| it["role"] == role).map(|it| it["tcp"].clone()).unwrap_or_default()
    };
    wait_until("the forward runs", PATIENCE, || (far.streams().len() == 1).then_some(()));
    wait_until("the player's window holds us back", PATIENCE, || {
        (tcp_of("player")["receive_window_limited_us"].as_u64()? > 500_000).then_some(())
    });
    let late = late.record_in_background();
    link.cut();
    let heard = tcp_of("publisher")["bytes_received"].as_u64().expect("a number");
    wait_until("what was lost is sent again", PATIENCE, || {
        (tcp_of("player")["retransmits"].as_u64()? > 0).then_some(())
    });
    link.mend();
    wait_until("the publisher is heard again", PATIENCE, || {
        let received = tcp_of("publisher")["bytes_received"].as_u64()?;
        (received > heard + 100_000).then_some(())
    });
    let (publisher, _) = live.pause();

    let started = std::time::Instant::now();
    let mut differ = Vec::new();
    while started.elapsed() < PATIENCE {
        differ = differences(&server, &link.server);
        if differ.is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(differ, [""; 0]);
    for role in ["publisher", "player", "forward"] {
        let tcp = tcp_of(role);
        println!("{role}: {tcp}");
        assert!(tcp["rtt_us"].as_u64() > Some(0) && tcp["bytes_received"].as_u64() > Some(3_000), "{tcp}");
    }
    let shown = |list: Vec<Value>| list[0]["tcp"].clone();
    assert_eq!(shown(server.streams())["bytes_received"], tcp_of("publisher")["bytes_received"]);
    assert_eq!(shown(server.forwards())["bytes_sent"], tcp_of("forward")["bytes_sent"]);
    drop((publisher, late));
}

/// What a stream comes to is what its publisher sends: rates, groups of pictures, sound beside pictures, and what the network does to them.
#[test]
fn figures_of_a_stream_are_those_of_its_publisher() {
    let server = Inrush::new().cores(1).start();
    let pattern = Pattern { frame_ms: 40, gop_frames: 50, video_bytes: 10_000, audio_bytes: 1_000 };
    let headers = sequence_headers(&H264_AAC.media());
    let live = Live::start(Client::open(server.rtmp()).connect("live").publish("a"), &headers, &pattern, 0);
    let near = |value: &Value, expected: f64, share: f64| {
        value.as_f64().is_some_and(|value| (value - expected).abs() <= share * expected)
    };
    let mut media = Value::Null;
    let started = std::time::Instant::now();
    loop {
        media = server.streams().first().map_or(media, |stream| stream["media"].clone());
        let is_right = near(&media["video_bits_per_second"], 25.0 * 8.0 * 10_000.0, 0.1)
            && near(&media["audio_bits_per_second"], 25.0 * 8.0 * 1_000.0, 0.1)
            && near(&media["frames_per_second"], 25.0, 0.1)
            && media["gop_frames"] == 50
            && media["gop_ms"] == 2_000
            && near(&media["key_frame_interval_ms"], 2_000.0, 0.1)
            && media["av_skew_ms"].as_i64().is_some_and(|ms| ms.abs() <= 50)
            && media["clock_drift_ppm"].as_i64().is_some_and(|ppm| ppm.abs() <= 10_000)
            && media["arrival_jitter_ms"].as_f64().is_some_and(|ms| (0.0..40.0).contains(&ms));
        if is_right {
            break;
        }
        assert!(live.is_running() && started.elapsed() < PATIENCE, "{media}");
        std::thread::sleep(Duration::from_millis(100));
    }
    println!("after {:?}: {media}", started.elapsed());
    // Nothing had to be repaired.
    let stream = &server.streams()[0];
    assert_eq!((&stream["timestamps_held"], &stream["timestamp_clock_changes"]), (&0.into(), &0.into()));
}
