//! Holds the tables of conformance in the docs of `src/`: every section of the specifications is in one, what a row names as the place is a module,
//! and what it names as shown by is a test.
//!
//! Reads the sources: a row is `| section | what | where | shown by |`, places are paths of modules, tests either `module::path::name` or
//! `tests/file.rs::name`.

use std::fs;
use std::path::{Path, PathBuf};

/// The sections of RTMP 1.0 that ask for something: the leaves of its table of contents from §4 on.
const RTMP_SECTIONS: &[&str] = &[
    "§4",
    "§5.1",
    "§5.2.1",
    "§5.2.2",
    "§5.2.3",
    "§5.2.4",
    "§5.2.5",
    "§5.3.1.1",
    "§5.3.1.2.1",
    "§5.3.1.2.2",
    "§5.3.1.2.3",
    "§5.3.1.2.4",
    "§5.3.1.2.5",
    "§5.3.1.3",
    "§5.3.2.1",
    "§5.3.2.2",
    "§5.4.1",
    "§5.4.2",
    "§5.4.3",
    "§5.4.4",
    "§5.4.5",
    "§6.1.1",
    "§6.1.2",
    "§6.2",
    "§7.1.1",
    "§7.1.2",
    "§7.1.3",
    "§7.1.4",
    "§7.1.5",
    "§7.1.6",
    "§7.1.7",
    "§7.2.1.1",
    "§7.2.1.2",
    "§7.2.1.3",
    "§7.2.2.1",
    "§7.2.2.2",
    "§7.2.2.3",
    "§7.2.2.4",
    "§7.2.2.5",
    "§7.2.2.6",
    "§7.2.2.7",
    "§7.2.2.8",
    "§7.3.1",
    "§7.3.2",
    "§7.3.3",
];

/// The headings of Enhanced RTMP v2 that are about commands; those about media have their table in `media`.
const COMMAND_HEADINGS: &[&str] = &[
    "Enhancing onMetaData",
    "Reconnect Request: NetConnection Commands",
    "Reconnect Request: Message Flow, the server",
    "Reconnect Request: Message Flow, the client",
    "Enhancing NetConnection connect Command: `fourCcList`",
    "Enhancing NetConnection connect Command: `videoFourCcInfoMap`, `audioFourCcInfoMap`",
    "Enhancing NetConnection connect Command: `capsEx`",
    "Enhancing NetConnection connect Command: the server's answer",
    "Enhancing NetConnection connect Command: the client's side",
    "Action Message Format (AMF): AMF0 and AMF3",
    "Protocol Versioning",
];

/// The sections of FLV 10.1 and of Enhanced RTMP v2 that are about media.
const MEDIA_HEADINGS: &[&str] = &[
    "FLV §E.4.2.1",
    "FLV §E.4.2.2",
    "FLV §E.4.3.1",
    "FLV §E.4.3.2",
    "FLV §E.4.4",
    "FLV §E.5",
    "Enhanced Audio: `AudioPacketType`",
    "Enhanced Audio: silence",
    "Enhanced Audio: `AudioFourCc`",
    "Enhanced Audio: ModEx",
    "Enhanced Audio: MultichannelConfig",
    "Enhanced Video: `VideoPacketType`",
    "Enhanced Video: `VideoFourCc`",
    "Enhanced Video: composition time",
    "Enhanced Video: `VideoCommand`",
    "Enhanced Video: ModEx",
    "Enhanced Audio, Enhanced Video: unknown elements",
    "Enhanced Audio, Enhanced Video: `AvMultitrackType`",
    "Metadata Frame",
    "Multitrack Media Message Guidelines",
    "Multitrack Media Message Guidelines: Track Ordering",
    "SCRIPTDATA Multitrack Parameter Handling",
];

const HEADER: &str = "| section | what | where | shown by |";

/// One row of a table.
struct Row {
    section: String,
    places: Vec<String>,
    tests: Vec<String>,
}

#[test]
fn every_section_has_a_row() {
    let commands: Vec<&str> = RTMP_SECTIONS.iter().chain(COMMAND_HEADINGS).copied().collect();
    for (file, expected) in [("src/rtmp/mod.rs", &commands[..]), ("src/media/mod.rs", MEDIA_HEADINGS)] {
        let rows = rows_of(&fs::read_to_string(root().join(file)).unwrap());
        let sections: Vec<&str> = rows.iter().map(|row| row.section.as_str()).collect();
        for section in expected {
            assert_eq!(sections.iter().filter(|found| *found == section).count(), 1, "{section}");
        }
        assert_eq!(sections.len(), expected.len(), "{sections:?}");
    }
}

