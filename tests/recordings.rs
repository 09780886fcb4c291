//! The flight recorder: a session that ends by a fault leaves a file that shows the fault and no secret, and `inrush replay` finds it again.
#![cfg(feature = "engine")]

mod support;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use support::client::Client;
use support::media::THIN;
use support::process::Process;
use support::server::{Inrush, Server};
use support::{PATIENCE, scratch_file, wait_until};

const KEY: &str = "s3cret-key?token=s3cret";

/// A chunk header of type 0 for a message of 16 MB.
const TOO_LONG: [u8; 12] = [3, 0, 0, 0, 0xff, 0xff, 0xff, 9, 1, 0, 0, 0];

fn recording_server(directory: &Path, more: &str) -> Server {
    Inrush::new()
        .cores(2)
        .config(&format!("[recorder]\ndirectory = {:?}\n{more}", directory.display().to_string()))
        .start()
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(directory)
        .into_iter()
        .flatten()
        .map(|entry| entry.expect("list the recordings").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    files.sort();
    files
}

fn wait_for_file(directory: &Path) -> PathBuf {
    wait_until("a recording is written", PATIENCE, || files(directory).pop())
}

fn replay(file: &Path) -> (Option<i32>, String) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_inrush"));
    let mut process = Process::spawn("replay", command.arg("replay").arg(file));
    let code = process.wait(PATIENCE).code();
    (code, process.stdout() + &process.stderr())
}

/// Before anything is published: the recording begins with the connection, and a session that is fed it ends in the same way.
#[test]
fn a_fault_at_the_beginning_is_recorded_and_replayed() {
    let directory = scratch_file("recordings");
    let server = recording_server(&directory, "");
    let mut client = Client::open(server.rtmp()).connect("live").publish(KEY);
    client.socket().write_all(&TOO_LONG).expect("send");
    assert!(client.wait_for_close(PATIENCE));
    let file = wait_for_file(&directory);
    let text = std::fs::read_to_string(&file).expect("read the recording");
    assert!(text.contains("\"kind\": \"message_too_long\""), "{text}");
    for name in ["connect", "createStream", "publish"] {
        assert!(text.contains(&format!("\"name\": \"{name}\"")), "{name} is not in: {text}");
    }
    let hex: String = "s3cret".bytes().map(|byte| format!("{byte:02x}")).collect();
    assert!(!text.contains(&hex) && !text.contains("s3cret"), "{text}");

    let (code, told) = replay(&file);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("type 20") && told.contains("Publish"), "{told}");
    assert!(
        told.contains("Ends by: message of 16777215 bytes is longer than allowed (message_too_long)"),
        "{told}"
    );
    let counted = || (server.metrics().of_kind("recording", "kept") == 1).then_some(());
    wait_until("it is counted", PATIENCE, counted);
}

/// Far into a stream: the recording begins in its middle, and leads to the same fault.
#[test]
fn a_fault_in_a_stream_is_recorded_to_its_end() {
    let directory = scratch_file("recordings");
    let server = recording_server(&directory, "bytes = 4096\n");
    let media = THIN.media();
    let mut client = Client::open(server.rtmp()).connect("live").publish(KEY);
    client.send_paced(&media.tags, 50.0);
    client.socket().write_all(&TOO_LONG).expect("send");
    assert!(client.wait_for_close(PATIENCE));
    let (code, told) = replay(&wait_for_file(&directory));
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("from the middle of it on"), "{told}");
    assert!(told.contains("video, Some(Avc)") && told.contains("audio, Some(Aac)"), "{told}");
    assert!(told.contains("Ends by: message of 16777215 bytes is longer than allowed"), "{told}");
}

/// However many faults there are, no more files stay than were asked for; and none comes of an orderly end.
#[test]
fn recordings_are_bounded_in_number() {
    let directory = scratch_file("recordings");
    let server = recording_server(&directory, "files_max = 3\n");
    Client::open(server.rtmp()).connect("live").publish("orderly").unpublish();
    let faults: [&[u8]; 5] = [
        &TOO_LONG,
        // Set Chunk Size of 0.
        &[2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0, 0, 0, 0],
        // A control message of two bytes.
        &[2, 0, 0, 0, 0, 0, 2, 3, 0, 0, 0, 0, 0, 0],
        // A command that is none.
        &[3, 0, 0, 0, 0, 0, 1, 20, 0, 0, 0, 0, 5],
        // An AMF string that ends early.
        &[3, 0, 0, 0, 0, 0, 2, 20, 0, 0, 0, 0, 2, 0],
    ];
    for fault in faults {
        let mut client = Client::open(server.rtmp()).connect("live");
        client.socket().write_all(fault).expect("send");
        assert!(client.wait_for_close(PATIENCE));
        assert!(files(&directory).len() <= 3);
    }
    let kept = || (server.metrics().of_kind("recording", "kept") == 5).then_some(());
    wait_until("all are counted", PATIENCE, kept);
    wait_until("the newest is there", PATIENCE, || {
        let names = files(&directory);
        assert!(names.len() <= 3, "{names:?}");
        names.iter().any(|name| name.display().to_string().contains("amf_truncated")).then_some(())
    });
}

/// What is no recording, and a directory that cannot be had, are refused with what is wrong.
#[test]
fn what_cannot_be_used_is_refused() {
    let file = scratch_file("no-recording.json");
    std::fs::write(&file, "{}").expect("write a file");
    let (code, told) = replay(&file);
    assert_eq!(code, Some(1));
    assert!(told.contains("is no recording"), "{told}");
    let (code, told) = replay(Path::new("/nowhere/at/all.json"));
    assert_eq!(code, Some(1));
    assert!(told.contains("cannot be read"), "{told}");

    let mut server = Inrush::new().config("[recorder]\ndirectory = \"/dev/null/here\"\n").spawn();
    let code = server.wait(PATIENCE).code();
    let told = server.stdout() + &server.stderr();
    assert_eq!(code, Some(3), "{told}");
    assert!(told.contains("cannot write flight recordings to /dev/null/here"), "{told}");
}
