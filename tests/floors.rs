//! Holds the floors of `src/`: a file uses its own floor and those below (design.md, "Floors").
//!
//! Reads the sources, since the compiler has no word for it. The rules are in `floors/rules.rs`; the tests below the first
//! one plant violations, and near misses, and see that the rules tell them apart.

#[path = "floors/lexer.rs"]
mod lexer;
#[path = "floors/rules.rs"]
mod rules;
#[path = "floors/source.rs"]
mod source;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use rules::{Rule, Violation, check};
use source::Source;

/// The rule itself, over the sources as they are.
#[test]
fn no_path_leads_to_a_higher_floor() {
    let mut sources = Vec::new();
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "", &mut sources);
    // A walk that finds nothing would find nothing wrong.
    for floor in ["rtmp", "session", "media", "hub", "runtime"] {
        assert!(sources.iter().any(|source| source.module == [floor]), "src/{floor} was not read");
    }
    let violations = check(&sources);
    let list: Vec<String> = violations.iter().map(ToString::to_string).collect();
    assert!(list.is_empty(), "\n{}", list.join("\n"));
}

fn read(folder: &Path, prefix: &str, sources: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            read(&entry.path(), &format!("{prefix}{name}/"), sources);
        } else if name.ends_with(".rs") {
            sources.push(Source::new(&format!("{prefix}{name}"), &fs::read_to_string(entry.path()).unwrap()));
        }
    }
}

/// Checks one planted file, which stands beside nothing else.
fn planted(file: &str, text: &str) -> Vec<Violation> {
    check(&[Source::new(file, text)])
}

