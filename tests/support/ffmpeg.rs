//! The real client in two generations: Debian's ffmpeg 5.1, and the static ffmpeg 9 of the PyPI package `imageio-ffmpeg`.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use super::media::Media;
use super::packets::Clock;
use super::process::Process;
use super::recorder::Recorder;
use super::{PATIENCE, scratch_file, target_dir};

/// Which ffmpeg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// `ffmpeg` as Debian 12 installs it: no Enhanced RTMP.
    Five,
    /// The one that `.ci/test` puts below `target/`, or that `INRUSH_FFMPEG9` names.
    Nine,
}

/// Both.
pub const GENERATIONS: [Generation; 2] = [Generation::Five, Generation::Nine];

impl Generation {
    /// The program. Fails the test when it is not installed.
    #[track_caller]
    pub fn program(self) -> PathBuf {
        static NINE: OnceLock<Option<PathBuf>> = OnceLock::new();
        match self {
            Self::Five => PathBuf::from("ffmpeg"),
            Self::Nine => NINE.get_or_init(find_nine).clone().unwrap_or_else(|| {
                panic!("no ffmpeg 9 below {} nor in INRUSH_FFMPEG9: run .ci/test", target_dir().display())
            }),
        }
    }

    #[track_caller]
    fn command(self) -> Command {
        let mut command = Command::new(self.program());
        command.args(["-nostdin", "-hide_banner", "-nostats", "-loglevel", "info", "-y"]);
        command
    }
}

/// `target/imageio/lib/python3.x/site-packages/imageio_ffmpeg/binaries/ffmpeg-linux-…`
fn find_nine() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("INRUSH_FFMPEG9") {
        return Some(path.into());
    }
    let pythons = std::fs::read_dir(target_dir().join("imageio/lib")).ok()?;
    let binaries =
        pythons.flatten().map(|python| python.path().join("site-packages/imageio_ffmpeg/binaries"));
    let mut files = binaries.filter_map(|directory| std::fs::read_dir(directory).ok()).flatten().flatten();
    files.find(|file| file.file_name().to_string_lossy().starts_with("ffmpeg-linux")).map(|file| file.path())
}

/// Makes a file; `args` are everything after the general options.
#[track_caller]
pub fn convert(generation: Generation, args: &[&str]) {
    let mut process = Process::spawn(format!("ffmpeg {generation:?}"), generation.command().args(args));
    let status = process.wait(4 * PATIENCE);
    assert!(status.success(), "ffmpeg {args:?} ended with {status}: {}", process.stderr());
}

/// A publisher at work: real time, packets copied, timestamps kept.
pub struct Publisher {
    process: Process,
}

impl Publisher {
    /// Starts to publish `media`.
    #[track_caller]
    pub fn start(generation: Generation, media: &Media, url: &str) -> Self {
        Self::start_with(generation, media, url, &[])
    }

    /// Starts to publish `media` again and again, until something stops it.
    #[track_caller]
    pub fn start_endless(generation: Generation, media: &Media, url: &str) -> Self {
        Self::start_endless_with(generation, media, url, &[])
    }

    /// The same with further output options.
    #[track_caller]
    pub fn start_endless_with(generation: Generation, media: &Media, url: &str, options: &[&str]) -> Self {
        let mut command = generation.command();
        command.args(["-stream_loop", "-1"]);
        Self::start_from(command, generation, media, url, options)
    }

    /// Starts to publish with further output options.
    #[track_caller]
    pub fn start_with(generation: Generation, media: &Media, url: &str, options: &[&str]) -> Self {
        Self::start_from(generation.command(), generation, media, url, options)
    }

    #[track_caller]
    fn start_from(
        mut command: Command,
        generation: Generation,
        media: &Media,
        url: &str,
        options: &[&str],
    ) -> Self {
        command.arg("-re").arg("-copyts").arg("-i").arg(media.path()).args(["-map", "0", "-c", "copy"]);
        command.args(["-flvflags", "no_duration_filesize"]).args(options).args(["-f", "flv", url]);
        Self { process: Process::spawn(format!("publishing ffmpeg {generation:?}"), &mut command) }
    }

    /// Waits until all of the media is published.
    #[track_caller]
    pub fn finish(mut self) {
        let status = self.process.wait(2 * PATIENCE);
        assert!(status.success(), "{} ended with {status}: {}", self.process.name(), self.process.stderr());
    }

    /// Kills it: its connection ends without a word.
    pub fn kill(self) {
        self.process.signal(libc::SIGKILL);
    }

    /// Waits until it has ended, well or badly, and gives its exit code and messages.
    #[track_caller]
    pub fn wait(mut self) -> (Option<i32>, String) {
        let status = self.process.wait(2 * PATIENCE);
        (status.code(), self.process.stderr())
    }
}

/// Starts to play `url` into a file: packets copied, timestamps kept, nothing left out at the start.
#[track_caller]
pub fn play(generation: Generation, url: &str) -> Recorder {
    let file = scratch_file("ffmpeg.flv");
    let mut command = generation.command();
    command.args(["-i", url, "-map", "0:v?", "-map", "0:a?", "-c", "copy"]);
    command.args(["-copyts", "-copyinkf", "-copypriorss", "1", "-avoid_negative_ts", "disabled"]);
    command.args(["-flvflags", "no_duration_filesize", "-f", "flv"]).arg(&file);
    Recorder::start(format!("playing ffmpeg {generation:?}"), &mut command, file, Clock::Bits31)
}
