//! Flight recordings on disk: what the cores hand over is redacted and written by a thread of its own.
//!
//! A core only puts a recording into a bounded channel, when a connection ends by a fault; it never waits and never touches a file.
//! # Bounds
//! [`WAITING_MAX`] recordings in the channel, one file a second and kind of fault, [`RecorderSettings::files_max`] files in the directory of
//! which one kind has at most a quarter, so that a scan of the port does not drive out what is rare. The oldest goes.
//! # Errors
//! Whatever goes wrong with a file is logged and counts as dropped; media never notices.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tracing::{info, warn};

use super::recording_file::{self, About};
use crate::rtmp::limits::Limits;
use crate::session::{Instant, Recording};

/// Recordings that wait to be written.
const WAITING_MAX: usize = 16;

/// Between two files of one kind of fault.
const INTERVAL: Duration = Duration::from_secs(1);

/// Names of our files begin and end so; others in the directory are not ours to delete.
const PREFIX: &str = "inrush-";
const SUFFIX: &str = ".json";

/// The file that is being written: always the same one, so that a full disk leaves one and not many.
const UNFINISHED: &str = "inrush-unfinished";

/// Settings of the flight recorder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecorderSettings {
    /// Where recordings are written; `None` records nothing.
    pub directory: Option<PathBuf>,
    /// About how many bytes are kept of what each peer sent last.
    pub bytes: usize,
    /// Files that are kept.
    pub files_max: usize,
}

impl Default for RecorderSettings {
    /// 16 KiB are 40 ms of a stream of 3 Mbit/s: some frames of sound and picture before the fault.
    fn default() -> Self {
        Self { directory: None, bytes: 16 * 1024, files_max: 64 }
    }
}

/// What the cores have of it.
pub(crate) struct Recordings {
    waiting: SyncSender<(About, Recording)>,
    last_of_kind: Mutex<HashMap<&'static str, Instant>>,
}

impl Recordings {
    /// Makes the directory and starts the thread; it ends when this is dropped and all is written.
    ///
    /// # Errors
    /// When files cannot be made there.
    pub(crate) fn start(settings: &RecorderSettings, limits: &Limits) -> io::Result<Option<Self>> {
        let Some(directory) = settings.directory.clone() else { return Ok(None) };
        fs::create_dir_all(&directory)?;
        let probe = directory.join(format!("{PREFIX}probe"));
        fs::write(&probe, b"")?;
        fs::remove_file(&probe)?;
        let (waiting, written) = sync_channel(WAITING_MAX);
        let shelf = Shelf { directory, files_max: settings.files_max };
        let limits = limits.clone();
        thread::Builder::new().name("recordings".into()).spawn(move || shelf.fill(&written, &limits))?;
        Ok(Some(Self { waiting, last_of_kind: Mutex::default() }))
    }

    /// Hands a recording over; gives what became of it, for the metrics.
    pub(crate) fn offer(
        &self,
        now: Instant,
        kind: &'static str,
        what: impl FnOnce() -> Option<(About, Recording)>,
    ) -> &'static str {
        {
            // Kinds are compiled in, so that the map is bounded. A panic under the lock cannot leave it half changed.
            let mut last = self.last_of_kind.lock().unwrap_or_else(PoisonError::into_inner);
            if last.get(kind).is_some_and(|last| now - *last < INTERVAL) {
                return "too_many";
            }
            last.insert(kind, now);
        }
        match what().map(|recording| self.waiting.try_send(recording).is_ok()) {
            None => "empty",
            Some(true) => "kept",
            Some(false) => "dropped",
        }
    }
}

/// Milliseconds since 1970.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The directory.
struct Shelf {
    directory: PathBuf,
    files_max: usize,
}

impl Shelf {
    fn fill(&self, written: &Receiver<(About, Recording)>, limits: &Limits) {
        while let Ok((about, mut recording)) = written.recv() {
            recording.redact(limits);
            match self.add(&about, &recording) {
                Ok(path) => {
                    info!(connection = about.connection, kind = about.kind, file = %path.display(), "flight recording written");
                }
                Err(error) => {
                    warn!(connection = about.connection, kind = about.kind, %error, "flight recording lost");
                }
            }
        }
    }

    fn add(&self, about: &About, recording: &Recording) -> io::Result<PathBuf> {
        self.make_room(&about.kind)?;
        // Names sort by time: 13 digits last until the year 2286.
        let name = format!("{PREFIX}{:013}-{}-{}{SUFFIX}", about.unix_ms, about.connection, about.kind);
        let path = self.directory.join(name);
        // Nobody finds half a file under its name.
        let unfinished = self.directory.join(UNFINISHED);
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        file.write_all(recording_file::write(about, recording).as_bytes())?;
        fs::rename(&unfinished, &path)?;
        Ok(path)
    }

