//! `/metrics`: counters, series of single streams, and who may be told their names.

use super::*;

#[test]
fn metrics_have_every_counter_of_every_core_in_both_formats() {
    let (server, engine) = serve();
    engine.counts[0].publish(&Counts {
        accepted: 11,
        connections: 2,
        tls_handshake_us: 1_500_000,
        ..Counts::default()
    });
    engine.counts[1].publish(&Counts { accepted: 22, panics: 1, ..Counts::default() });

    let (status, head, plain) = request(server.address(), "GET /metrics", "");
    assert_eq!(status, 200);
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    let accept = "Accept: application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.1\r\n";
    let (_, head, open_metrics) = request(server.address(), "GET /metrics", accept);
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{head}");

    for (line, text) in [
        ("# TYPE inrush_accepted_total counter", &plain),
        ("# TYPE inrush_accepted counter", &open_metrics),
        ("# TYPE inrush_connections gauge", &plain),
        ("inrush_close_reason_total{core=\"1\",kind=\"kicked\"} 1", &plain),
        ("# TYPE inrush_close_reason_total counter", &plain),
        ("inrush_session_error_total{core=\"0\",kind=\"amf_depth\"} 2", &plain),
    ] {
        assert!(text.lines().any(|one| one == line), "{line} is missing from\n{text}");
    }
    for line in [
        "inrush_accepted_total{core=\"0\"} 11",
        "inrush_accepted_total{core=\"1\"} 22",
        "inrush_tls_handshake_seconds_total{core=\"0\"} 1.5",
        "inrush_connections{core=\"0\"} 2",
        "inrush_panics_total{core=\"1\"} 1",
        "inrush_cores 2",
        "inrush_ready 1",
        "inrush_streams_unhealthy{code=\"no_video\"} 1",
        "inrush_streams_unhealthy{code=\"starving\"} 0",
        "inrush_health_events_total{code=\"no_video\"} 5",
        "inrush_draining 0",
        "inrush_sweep_age_seconds{core=\"0\"} 0.25",
        "inrush_control_connections_refused_total 0",
        "inrush_certificate_not_after_timestamp_seconds{chain_file=\"/etc/a \\\"b\\\".pem\"} 1800000000",
        "inrush_tick_seconds_bucket{le=\"+Inf\",core=\"0\"} 0",
    ] {
        for text in [&plain, &open_metrics] {
            assert!(text.lines().any(|one| one == line), "{line} is missing from\n{text}");
        }
    }
    PublishedCounts::default().for_each(|name, _, is_gauge, _| {
        let suffix = if is_gauge { "" } else { "_total" };
        let name = name.strip_suffix("_us").map_or_else(|| name.to_owned(), |name| format!("{name}_seconds"));
        assert!(plain.contains(&format!("\ninrush_{name}{suffix}{{core=\"1\"}} ")), "{name}");
    });
    assert!(open_metrics.ends_with("# EOF\n"));
    assert!(!plain.contains("# EOF"));

    // One family, one place: help and type stand once, before all of its samples.
    let mut seen = std::collections::BTreeSet::new();
    let families = plain.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    for (family, _) in families {
        assert!(seen.insert(family.to_owned()), "{family} stands twice");
    }
}

/// Lines of samples that carry this stream's name.
fn series_of<'t>(text: &'t str, name: &str) -> Vec<&'t str> {
    let label = format!("name=\"{name}\"");
    text.lines().filter(|line| line.contains(&label)).collect()
}

