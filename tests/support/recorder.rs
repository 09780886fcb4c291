//! A real client that plays a stream into an FLV file, whichever program it is.

use std::path::PathBuf;
use std::process::Command;

use super::packets::{Clock, Defect, Packet, Run, gapless_run};
use super::process::Process;
use super::{PATIENCE, flv};

/// A player at work. Dropping it kills the program and removes the file.
pub struct Recorder {
    process: Process,
    file: PathBuf,
    clock: Clock,
}

impl Recorder {
    /// Starts the player that writes `file`; `clock` says how much of a timestamp that program keeps.
    #[track_caller]
    pub fn start(name: impl Into<String>, command: &mut Command, file: PathBuf, clock: Clock) -> Self {
        Self { process: Process::spawn(name, command), file, clock }
    }

    /// Waits until the player has ended by itself, as it does when the stream ends, and gives what it recorded.
    #[track_caller]
    pub fn finish(mut self) -> Recording {
        let status = self.process.wait(PATIENCE);
        assert!(status.success(), "{} ended with {status}: {}", self.process.name(), self.process.stderr());
        let packets = Packet::from_tags(&flv::read(&self.file));
        Recording { player: self.process.name().to_owned(), packets, clock: self.clock }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

/// What a real client recorded.
#[derive(Clone, Debug)]
pub struct Recording {
    player: String,
    /// Its packets, in the order of the file.
    pub packets: Vec<Packet>,
    clock: Clock,
}

impl Recording {
    /// The run that the recording is, or why it is none.
    pub fn check(&self, source: &[Packet]) -> Result<Run, Defect> {
        gapless_run(source, &self.packets, self.clock)
    }

    /// Fails the test unless the recording is one gapless run from a key frame to the end of the source.
    #[track_caller]
    pub fn assert_gapless(&self, source: &[Packet]) -> Run {
        self.check(source).unwrap_or_else(|defect| {
            panic!("{} of {} packets by {}: {defect:?}", self.packets.len(), source.len(), self.player)
        })
    }

    /// Fails the test unless the recording is all of the source.
    #[track_caller]
    pub fn assert_whole(&self, source: &[Packet]) {
        let run = self.assert_gapless(source);
        assert_eq!(run.skipped, 0, "{} missed the start", self.player);
    }
}