/// One violation each: file, source, line and rule.
const PLANTED: &[(&str, &str, usize, Rule)] = &[
    // Each way to write a path upward.
    ("rtmp/chunk/reader.rs", "\n\nuse crate::hub::Hub;", 3, Rule::Upward),
    ("rtmp/chunk/reader.rs", "fn f() { let _ = crate::session::Instant::default(); }", 1, Rule::Upward),
    ("session/server.rs", "use crate::{rtmp::Error, media::Frame};", 1, Rule::Upward),
    ("session/server.rs", "use {crate::rtmp::Error, crate::media::Frame};", 1, Rule::Upward),
    ("session/server.rs", "use crate::{rtmp::{Error, chunk::{self, Reader}}, hub};", 1, Rule::Upward),
    ("media/gop.rs", "use super::super::hub::Hub;", 1, Rule::Upward),
    ("media/gop.rs", "use super::super::{rtmp, runtime::settings};", 1, Rule::Upward),
    ("media/mod.rs", "#![forbid(unsafe_code)]\nuse super::hub::Hub;", 2, Rule::Upward),
    (
        "media/config/avc.rs",
        "mod a { mod b { use super::super::super::super::super::hub::Hub; } }",
        1,
        Rule::Upward,
    ),
    ("media/config/avc.rs", "mod a {} fn f(x: super::super::super::hub::Hub) {}", 1, Rule::Upward),
    ("hub/stream.rs", "type T = Vec<crate::runtime::Handle>;", 1, Rule::Upward),
    ("hub/stream.rs", "type T = Vec::<::inrush::runtime::Handle>;", 1, Rule::Upward),
    ("hub/stream.rs", "use inrush::edge::auth;", 1, Rule::Upward),
    ("hub/stream.rs", "pub(in crate::runtime) fn f() {}", 1, Rule::Upward),
    ("hub/stream.rs", "macro_rules! m { () => { $crate::runtime::start() } }", 1, Rule::Upward),
    ("hub/stream.rs", "#[cfg(test)] mod tests { use crate::runtime::Engine; }", 1, Rule::Upward),
    ("runtime/core.rs", "use crate::control::api;", 1, Rule::Upward),
    ("runtime/core.rs", "use crate::config::Config;", 1, Rule::Upward),
    ("control/api.rs", "use crate::config::Config;", 1, Rule::Upward),
    ("hub/stream.rs", "/* a /* b */ c */ use crate::runtime::x;", 1, Rule::Upward),
    ("hub/stream.rs", "const S: &str = \"\\\"\"; use crate::runtime::x;", 1, Rule::Upward),
    ("hub/stream.rs", "const S: &str = r#\"\"\\\"#; use crate::runtime::x;", 1, Rule::Upward),
    ("hub/stream.rs", "const C: char = '\"'; use crate::runtime::x; const D: char = '\"';", 1, Rule::Upward),
    ("hub/stream.rs", "const C: char = '\\''; use crate::r#runtime::x;", 1, Rule::Upward),
    ("hub/stream.rs", "fn f<'a>(x: &'a u8) {} use crate::runtime::x; fn g<'a>() {}", 1, Rule::Upward),
    // Detours through the root.
    ("hub/stream.rs", "use crate::*;", 1, Rule::Root),
    ("hub/stream.rs", "use crate as root;", 1, Rule::Root),
    ("hub/stream.rs", "use crate::{self as root};", 1, Rule::Root),
    ("hub/stream.rs", "use super::super::*;", 1, Rule::Root),
    ("hub/stream.rs", "use crate::Engine;", 1, Rule::Root),
    ("hub/mod.rs", "#![forbid(unsafe_code)]\nuse super as root;", 2, Rule::Root),
    ("hub/stream.rs", "extern crate self as root;", 1, Rule::Smuggled),
    ("hub/stream.rs", "include!(\"../runtime/core.rs\");", 1, Rule::Smuggled),
    ("hub/stream.rs", "#[path = \"../runtime/core.rs\"] mod core;", 1, Rule::Smuggled),
    ("helpers/mod.rs", "", 1, Rule::Floor),
    ("helpers.rs", "", 1, Rule::Floor),
    // Purity.
    ("rtmp/mod.rs", "#![deny(unsafe_code)]", 1, Rule::Forbid),
    ("hub/mod.rs", "// #![forbid(unsafe_code)]", 1, Rule::Forbid),
    ("rtmp/amf/amf0.rs", "use std::collections::HashMap;", 1, Rule::NoStd),
    ("session/server.rs", "fn f() -> ::std::time::Instant { todo!() }", 1, Rule::NoStd),
    ("session/server.rs", "#[cfg(not(test))] mod a { use std::thread; }", 1, Rule::NoStd),
    ("session/server.rs", "#[cfg(test)] mod tests {} use std::net::TcpStream;", 1, Rule::NoStd),
    ("media/gop.rs", "#[cfg(feature = \"engine\")] fn f() {}", 1, Rule::NoStd),
    ("hub/stream.rs", "use std::{rc::Rc, time::Instant};", 1, Rule::Outside),
    ("hub/stream.rs", "use std::sync::{Arc, Mutex};", 1, Rule::Outside),
    ("hub/stream.rs", "fn f() { tokio::spawn(async {}); }", 1, Rule::Outside),
    ("rtmp/amf/amf0.rs", "fn f(x: Option<u8>) { x.unwrap(); }", 1, Rule::Unwrap),
    ("runtime/core.rs", "fn f(x: Option<u8>) { x\n    .unwrap(); }", 2, Rule::Unwrap),
    (
        "runtime/reading.rs",
        "use tokio_uring::{OneshotOutputTransform, UnsubmittedOneshot};",
        1,
        Rule::Operation,
    ),
    // Unsafe code.
    ("runtime/op/recv.rs", "fn f() { unsafe { g() } }", 1, Rule::Unsafe),
    ("runtime/op/recv.rs", "// SAFETY: of something else.\nlet x = 1;\nunsafe { g() }", 3, Rule::Unsafe),
    (
        "runtime/op/recv.rs",
        "fn f() { // SAFETY: of the body.\n let s = \"SAFETY:\"; unsafe { g() } }",
        2,
        Rule::Unsafe,
    ),
    ("runtime/op/recv.rs", "/// Sends.\nunsafe impl Send for X {}", 2, Rule::Unsafe),
    ("control/api.rs", "// SAFETY: none.\nunsafe { g() }", 2, Rule::Unsafe),
    ("main.rs", "// SAFETY: none.\nunsafe { g() }", 2, Rule::Unsafe),
];

/// Every planted violation is found, alone and at its line.
#[test]
fn planted_violations_are_found() {
    for (file, text, line, rule) in PLANTED {
        let found: Vec<_> = planted(file, text).into_iter().map(|v| (v.file, v.line, v.rule)).collect();
        assert_eq!(found, [(format!("src/{file}"), *line, *rule)], "in: {text}");
    }
}

/// No rule goes unproven.
#[test]
fn every_rule_has_a_planted_violation() {
    let planted: BTreeSet<Rule> = PLANTED.iter().map(|(.., rule)| *rule).collect();
    assert_eq!(planted, BTreeSet::from(Rule::ALL));
}

