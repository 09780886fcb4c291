//! One source file: its place among the modules, the paths that it names, and which of it is only for tests.

use std::ops::Range;

use crate::lexer::{Kind, Token, tokens};

/// A file under `src/`.
pub(crate) struct Source {
    /// Path from the root of the repository, for messages.
    pub(crate) file: String,
    /// Where it is in the crate: `["rtmp", "chunk", "reader"]`; empty for `lib.rs` and `main.rs`.
    pub(crate) module: Vec<String>,
    /// All tokens, comments among them.
    pub(crate) tokens: Vec<Token>,
}

/// A path as it was written, groups taken apart: `crate::{a, b::c}` is two.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Path {
    pub(crate) segments: Vec<String>,
    /// Module that it stands in, inline modules included.
    pub(crate) module: Vec<String>,
    /// Index of its first token in the code, which [`Source::code`] gives.
    pub(crate) at: usize,
    pub(crate) line: usize,
}

impl Source {
    /// `file` is relative to `src/`.
    pub(crate) fn new(file: &str, text: &str) -> Self {
        let mut module: Vec<String> = file.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
        if matches!(module.last().map(String::as_str), Some("mod")) || matches!(file, "lib.rs" | "main.rs") {
            module.pop();
        }
        Self { file: format!("src/{file}"), module, tokens: tokens(text) }
    }

    /// The tokens without comments.
    pub(crate) fn code(&self) -> Vec<&Token> {
        self.tokens.iter().filter(|token| token.kind != Kind::Comment).collect()
    }

    /// All paths of at least two segments, and `crate` or `super` where they stand for a whole module (`use crate as x`).
    pub(crate) fn paths(&self) -> Vec<Path> {
        let code = self.code();
        let mut paths = Vec::new();
        let mut inline: Vec<(String, usize)> = Vec::new();
        let mut depth = 0_usize;
        for (at, token) in code.iter().enumerate() {
            if token.is("{") {
                depth += 1;
                if at >= 2 && code[at - 2].is("mod") {
                    inline.push((code[at - 1].text.clone(), depth));
                }
            } else if token.is("}") {
                inline.retain(|(_, opened_at)| *opened_at < depth);
                depth = depth.saturating_sub(1);
            }
            if !starts_path(&code, at) {
                continue;
            }
            let mut found = Vec::new();
            expand(&code, at, &mut Vec::new(), &mut found);
            let module: Vec<String> =
                self.module.iter().cloned().chain(inline.iter().map(|(name, _)| name.clone())).collect();
            paths.extend(found.into_iter().map(|segments| Path {
                segments,
                module: module.clone(),
                at,
                line: token.line,
            }));
        }
        paths
    }

    /// Which tokens of the code are compiled for tests only, as ranges of indexes.
    pub(crate) fn test_ranges(&self) -> Vec<Range<usize>> {
        let code = self.code();
        test_attributes(&code).map(|at| at..item_end(&code, at)).collect()
    }

    /// Modules declared here that are compiled for tests only: `#[cfg(test)] mod tests;`.
    pub(crate) fn test_modules(&self) -> Vec<Vec<String>> {
        let code = self.code();
        test_attributes(&code)
            .filter_map(|at| {
                let at = behind_attributes(&code, at);
                let declared = code.get(at)?.is("mod") && code.get(at + 2)?.is(";");
                declared.then(|| [&self.module[..], &[code[at + 1].text.clone()]].concat())
            })
            .collect()
    }
}

/// Whether a path that matters begins at this token.
fn starts_path(code: &[&Token], at: usize) -> bool {
    let is = |at: usize, text: &str| code.get(at).is_some_and(|token| token.is(text));
    if code[at].kind != Kind::Ident {
        return false;
    }
    // `use crate as x` would give a module a name that hides where it is.
    if (code[at].is("crate") || code[at].is("super")) && is(at + 1, "as") {
        return true;
    }
    if !is(at + 1, "::") {
        return false;
    }
    if at < 2 || !is(at - 1, "::") {
        return true;
    }
    // Behind a `::` it is the middle of a path, unless what stands before cannot end a segment.
    let keyword =
        ["use", "as", "in", "return", "mut", "dyn", "impl", "for", "where", "match", "if", "let", "else"];
    let before = code[at - 2];
    !(before.is(">") || before.kind == Kind::Ident && !keyword.contains(&before.text.as_str()))
}

/// Adds the path that continues at `at`, or the paths if it has groups.
fn expand(code: &[&Token], at: usize, prefix: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    let Some(token) = code.get(at) else { return };
    if token.is("{") {
        let mut depth = 0;
        let mut starts = true;
        for (i, token) in code.iter().enumerate().skip(at) {
            if depth == 1 && starts && !token.is("}") {
                expand(code, i, &mut prefix.clone(), found);
            }
            depth += i32::from(token.is("{")) - i32::from(token.is("}"));
            starts = depth == 1 && (token.is("{") || token.is(","));
            if depth == 0 {
                return;
            }
        }
    } else if token.kind == Kind::Ident || token.is("*") {
        prefix.push(token.text.clone());
        match code.get(at + 1) {
            Some(next) if next.is("::") => expand(code, at + 2, prefix, found),
            _ => found.push(prefix.clone()),
        }
    } else {
        // `::<`: generic arguments; what is in them is found on its own.
        found.push(prefix.clone());
    }
}

/// Where a `#[cfg(test)]` or `#[cfg(all(test, …))]` begins.
fn test_attributes<'a>(code: &'a [&'a Token]) -> impl Iterator<Item = usize> + 'a {
    (0..code.len()).filter(|at| {
        let begins = ["#", "[", "cfg", "("]
            .iter()
            .enumerate()
            .all(|(i, text)| code.get(at + i).is_some_and(|token| token.is(text)));
        let end = attribute_end(code, *at);
        let has = |text: &str| code[*at..end].iter().any(|token| token.is(text));
        begins && has("test") && !has("not") && !has("any")
    })
}

/// Behind the attribute that begins at `at`.
fn attribute_end(code: &[&Token], at: usize) -> usize {
    let mut depth = 0;
    for (i, token) in code.iter().enumerate().skip(at) {
        depth += i32::from(token.is("[")) - i32::from(token.is("]"));
        if depth == 0 && token.is("]") {
            return i + 1;
        }
    }
    code.len()
}

fn behind_attributes(code: &[&Token], mut at: usize) -> usize {
    while code.get(at).is_some_and(|token| token.is("#")) {
        at = attribute_end(code, at);
    }
    at
}

/// Behind the item whose attributes begin at `at`.
fn item_end(code: &[&Token], at: usize) -> usize {
    let mut depth = 0;
    for (i, token) in code.iter().enumerate().skip(behind_attributes(code, at)) {
        let is_any = |texts: [&str; 3]| texts.iter().any(|text| token.is(text));
        depth += i32::from(is_any(["(", "[", "{"])) - i32::from(is_any([")", "]", "}"]));
        if depth == 0 && (token.is("}") || token.is(";")) {
            return i + 1;
        }
    }
    code.len()
}
