//! The rules that hold the floors, each over one source file.

use std::fmt;

use crate::lexer::Kind;
use crate::source::{Path, Source};

/// Modules of the crate's root and their floors. A file uses its own floor and those below.
const FLOORS: &[(&str, u8)] = &[
    ("rtmp", 0),
    ("session", 1),
    ("media", 2),
    ("hub", 3),
    ("runtime", 4),
    ("edge", 5),
    ("control", 5),
    ("config", 6),
    ("greeting", 6),
    ("reload", 6),
    ("replay", 6),
    ("log", 6),
    ("serve", 6),
    ("systemd", 6),
    ("main", 6),
];

/// What `main.rs` and `lib.rs` stand on.
const TOP: u8 = 6;

/// Floors 0-2 are `no_std`; 0-3 forbid unsafe code and know no outside world.
const LAST_NO_STD: u8 = 2;
const LAST_PURE: u8 = 3;

/// The one floor that may hold unsafe code.
const UNSAFE_FLOOR: u8 = 4;

/// What the hub may not name: one core's state has no locks, no I/O and no clock (design.md, "Floors").
const OUTSIDE: [&[&str]; 18] = [
    &["std", "net"],
    &["std", "os"],
    &["std", "fs"],
    &["std", "io"],
    &["std", "env"],
    &["std", "process"],
    &["std", "thread"],
    &["std", "time", "Instant"],
    &["std", "time", "SystemTime"],
    &["std", "sync", "Mutex"],
    &["std", "sync", "RwLock"],
    &["std", "sync", "Condvar"],
    &["std", "sync", "mpsc"],
    &["std", "sync", "atomic"],
    &["tokio"],
    &["tokio_uring"],
    &["io_uring"],
    &["libc"],
];

/// Which rule is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rule {
    /// A path leads to a higher floor.
    Upward,
    /// A path leads to the crate's root, where the floor that is meant does not show.
    Root,
    /// A file belongs to no floor.
    Floor,
    /// Code from elsewhere: `include!`, `#[path]`, `extern crate self`.
    Smuggled,
    /// A floor up to the hub does not forbid unsafe code.
    Forbid,
    /// Floors 0-2 name `std`, or are not the same code in both builds.
    NoStd,
    /// The hub names the outside world.
    Outside,
    /// Unsafe code without its reason, or on a floor that should have none.
    Unsafe,
    /// A submission queue entry is built elsewhere than in `runtime/op`, whose operations own their descriptors and buffers.
    Operation,
    /// `unwrap()` gives no reason why it cannot fail; `expect` does.
    Unwrap,
}

impl Rule {
    /// Every rule: each must be seen to find something.
    pub(crate) const ALL: [Self; 10] = [
        Self::Upward,
        Self::Root,
        Self::Floor,
        Self::Smuggled,
        Self::Forbid,
        Self::NoStd,
        Self::Outside,
        Self::Unsafe,
        Self::Operation,
        Self::Unwrap,
    ];
}

/// A rule broken at a place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Violation {
    pub(crate) file: String,
    pub(crate) line: usize,
    pub(crate) rule: Rule,
    pub(crate) text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {:?}: {}", self.file, self.line, self.rule, self.text)
    }
}

/// All violations in these files, which are the whole of `src/`.
pub(crate) fn check(sources: &[Source]) -> Vec<Violation> {
    let test_modules: Vec<Vec<String>> = sources.iter().flat_map(Source::test_modules).collect();
    let mut violations = Vec::new();
    for source in sources {
        let only_for_tests = test_modules.iter().any(|module| source.module.starts_with(module));
        let mut file = File { source, only_for_tests, violations: &mut violations };
        match floor_of(&source.module) {
            None => file.report(
                1,
                Rule::Floor,
                "belongs to no floor; `FLOORS` in tests/floors/rules.rs names them",
            ),
            Some(floor) => file.check(floor),
        }
    }
    violations.sort();
    violations
}

/// Floor of a module; `None` when its first segment is not a module of the root.
fn floor_of(module: &[String]) -> Option<u8> {
    match module.first() {
        None => Some(TOP),
        Some(first) => FLOORS.iter().find(|(name, _)| name == first).map(|(_, floor)| *floor),
    }
}

/// One file under check.
struct File<'a> {
    source: &'a Source,
    only_for_tests: bool,
    violations: &'a mut Vec<Violation>,
}