/// Several in one group are each found.
#[test]
fn groups_are_taken_apart() {
    let found =
        planted("session/server.rs", "use crate::{hub::{Hub, Queued}, rtmp, runtime::{self, op::{a, b}}};");
    let texts: Vec<&str> = found.iter().filter_map(|v| v.text.split(": ").next()).collect();
    assert_eq!(
        texts,
        [
            "crate::hub::Hub",
            "crate::hub::Queued",
            "crate::runtime::op::a",
            "crate::runtime::op::b",
            "crate::runtime::self"
        ]
    );
}

/// What only looks like a violation is none.
#[test]
fn near_misses_are_left_alone() {
    for (file, text) in [
        (
            "rtmp/chunk/reader.rs",
            "use crate::rtmp::limits; use super::super::Error; use super::super::super::rtmp::amf;",
        ),
        ("session/server.rs", "use crate::{rtmp::{Error, hub}, session::Instant};"),
        (
            "rtmp/chunk/reader.rs",
            "// use crate::hub::Hub;\n/// crate::hub::Hub\n//! crate::hub\n/* crate::hub /* crate::hub */ crate::hub */",
        ),
        (
            "rtmp/chunk/reader.rs",
            "const A: &str = \"crate::hub::Hub\"; const B: &[u8] = br##\"\"# crate::hub::Hub \"##;",
        ),
        (
            "rtmp/chunk/reader.rs",
            "const A: &str = \"\\\\\"; /* \" */ const B: &str = \"use crate::hub::Hub\";",
        ),
        ("rtmp/chunk/reader.rs", "fn f() { let hub = 1; hub::g(); thing::crate_::hub(); }"),
        (
            "rtmp/chunk/reader.rs",
            "pub(crate) fn f() {} pub(super) fn g() {} fn h(&self) -> u8 { self as u8 }",
        ),
        (
            "rtmp/handshake/mod.rs",
            "use super::{ApiMisuse, Error}; #[cfg(test)] mod tests { use super::*; use std::time::Instant; }",
        ),
        (
            "media/gop.rs",
            "#[cfg(test)] use std::vec; #[cfg(all(test, unix))] fn f(x: Option<[u8; 2]>) { x.unwrap(); std::f() }",
        ),
        (
            "media/gop.rs",
            "use core::time::Duration; use alloc::vec; fn f() { other::std::g(); x.unwrap_or(1); }",
        ),
        ("hub/stream.rs", "use std::{collections::HashMap, rc::Rc, sync::Arc, time::Duration};"),
        ("hub/mod.rs", "//! Floor 3.\n#![forbid(unsafe_code)]\nmod stream;"),
        ("control/api.rs", "use crate::{runtime::Handle, hub, edge};"),
        ("lib.rs", "pub mod rtmp; pub use crate::hub::Hub; use runtime::x;"),
        ("main.rs", "use inrush::{config, control};"),
        ("config.rs", "use crate::control::Settings;"),
        ("runtime/op/recv.rs", "fn f() {\n    // SAFETY: the buffer is owned.\n    unsafe { g() }\n}"),
        ("runtime/op/recv.rs", "fn f() {\n    // SAFETY: so.\n    let x =\n        h(unsafe { g() });\n}"),
        ("runtime/op/recv.rs", "// SAFETY: plain data.\n#[allow(x)]\nunsafe impl Send for X {}"),
        ("runtime/op/recv.rs", "/// Does.\n///\n/// # Safety\n/// Owned.\npub unsafe fn f() {}"),
        ("runtime/op/recv.rs", "use tokio_uring::UnsubmittedOneshot;"),
        ("runtime/op/recv.rs", "// unsafe { }\nconst S: &str = \"unsafe\"; fn f() { r#unsafely() }"),
    ] {
        assert_eq!(planted(file, text), [], "in {file}: {text}");
    }
}

/// A file behind `#[cfg(test)] mod tests;` may name `std`, but no higher floor.
#[test]
fn files_of_test_modules_are_known() {
    let parent =
        Source::new("rtmp/handshake/mod.rs", "#[cfg(test)]\n#[rustfmt::skip]\nmod tests;\nmod server;");
    let text = "use std::time::Instant; fn f(x: Option<u8>) { x.unwrap(); } use crate::hub::Hub;";
    let tests = Source::new("rtmp/handshake/tests.rs", text);
    let server = Source::new("rtmp/handshake/server.rs", text);
    let rules = |file: &str, found: &[Violation]| -> Vec<Rule> {
        found.iter().filter(|v| v.file.ends_with(file)).map(|v| v.rule).collect()
    };
    let found = check(&[parent, tests, server]);
    assert_eq!(rules("tests.rs", &found), [Rule::Upward]);
    assert_eq!(rules("server.rs", &found), [Rule::Upward, Rule::NoStd, Rule::Unwrap]);
}
