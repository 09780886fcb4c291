//! Every input that is kept for the fuzz targets, with the checks of a debug build: what was once found stays found wherever the tests run.
//!
//! The bodies are those of the targets themselves (`fuzz/src`). Inputs in `fuzz/corpus` are those that cover most with fewest; those in
//! `fuzz/regressions` once failed, and their names say how.

#[path = "../fuzz/src/lib.rs"]
mod fuzz;

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

fn directory(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(name)
}

/// Names in a directory; none if there is no such directory.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Every kept input passes, and every target has some.
#[test]
fn kept_inputs_pass() {
    for (target, body) in fuzz::TARGETS {
        let mut count = 0;
        for kind in ["corpus", "regressions"] {
            let directory = directory(kind).join(target);
            for name in names(&directory) {
                let input = fs::read(directory.join(&name)).unwrap();
                assert!(catch_unwind(|| body(&input)).is_ok(), "fuzz/{kind}/{target}/{name}");
                count += 1;
            }
        }
        assert!(count >= 8, "{target} has {count} inputs");
    }
}

/// Inputs of no length, of one byte of each value, and of a byte that repeats: every target takes any bytes.
#[test]
fn plain_inputs_pass() {
    for (target, body) in fuzz::TARGETS {
        for byte in 0..=255 {
            for count in [0, 1, 2, 7, 300] {
                let input = vec![byte; count];
                assert!(catch_unwind(|| body(&input)).is_ok(), "{target} with {count} times {byte:#04x}");
            }
        }
    }
}

/// No target is forgotten anywhere: each has its file, its entry in the manifest, and no corpus is without a target.
#[test]
fn targets_files_and_corpora_agree() {
    let targets: Vec<_> = fuzz::TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let files: Vec<_> =
        names(&directory("fuzz_targets")).iter().map(|name| name.replace(".rs", "")).collect();
    assert_eq!(files, targets);
    let manifest = fs::read_to_string(directory("Cargo.toml")).unwrap();
    for target in &targets {
        assert!(
            manifest.contains(&format!("path = \"fuzz_targets/{target}.rs\"")),
            "{target} has no [[bin]]"
        );
    }
    assert_eq!(names(&directory("corpus")), targets);
    assert!(names(&directory("regressions")).iter().all(|name| targets.contains(name)));
}
