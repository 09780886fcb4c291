//! ffmpeg, which shares no code with the harness: makes files, records, publishes, and says what is in a file.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::wait_until;

/// A running ffmpeg; killed when dropped.
pub struct Ffmpeg(Child);

impl Ffmpeg {
    /// Records what is published there, packets and timestamps as they come.
    #[track_caller]
    pub fn record(url: &str, file: &Path) -> Self {
        let mut command = ffmpeg(&["-i", url, "-map", "0:v", "-map", "0:a", "-c", "copy", "-copyts"]);
        command.args(["-copyinkf", "-copypriorss", "1", "-avoid_negative_ts", "disabled", "-f", "flv"]);
        Self(command.arg(file).spawn().expect("start ffmpeg; .ci/setup installs it"))
    }

    /// Publishes a file as fast as it plays.
    #[track_caller]
    pub fn publish(file: &Path, url: &str) -> Self {
        let mut command = ffmpeg(&["-re", "-i"]);
        command.arg(file).args(["-c", "copy", "-f", "flv", url]);
        Self(command.spawn().expect("start ffmpeg; .ci/setup installs it"))
    }

    /// Waits until it has ended by itself.
    #[track_caller]
    pub fn finish(mut self) {
        let status = wait_until("ffmpeg ends", || self.0.try_wait().expect("wait for a child"));
        assert!(status.success(), "ffmpeg ended with {status}");
    }
}

impl Drop for Ffmpeg {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Makes a file of `seconds` of H.264 at 25 frames a second and AAC. The first frame is the only key frame.
#[track_caller]
pub fn make(file: &Path, seconds: u32) {
    let mut command = ffmpeg(&["-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25"]);
    command.args(["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=44100", "-t", &seconds.to_string()]);
    command.args(["-c:v", "libx264", "-preset", "veryfast", "-g", "1000", "-sc_threshold", "0"]);
    command.args(["-pix_fmt", "yuv420p", "-c:a", "aac", "-b:a", "96k", "-f", "flv"]);
    assert!(command.arg(file).status().expect("start ffmpeg").success());
}

/// What `ffprobe` says of a file's streams and packets.
#[track_caller]
pub fn probe(file: &Path) -> Value {
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-show_streams", "-show_packets", "-of", "json"]).arg(file);
    let output = command.output().expect("start ffprobe");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("ffprobe writes JSON")
}

/// The packets of one kind (`video`, `audio`) that [`probe`] tells: decoding time in milliseconds, and size.
pub fn packets(probed: &Value, kind: &str) -> Vec<(i64, u64)> {
    let packets = probed["packets"].as_array().expect("a list of packets");
    let number = |value: &Value| value.as_str().expect("a text").parse().expect("a number");
    packets
        .iter()
        .filter(|packet| packet["codec_type"] == kind)
        .map(|packet| (packet["dts"].as_i64().expect("a time"), number(&packet["size"])))
        .collect()
}

/// Decodes a file whole: the checksum of each picture and each piece of sound, as `stream, MD5`. Fails when the decoder
/// has anything to complain of.
#[track_caller]
pub fn decode(file: &Path) -> Vec<(u32, String)> {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-v", "warning", "-i"]).arg(file).args(["-fps_mode", "passthrough"]);
    let output = command.args(["-f", "framemd5", "-"]).output().expect("start ffmpeg");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.is_empty(), "{told}");
    let text = String::from_utf8(output.stdout).expect("framemd5 is text");
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let mut fields = line.split(',').map(str::trim);
            let stream = fields.next().and_then(|stream| stream.parse().ok()).expect("a stream's number");
            (stream, fields.next_back().expect("a checksum").to_owned())
        })
        .collect()
}

fn ffmpeg(args: &[&str]) -> Command {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-hide_banner", "-nostats", "-v", "error", "-y"]).args(args);
    command.stdout(Stdio::null());
    command
}