#[test]
fn streams_with_the_highest_bitrates_have_series_and_others_when_asked_for() {
    let settings = Settings { listen: "127.0.0.1:0".parse().unwrap(), top_streams: 2, ..Settings::default() };
    let server: Server<Arc<Engine>> = start(&settings).unwrap();
    let engine = Arc::new(Engine::default());
    server.attach(Arc::clone(&engine));
    let with_rate = |core, name: &str, bits_in_per_second| StreamInfo {
        bits_in_per_second,
        ..stream(core, "live", name)
    };
    *engine.streams.lock().unwrap() = vec![
        with_rate(0, "slow", 10),
        with_rate(0, "fast\"\\\n", 30),
        with_rate(1, "middling", 20),
        with_rate(1, "slower", 9),
        StreamInfo { dry_run: true, ..with_rate(1, "tried", 40) },
        // It changes its home just now.
        with_rate(1, "fast\"\\\n", 30),
    ];
    let metrics = |query: &str| request(server.address(), &format!("GET /metrics{query}"), "");
    let (_, _, text) = metrics("");
    let hostile = "inrush_stream_bytes_in_per_second{app=\"live\",name=\"fast\\\"\\\\\\n\"} 3";
    assert!(text.lines().any(|line| line == hostile), "{text}");
    assert_eq!(text.lines().filter(|line| *line == hostile).count(), 1);
    for (name, is_shown) in [("middling", true), ("slow", false), ("slower", false), ("tried", false)] {
        assert_eq!(!series_of(&text, name).is_empty(), is_shown, "{name}");
    }
    assert!(text.contains("inrush_stream_unhealthy{app=\"live\",name=\"middling\",code=\"no_audio\"} 1\n"));
    assert!(text.contains("\ninrush_stream_bytes_in_total{app=\"live\",name=\"middling\"} 9\n"));
    assert!(series_of(&text, "middling").len() <= stream_series::STREAM_SERIES_MAX);

    // By name: these alone, and nothing of the node.
    let (status, _, text) = metrics("?stream=live%2Fslow&stream=live/none&x=y");
    assert_eq!(status, 200);
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    assert!(samples.clone().all(|line| line.starts_with("inrush_stream_")), "{text}");
    assert_eq!(series_of(&text, "slow").len(), samples.count() - 1);
    assert!(text.contains("\ninrush_stream_live{app=\"live\",name=\"slow\"} 1\n"), "{text}");
    assert!(text.contains("\ninrush_stream_live{app=\"live\",name=\"none\"} 0\n"), "{text}");
    for query in ["?stream=slow", "?stream=", "?stream=live/%25ff", &format!("?{}", "stream=a/b&".repeat(21))]
    {
        let (status, _, body) = metrics(query);
        assert_eq!(status, 400, "{query}");
        let error = serde_json::from_str::<Value>(&body).expect(&body)["error"].clone();
        assert_eq!((&error["code"], &error["field"]), (&json!("bad_field"), &json!("stream")));
        assert!(error["allowed"].is_string() && error["message"].is_string(), "{body}");
    }

    // A core that stands still takes nothing but its streams away, and no end of a stream is made up.
    engine.stalled[0].store(true, Ordering::Relaxed);
    let (_, _, text) = metrics("");
    assert_eq!((series_of(&text, "slow").len(), series_of(&text, "middling").is_empty()), (0, false));
    assert!(text.contains("inrush_cores 2\n"));
    assert_eq!(metrics("?stream=live/slower").0, 200);
    assert_eq!(metrics("?stream=live/slow").0, 503);
}

#[test]
fn open_metrics_name_no_stream_to_who_says_no_token() {
    let (token, path) = token_file("names");
    let listen = "127.0.0.1:0".parse().unwrap();
    let settings = Settings { listen, token: Some(token), metrics_open: true, ..Settings::default() };
    let server: Server<Arc<Engine>> = start(&settings).unwrap();
    let engine = Arc::new(Engine::default());
    *engine.streams.lock().unwrap() = vec![stream(0, "live", "secret")];
    server.attach(engine);
    let with_token = format!("Authorization: Bearer {TOKEN}\r\n");
    for (said, names) in [("", false), ("Authorization: Bearer x\r\n", false), (&*with_token, true)] {
        let (status, _, text) = request(server.address(), "GET /metrics", said);
        assert_eq!((status, text.contains("secret")), (200, names), "{said}");
        let (status, _, text) = request(server.address(), "GET /metrics?stream=live/secret", said);
        assert_eq!((status, text.contains("secret")), (if names { 200 } else { 401 }, names), "{said}");
    }
    std::fs::remove_file(path).unwrap();
}
