//! Peers with a wrong key: a server that refuses them is in order, and one that lets them in is told.

mod support;

use inrush_loadtest::report::{PersonaCounts, Run};
use support::{keyed, measure, passed};

/// Four publishers who know the key and as many beside them who say this, and what is to fail the run.
fn load(query: &str) -> (std::process::Output, Run) {
    let url = format!("rtmp://{}/live/s{{i}}?{}", keyed::start(), keyed::KEY);
    let persona = format!("wrong-key:{query}=1");
    let load = ["publish", "--url", &url, "--publishers", "4", "--bitrate", "300k", "--duration", "1"];
    let rest = ["--warmup", "0.3", "--persona", &persona, "--fail-if", "errors>0"];
    measure(&[&load[..], &rest[..], &["--fail-if", "personas.wrong-key.accepted>0"]].concat())
}

#[track_caller]
fn wrong_key(run: &Run) -> &PersonaCounts {
    let persona = run.personas.iter().find(|persona| persona.kind() == "wrong-key");
    &persona.expect("the persona was asked for").counts
}

/// They are counted as refused; nothing of it is the run's failure, and those who know the key publish all along.
#[test]
fn a_wrong_key_that_is_refused_is_no_failure_of_the_run() {
    let (output, run) = load("key=wrong");
    assert!(passed(&output, &run), "{output:?}");
    let (wrong, counts) = (wrong_key(&run), &run.counts);
    assert_eq!((wrong.opened, wrong.accepted, wrong.refused, wrong.lost), (4, 0, 4, 0));
    assert_eq!((counts.publishes_accepted, counts.publishes_refused), (4, 0));
    assert_eq!((counts.connections_failed, counts.connections_lost), (0, 0));
    assert!(run.errors.is_empty() && counts.sent > 100 && counts.sent == counts.due, "{counts:?}");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.contains("ok: personas.wrong-key.accepted is 0"), "{told}");
}

/// A server that lets them in fails the run, and says how many; the key itself is told nowhere.
#[test]
fn a_wrong_key_that_is_accepted_is_told() {
    let (output, run) = load(keyed::KEY);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let (wrong, told) = (wrong_key(&run), String::from_utf8_lossy(&output.stdout));
    assert_eq!((wrong.opened, wrong.accepted, wrong.refused, wrong.failed), (4, 4, 0, 0));
    assert!(told.contains("failed: personas.wrong-key.accepted is 4"), "{told}");
    assert!(run.errors.is_empty() && run.counts.sent > 100, "{:?}", run.errors);
    assert!(!told.contains("right") && !run.to_json().contains("right"), "{told}");
}
