//! Stream names are keys: no log line at `debug` or above shows one, nor what stands in a query; a keyed hash names the stream.
#![cfg(feature = "engine")]

mod support;

use support::client::Client;
use support::ffmpeg::{self, Generation};
use support::live::Live;
use support::media::{THIN, VIDEO_ONLY};
use support::server::{Inrush, Server};
use support::synthetic::Pattern;
use support::wire::Message;
use support::{PATIENCE, script, wait_until};

/// Part of every name and parameter that must not be seen.
const SECRET: &str = "s3cret";

/// Text and JSON logs, after everything that happens to streams: publish, play, refusal, misbehaviour, a kick, a drain.
#[test]
fn logs_show_no_stream_name_and_no_parameter() {
    for (format, filter) in [("text", "info"), ("json", "info"), ("text", "debug")] {
        let server = Inrush::new().cores(2).args(&["--log", filter, "--log-format", format]).start();
        let hashes = live_through_everything(&server);
        let log = {
            let stopped = server.stop();
            stopped.stdout + &stopped.stderr
        };
        for line in log.lines() {
            assert!(!line.contains(SECRET), "{format}, {filter}: {line}");
        }
        for hash in hashes {
            assert!(log.contains(&hash), "{format}, {filter}: no line shows the hash {hash}: {log}");
        }
    }
}

/// Gives the hashes that the API shows for the streams that lived.
fn live_through_everything(server: &Server) -> Vec<String> {
    let tags = THIN.media().tags;
    let name = |what: &str| format!("{SECRET}-{what}");
    let hash_of = |what: &str| {
        let connections = wait_until("a publisher is listed", PATIENCE, || {
            Some(server.connections_of("publisher", "live", &name(what))).filter(|list| !list.is_empty())
        });
        connections[0]["name_hash"].as_str().expect("a hash").to_owned()
    };

    // An orderly life, with a token and a player; a second publisher is refused meanwhile.
    let player = Client::open(server.rtmp()).connect("live").play(&name("orderly")).record_in_background();
    server.wait_for_players("live", &name("orderly"), 1);
    let publisher = Client::open(server.rtmp())
        .connect("live")
        .publish(&format!("{}?token={SECRET}&user={SECRET}", name("orderly")));
    // Publishers have to be heard of: one that is silent for two seconds yields.
    let pattern = Pattern::with_bits_per_second(400_000);
    let publisher = Live::start(publisher, &[], &pattern, 0);
    let mut hashes = vec![hash_of("orderly")];
    let refused = Client::open(server.rtmp()).connect("live").request_publish(&name("orderly"));
    assert_eq!(refused.code, "NetStream.Publish.BadName");
    let (mut publisher, _) = publisher.pause();
    publisher.send_paced(&tags[..40], 8.0);
    publisher.unpublish();
    player.finish();

    // The key in the server field, as some encoders have it, by a real client.
    let url = format!("rtmp://{}/live/{}", server.rtmp(), name("by-ffmpeg"));
    let publisher =
        ffmpeg::Publisher::start(Generation::Five, &VIDEO_ONLY.media(), &format!("{url}?key={SECRET}"));
    hashes.push(hash_of("by-ffmpeg"));
    let whole_url = format!("rtmp://{}/live/{SECRET}-in-the-url", server.rtmp());
    let connected = || {
        let mut odd = Client::open(server.rtmp());
        odd.send(&script::connect(&format!("live/{SECRET}-in-the-app?auth={SECRET}"), &whole_url));
        odd.wait_for_answer(script::CONNECT);
        odd
    };
    // One publishes, one is refused since the first is there, one leaves without having asked for anything.
    let mut odd = connected();
    odd.request_publish("");
    let odd = Live::start(odd, &[], &pattern, 0);
    assert_eq!(connected().request_publish("").code, "NetStream.Publish.BadName");
    drop(odd.pause());
    drop(connected());

    // Misbehaviour of a publisher, and one closed by the operator.
    let mut broken = Client::open(server.rtmp()).connect("live").publish(&name("broken"));
    hashes.push(hash_of("broken"));
    broken.send(&Message::set_chunk_size(0));
    assert!(broken.wait_for_close(PATIENCE));
    let mut kicked = Client::open(server.rtmp()).connect("live").publish(&name("kicked"));
    hashes.push(hash_of("kicked"));
    let id = server.connections_of("publisher", "live", &name("kicked"))[0]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let answer = server.request("DELETE", &format!("/api/v1/connections/{id}")).expect("an answer");
    assert_eq!(answer.status, 204);
    assert!(kicked.wait_for_close(PATIENCE));
    publisher.finish();
    hashes
}