impl File<'_> {
    fn report(&mut self, line: usize, rule: Rule, text: impl Into<String>) {
        self.violations.push(Violation { file: self.source.file.clone(), line, rule, text: text.into() });
    }

    fn check(&mut self, floor: u8) {
        let paths = self.source.paths();
        for path in &paths {
            self.check_direction(floor, path);
        }
        self.check_smuggled();
        if floor <= LAST_PURE {
            self.check_forbid();
        }
        self.check_unsafe(floor);
        if self.only_for_tests {
            return;
        }
        let tests = self.source.test_ranges();
        let is_test = |at: usize| tests.iter().any(|range| range.contains(&at));
        for path in paths.iter().filter(|path| !is_test(path.at)) {
            self.check_outside(floor, path);
        }
        let code = self.source.code();
        for at in (0..code.len()).filter(|at| !is_test(*at)) {
            let is = |ahead: usize, text: &str| code.get(at + ahead).is_some_and(|token| token.is(text));
            if is(0, "UnsubmittedOneshot") && !self.source.module.starts_with(&operations()) {
                self.report(code[at].line, Rule::Operation, "only src/runtime/op may build operations");
            }
            if is(0, ".") && is(1, "unwrap") && is(2, "(") {
                self.report(code[at].line, Rule::Unwrap, "`expect` says why it cannot fail");
            }
            if floor <= LAST_NO_STD && is(0, "feature") && is(1, "=") {
                self.report(code[at].line, Rule::NoStd, "floors 0-2 are the same code with every feature");
            }
        }
    }

    /// Rules [`Rule::Upward`] and [`Rule::Root`].
    fn check_direction(&mut self, floor: u8, path: &Path) {
        let Some(target) = absolute(path) else { return };
        let written = path.segments.join("::");
        match target.first().map(String::as_str) {
            _ if floor == TOP => {}
            None | Some("*" | "self") => self.report(path.line, Rule::Root, written),
            Some(_) => match floor_of(&target) {
                None => self.report(path.line, Rule::Root, format!("{written} names no floor")),
                Some(to) if to > floor => {
                    self.report(
                        path.line,
                        Rule::Upward,
                        format!("{written}: from floor {floor} to floor {to}"),
                    );
                }
                Some(_) => {}
            },
        }
    }

    fn check_smuggled(&mut self) {
        let code = self.source.code();
        for at in 0..code.len() {
            let is = |ahead: usize, text: &str| code.get(at + ahead).is_some_and(|token| token.is(text));
            let found = (is(0, "include") && is(1, "!"))
                || (is(0, "[") && is(1, "path") && is(2, "="))
                || (is(0, "extern") && is(1, "crate") && (is(2, "self") || is(2, "inrush")));
            if found {
                self.report(code[at].line, Rule::Smuggled, "code from elsewhere escapes the rules");
            }
        }
    }

    fn check_forbid(&mut self) {
        // The attribute of a floor's own module holds for all below it.
        if self.source.module.len() != 1 {
            return;
        }
        let forbid = ["#", "!", "[", "forbid", "(", "unsafe_code", ")", "]"];
        let code = self.source.code();
        if !code
            .windows(forbid.len())
            .any(|window| window.iter().zip(forbid).all(|(token, text)| token.is(text)))
        {
            self.report(1, Rule::Forbid, "lacks #![forbid(unsafe_code)]");
        }
    }

    /// Rules [`Rule::NoStd`] and [`Rule::Outside`].
    fn check_outside(&mut self, floor: u8, path: &Path) {
        let names = |prefix: &[&str]| {
            path.segments.iter().zip(prefix).filter(|(a, b)| a == b).count() == prefix.len()
        };
        if floor <= LAST_NO_STD && names(&["std"]) {
            self.report(path.line, Rule::NoStd, path.segments.join("::"));
        } else if floor <= LAST_PURE && OUTSIDE.iter().any(|outside| names(outside)) {
            self.report(path.line, Rule::Outside, path.segments.join("::"));
        }
    }

    /// Every `unsafe` is on the one floor for it, with a comment `SAFETY:` (or a `# Safety` in its documentation) between
    /// it and the end of the statement or item before.
    fn check_unsafe(&mut self, floor: u8) {
        let tokens = &self.source.tokens;
        for (at, token) in tokens.iter().enumerate().filter(|(_, token)| token.is("unsafe")) {
            if floor != UNSAFE_FLOOR {
                self.report(token.line, Rule::Unsafe, "only src/runtime may hold unsafe code");
                continue;
            }
            let reason = tokens[..at]
                .iter()
                .rev()
                .take_while(|token| !(token.is(";") || token.is("{") || token.is("}")))
                .any(|token| {
                    token.kind == Kind::Comment
                        && (token.text.contains("SAFETY:") || token.text.contains("# Safety"))
                });
            if !reason {
                self.report(token.line, Rule::Unsafe, "lacks its // SAFETY:");
            }
        }
    }
}

/// The module of the kernel operations.
fn operations() -> [String; 2] {
    ["runtime".to_owned(), "op".to_owned()]
}

/// The path from the crate's root; `None` when it leads out of the crate or is relative to names that are in scope.
fn absolute(path: &Path) -> Option<Vec<String>> {
    let (first, rest) = path.segments.split_first()?;
    match first.as_str() {
        "crate" | "inrush" => Some(rest.to_vec()),
        "self" => Some([&path.module[..], rest].concat()),
        "super" => {
            let ups = path.segments.iter().take_while(|segment| *segment == "super").count();
            let kept = path.module.len().saturating_sub(ups);
            Some([&path.module[..kept], &path.segments[ups..]].concat())
        }
        _ => None,
    }
}