    /// Deletes the oldest until one more fits.
    fn make_room(&self, kind: &str) -> io::Result<()> {
        let files = ours(&self.directory)?;
        let of_kind: Vec<_> = files.iter().filter(|(_, each)| each == kind).cloned().collect();
        let kind_max = (self.files_max / 4).max(1);
        let too_many_of_kind = (of_kind.len() + 1).saturating_sub(kind_max);
        let doomed: Vec<_> = of_kind.into_iter().take(too_many_of_kind).collect();
        let left: Vec<_> = files.into_iter().filter(|file| !doomed.contains(file)).collect();
        let too_many = (left.len() + 1).saturating_sub(self.files_max.max(1));
        for (path, _) in doomed.into_iter().chain(left.into_iter().take(too_many)) {
            fs::remove_file(path)?;
        }
        Ok(())
    }
}

/// Our files with the kind of their fault, oldest first.
fn ours(directory: &Path) -> io::Result<Vec<(PathBuf, String)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let inner = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_suffix(SUFFIX));
        if let Some(kind) = inner.and_then(|inner| inner.splitn(3, '-').nth(2)) {
            files.push((path.clone(), kind.to_owned()));
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::recording::Start;

    /// A directory of its own, gone with the test.
    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("inrush-recordings-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            Self(path)
        }

        fn kinds(&self) -> Vec<(String, String)> {
            let numbered = ours(&self.0).unwrap().into_iter().map(|(path, kind)| {
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                (name.split('-').nth(2).unwrap().to_owned(), kind)
            });
            numbered.collect()
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn about(connection: u64, kind: &str) -> About {
        About {
            engine: "0".into(),
            unix_ms: 1000 + connection,
            connection,
            peer: "192.0.2.1:5000".into(),
            flash_ver: None,
            kind: kind.into(),
            fault: "a fault".into(),
        }
    }

    fn recording() -> Recording {
        Recording { start: Start::Connection, reads: vec![], commands: vec![], secrets: vec![] }
    }

    /// The newest are kept; one kind has a quarter of the places; other people's files stay.
    #[test]
    fn files_are_bounded() {
        let directory = Directory::new("bounded");
        fs::create_dir_all(&directory.0).unwrap();
        fs::write(directory.0.join("notes.txt"), b"mine").unwrap();
        let shelf = Shelf { directory: directory.0.clone(), files_max: 8 };
        for number in 0..20 {
            shelf.add(&about(number, "handshake_version"), &recording()).unwrap();
        }
        assert_eq!(directory.kinds(), [18, 19].map(|n| (n.to_string(), "handshake_version".to_owned())));
        for number in 20..40 {
            shelf.add(&about(number, &format!("kind_{number}")), &recording()).unwrap();
        }
        let expected = (32..40).map(|n| (n.to_string(), format!("kind_{n}")));
        assert_eq!(directory.kinds(), expected.collect::<Vec<_>>());
        assert_eq!(fs::read(directory.0.join("notes.txt")).unwrap(), b"mine");
    }

    /// What is offered is written, redacted, at most one of a kind a second.
    #[test]
    fn what_is_offered_is_written() {
        let directory = Directory::new("offered");
        let settings = RecorderSettings { directory: Some(directory.0.clone()), ..Default::default() };
        let recordings = Recordings::start(&settings, &Limits::default()).unwrap().unwrap();
        let at = Instant::from_micros;
        let offer = |now, kind| recordings.offer(now, kind, || Some((about(1, kind), recording())));
        assert_eq!(offer(at(0), "amf_depth"), "kept");
        assert_eq!(offer(at(999_999), "amf_depth"), "too_many");
        assert_eq!(offer(at(999_999), "chunk_size"), "kept");
        assert_eq!(recordings.offer(at(3_000_000), "amf_depth", || None), "empty");
        for _ in 0..1000 {
            if directory.kinds().len() == 2 {
                let (path, _) = ours(&directory.0).unwrap().remove(0);
                assert!(recording_file::read(&path).is_ok());
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
        panic!("not written: {:?}", directory.kinds());
    }

    /// A directory that cannot be had is found at the start.
    #[test]
    fn a_directory_that_cannot_be_had_is_an_error() {
        let settings =
            RecorderSettings { directory: Some("/dev/null/recordings".into()), ..Default::default() };
        assert!(Recordings::start(&settings, &Limits::default()).is_err());
        assert!(Recordings::start(&RecorderSettings::default(), &Limits::default()).unwrap().is_none());
    }
}
