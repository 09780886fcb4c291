//! rtmpdump, the client of librtmp: it writes each message as it came, in order.

use std::process::Command;

use super::packets::Clock;
use super::recorder::Recorder;
use super::scratch_file;

/// Starts to play `url` into a file. librtmp speaks IPv4 only.
#[track_caller]
pub fn play(url: &str) -> Recorder {
    let file = scratch_file("rtmpdump.flv");
    let mut command = Command::new("rtmpdump");
    command.args(["--live", "--quiet", "--rtmp", url, "--flv"]).arg(&file);
    Recorder::start("rtmpdump", &mut command, file, Clock::Whole)
}