#[test]
fn what_the_rows_name_is_there() {
    let mut seen = 0;
    for file in sources(&root().join("src")) {
        for row in rows_of(&fs::read_to_string(&file).unwrap()) {
            let at = format!("{}, {}", file.display(), row.section);
            assert!(!row.places.is_empty() && !row.tests.is_empty(), "{at}");
            for place in &row.places {
                assert!(module(place).is_some_and(|(_, rest)| rest.is_empty()), "{at}: no module {place}");
            }
            for test in &row.tests {
                assert!(is_test(test), "{at}: no test {test}");
            }
            seen += 1;
        }
    }
    assert!(seen >= RTMP_SECTIONS.len() + COMMAND_HEADINGS.len() + MEDIA_HEADINGS.len(), "{seen}");
}

/// What is named wrongly is found out.
#[test]
fn planted_errors_are_found() {
    assert!(is_test("rtmp::handshake::tests::the_simple_answer_is_an_echo"));
    assert!(is_test("rtmp::amf::properties::what_is_written_is_read_back"), "inside proptest!");
    assert!(is_test("session::server::tests::time::each_stage_has_its_deadline"));
    assert!(is_test("tests/conformance.rs::planted_errors_are_found"));
    for wrong in [
        "rtmp::handshake::tests::the_simple_answer_is_an_ech",
        "rtmp::handshake::the_simple_answer_is_an_echo",
        "rtmp::handshak::tests::the_simple_answer_is_an_echo",
        "rtmp::command::parse::parse",
        "tests/conformance.rs::is_test",
        "tests/nowhere.rs::every_section_has_a_row",
        "the_simple_answer_is_an_echo",
    ] {
        assert!(!is_test(wrong), "{wrong}");
    }
    assert!(module("session::server::answers").is_some() && module("rtmp::amf").is_some());
    assert!(module("nowhere").is_none());
    let rows = rows_of(&format!(
        "//! {HEADER}\n//! |---|---|---|---|\n//! | §1 | what | `a::b`, `c` | `d` |\n//! text\n"
    ));
    assert_eq!((rows.len(), &*rows[0].section, rows[0].places.len()), (1, "§1", 2));
}

fn root() -> PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.append(&mut sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// The rows of all tables with our header in a file's inner doc comments.
fn rows_of(text: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        let line = line.strip_prefix("//! ").unwrap_or_default();
        if line == HEADER {
            inside = true;
        } else if !line.starts_with('|') {
            inside = false;
        } else if inside && !line.starts_with("|---") {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            let [section, _, places, tests] = cells[..] else { panic!("four cells: {line}") };
            rows.push(Row { section: section.into(), places: names(places), tests: names(tests) });
        }
    }
    rows
}

/// What stands in backticks.
fn names(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The file of the longest part of a path that is a module with a file, and the parts behind it.
fn module(path: &str) -> Option<(PathBuf, Vec<&str>)> {
    let parts: Vec<&str> = path.split("::").collect();
    (1..=parts.len()).rev().find_map(|len| {
        let (front, rest) = parts.split_at(len);
        let base = root().join("src").join(front.join("/"));
        let candidates = [base.with_extension("rs"), base.join("mod.rs")];
        let file = candidates.into_iter().find(|file| file.is_file())?;
        Some((file, rest.to_vec()))
    })
}

fn is_test(path: &str) -> bool {
    let (file, inline, name) = match path.strip_prefix("tests/").and_then(|rest| rest.split_once("::")) {
        Some((file, name)) => (root().join("tests").join(file), false, name),
        None => match module(path) {
            // In a file for tests alone, or in the inline module at the end of the file that is tested.
            Some((file, rest)) => match rest[..] {
                [name] => (file, false, name),
                ["tests", name] => (file, true, name),
                _ => return false,
            },
            None => return false,
        },
    };
    let Ok(text) = fs::read_to_string(file) else { return false };
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let start = format!("fn {name}(");
    // The attribute stands above, perhaps with others and comments between.
    let is_marked = |at: usize| {
        let above =
            lines[..at].iter().rev().take_while(|line| line.starts_with("#[") || line.starts_with("//"));
        above.into_iter().any(|line| *line == "#[test]")
    };
    text.contains("\nmod tests {\n") == inline
        && (0..lines.len()).any(|at| lines[at].starts_with(&start) && is_marked(at))
}
