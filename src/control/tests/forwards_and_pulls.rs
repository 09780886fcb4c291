//! What the API says of forwards and pulls.

use super::*;

#[test]
fn forwards_come_sorted_in_the_documented_shape_with_what_their_core_says() {
    let (server, engine) = serve();
    assert_eq!(
        get(server.address(), "/api/v1/forwards"),
        (200, json!({"forwards": [], "stalled_cores": []}))
    );
    server.attach_forwards(Arc::new(Targets(vec![
        forward("b", "rtmp://a/live/…", LifeState::Waiting),
        forward("a", "rtmp://b/live/…", LifeState::On(Step::Live)),
        forward("a", "rtmp://a/live/…", LifeState::Standby),
    ])));
    *engine.outgoing.lock().unwrap() = vec![OutgoingInfo {
        id: OutgoingId(5),
        connection: ConnectionId(17),
        state: OutgoingState::Live,
        bytes_in: 3,
        bytes_out: 500,
        messages: 40,
        dropped: 2,
        queued_bytes: 7,
        queued_ms: 8,
        bits_per_second: 9,
        tcp: Some(tcp_info()),
        lasted: Duration::from_secs(4),
        traffic: Some(TrafficInUse { congestion: "bbr".into(), dscp: 0 }),
    }];
    let (status, mut body) = get(server.address(), "/api/v1/forwards");
    assert_eq!((status, &body["stalled_cores"]), (200, &json!([])));
    let forwards = body["forwards"].as_array_mut().unwrap();
    let order: Vec<_> =
        forwards.iter().map(|it| (it["name"].as_str().unwrap(), it["target"].as_str().unwrap())).collect();
    assert_eq!(order, [("a", "rtmp://a/live/…"), ("a", "rtmp://b/live/…"), ("b", "rtmp://a/live/…")]);
    let seconds = forwards[1].as_object_mut().unwrap().remove("state_seconds").unwrap().as_f64().unwrap();
    assert!((10.0..40.0).contains(&seconds), "{seconds}");
    assert_eq!(
        forwards[1],
        json!({
            "app": "live", "name": "a", "name_hash": "0badcafe", "target": "rtmp://b/live/…", "named_by": "file",
            "group": "g", "rank": "backup", "active": true, "state": "live", "connection": "17",
            "bits_out_per_second": 9, "bytes_out": 1500, "messages_out": 40, "dropped": 3, "queued_bytes": 7, "queued_ms": 8,
            "tcp": tcp_json(), "reconnects": 2, "last_error": "eof", "next_try_seconds": null,
            "traffic": {"congestion": "bbr", "dscp": 0}
        })
    );
    let next_try = forwards[2]["next_try_seconds"].as_f64().unwrap();
    assert!((70.0..=100.0).contains(&next_try), "{next_try}");
    // What the engine does not know of is shown without it.
    engine.stalled[0].store(true, Ordering::Relaxed);
    let (_, body) = get(server.address(), "/api/v1/forwards");
    assert_eq!((&body["stalled_cores"], &body["forwards"][1]["connection"]), (&json!([0]), &json!(null)));
    assert_eq!(body["forwards"][1]["bytes_out"], json!(1000));
}

#[test]
fn pulls_come_sorted_in_the_documented_shape_with_what_their_core_says() {
    let (server, engine) = serve();
    assert_eq!(get(server.address(), "/api/v1/pulls"), (200, json!({"pulls": [], "stalled_cores": []})));
    server.attach_pulls(Arc::new(Targets(vec![
        forward("b", "rtmp://a/live/…", LifeState::Waiting),
        forward("a", "rtmp://b/live/…", LifeState::Standby),
        forward("a", "rtmp://a/live/…", LifeState::On(Step::Live)),
    ])));
    *engine.outgoing.lock().unwrap() = vec![OutgoingInfo {
        id: OutgoingId(5),
        connection: ConnectionId(17),
        state: OutgoingState::Live,
        bytes_in: 500,
        bytes_out: 3,
        messages: 40,
        dropped: 0,
        queued_bytes: 0,
        queued_ms: 0,
        bits_per_second: 9,
        tcp: None,
        lasted: Duration::from_secs(4),
        traffic: Some(TrafficInUse { congestion: "bbr".into(), dscp: 0 }),
    }];
    let (_, mut body) = get(server.address(), "/api/v1/pulls");
    let pulls = body["pulls"].as_array_mut().unwrap();
    let order: Vec<_> =
        pulls.iter().map(|it| (it["name"].as_str().unwrap(), it["source"].as_str().unwrap())).collect();
    assert_eq!(order, [("a", "rtmp://a/live/…"), ("a", "rtmp://b/live/…"), ("b", "rtmp://a/live/…")]);
    let seconds = pulls[0].as_object_mut().unwrap().remove("state_seconds").unwrap().as_f64().unwrap();
    assert!((10.0..40.0).contains(&seconds), "{seconds}");
    assert_eq!(
        pulls[0],
        json!({
            "app": "live", "name": "a", "name_hash": "0badcafe", "source": "rtmp://a/live/…", "named_by": "file", "active": true, "state": "live",
            "connection": "17", "bits_in_per_second": 9, "bytes_in": 1500, "messages_in": 40, "tcp": null, "reconnects": 2, "last_error": "eof",
            "next_try_seconds": null,
            "traffic": {"congestion": "bbr", "dscp": 0}
        })
    );
    let next_try = pulls[2]["next_try_seconds"].as_f64().unwrap();
    assert!((70.0..=100.0).contains(&next_try), "{next_try}");
    // Forwards are another list.
    assert_eq!(get(server.address(), "/api/v1/forwards").1["forwards"], json!([]));
}
