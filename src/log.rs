//! Log lines: to standard error, through a bounded queue and a thread of its own (floor 6).
//!
//! A media core must never wait for whoever reads the log: a full pipe would stop every stream of that core. So a line that finds
//! the queue full is dropped and counted, and the next line that gets through says how many were lost.
//! # Bounds
//! [`QUEUE_LINES_MAX`] lines wait at most.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

/// Lines that wait for the writer; at 200 bytes a line under 1 MB.
pub const QUEUE_LINES_MAX: usize = 4096;

/// How long the end of the process waits for the last lines to be written.
const FLUSH_MAX: Duration = Duration::from_secs(1);

/// What is logged, and how it looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// A level, or `target=level` pairs, comma separated.
    pub filter: String,
    /// How a line looks.
    pub format: Format,
}

impl Default for Settings {
    fn default() -> Self {
        Self { filter: "info".into(), format: Format::Text }
    }
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl Format {
    /// Its name in flags and file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }

    /// The format of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Text, Self::Json].into_iter().find(|format| format.name() == name)
    }
}

/// What is wrong with a filter, if anything.
///
/// Stricter than the filter's own grammar, which takes a misspelt level for a target and then logs nothing at all.
pub fn filter_problem(filter: &str) -> Option<String> {
    let bare = filter.split(',').map(str::trim).filter(|part| !part.contains(['=', '[', ']', '{', '}', '"']));
    for word in bare {
        if word.parse::<LevelFilter>().is_err() || word.is_empty() {
            return Some(format!("{word:?} is no log level"));
        }
    }
    match EnvFilter::try_new(filter) {
        Ok(_) => None,
        Err(error) => Some(format!("{filter:?} is no log filter ({error})")),
    }
}

/// The log while the process lives.
pub struct Log {
    filter: reload::Handle<EnvFilter, Registry>,
    writer: Option<(Lines, JoinHandle<()>)>,
}

impl Log {
    /// Starts logging for the whole process; to be called once.
    pub fn start(settings: &Settings) -> io::Result<Self> {
        let (lines, receiver) = Lines::new();
        let (lost, format) = (Arc::clone(&lines.lost), settings.format);
        let thread = std::thread::Builder::new()
            .name("log".into())
            .spawn(move || write_lines(&receiver, &lost, format, &mut io::stderr()))?;
        let filter = EnvFilter::try_new(&settings.filter).unwrap_or_else(|_| EnvFilter::new("info"));
        let (filter, handle) = reload::Layer::new(filter);
        let layer = fmt::layer().with_writer(lines.clone()).with_ansi(io::stderr().is_terminal());
        let registry = tracing_subscriber::registry().with(filter);
        match settings.format {
            Format::Text => registry.with(layer).init(),
            Format::Json => registry.with(layer.json().flatten_event(true)).init(),
        }
        Ok(Self { filter: handle, writer: Some((lines, thread)) })
    }

    /// Changes what is logged from now on.
    pub fn set_filter(&self, filter: &str) {
        if let Ok(filter) = EnvFilter::try_new(filter) {
            // Fails only when the subscriber is gone, and then nothing is logged anyway.
            let _ = self.filter.reload(filter);
        }
    }
}

/// Writes out what is queued, for at most `FLUSH_MAX`.
impl Drop for Log {
    fn drop(&mut self) {
        let Some((lines, thread)) = self.writer.take() else { return };
        let deadline = Instant::now() + FLUSH_MAX;
        // The subscriber keeps its sender for ever, so the end has to be said; and a reader that hangs must not keep us here.
        let mut told = false;
        while !thread.is_finished() && Instant::now() < deadline {
            told = told || lines.sender.try_send(Line::End).is_ok();
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

enum Line {
    Text(Vec<u8>),
    End,
}

/// The queue's near end: makes a writer for each line.
#[derive(Clone)]
struct Lines {
    sender: SyncSender<Line>,
    lost: Arc<AtomicU64>,
}

impl Lines {
    fn new() -> (Self, Receiver<Line>) {
        let (sender, receiver) = sync_channel(QUEUE_LINES_MAX);
        (Self { sender, lost: Arc::default() }, receiver)
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = LineWriter<'a>;

    fn make_writer(&'a self) -> LineWriter<'a> {
        LineWriter { lines: self, text: Vec::new() }
    }
}

/// One line while it is made; queued as it goes out of scope.
struct LineWriter<'a> {
    lines: &'a Lines,
    text: Vec<u8>,
}

impl Write for LineWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LineWriter<'_> {
    fn drop(&mut self) {
        if self.text.is_empty() {
            return;
        }
        let line = Line::Text(std::mem::take(&mut self.text));
        if let Err(TrySendError::Full(_)) = self.lines.sender.try_send(line) {
            self.lines.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The far end. A sink that fails loses the line; there is nobody left to tell.
fn write_lines(receiver: &Receiver<Line>, lost: &AtomicU64, format: Format, sink: &mut impl Write) {
    while let Ok(Line::Text(text)) = receiver.recv() {
        let lost = lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let message = "log lines lost: whoever reads them is too slow";
            let _ = match format {
                Format::Text => writeln!(sink, "{lost} {message}"),
                Format::Json => {
                    writeln!(sink, "{{\"level\":\"WARN\",\"message\":\"{message}\",\"lost\":{lost}}}")
                }
            };
        }
        let _ = sink.write_all(&text);
    }
    let _ = sink.flush();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_a_level_or_pairs_and_a_misspelt_level_is_refused() {
        for good in ["info", "WARN", "off", "info,inrush=debug", "inrush::runtime=trace,error"] {
            assert_eq!(filter_problem(good), None, "{good}");
        }
        assert_eq!(filter_problem("inof").unwrap(), "\"inof\" is no log level");
        assert_eq!(filter_problem("info,").unwrap(), "\"\" is no log level");
        assert_eq!(filter_problem("").unwrap(), "\"\" is no log level");
        assert!(filter_problem("inrush=loud").unwrap().starts_with("\"inrush=loud\" is no log filter"));
    }

    #[test]
    fn a_full_queue_drops_lines_without_waiting_and_says_how_many() {
        let (lines, receiver) = Lines::new();
        for n in 0..QUEUE_LINES_MAX + 3 {
            writeln!(lines.make_writer(), "line {n}").unwrap();
        }
        let lost = Arc::clone(&lines.lost);
        drop(lines);
        let mut sink = Vec::new();
        write_lines(&receiver, &lost, Format::Text, &mut sink);
        let text = String::from_utf8(sink).unwrap();
        assert!(text.starts_with("3 log lines lost"), "{}", &text[..80]);
        assert_eq!(text.lines().count(), QUEUE_LINES_MAX + 1);
        assert!(text.ends_with(&format!("line {}\n", QUEUE_LINES_MAX - 1)));
    }
}
