//! Floors 0-2 need no standard library: a static library with its own panic handler and allocator links and runs them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The library's crate, and where it is built.
fn crate_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/no_std")
}

fn target_dir() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("no_std")
}

/// Builds the library with the dependencies that the workspace has locked, and without asking a registry.
fn build(arguments: &[&str]) -> Output {
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock");
    std::fs::copy(lock, crate_dir().join("Cargo.lock")).unwrap();
    Command::new(env!("CARGO"))
        .args(["build", "--release", "--offline", "--target-dir"])
        .arg(target_dir())
        .args(arguments)
        .current_dir(crate_dir())
        // A wrapper or flags of the outer build have no say here.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .output()
        .unwrap()
}

/// The library links into a C program that has nothing else, and every proof in it succeeds. Then the same library must
/// not build once a dependency brings std, or the first half proves nothing.
#[test]
fn floors_0_to_2_link_and_run_without_std() {
    let built = build(&[]);
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));

    let program = target_dir().join("no_std");
    let source = target_dir().join("main.c");
    std::fs::write(
        &source,
        "unsigned inrush_no_std(void);\nint main(void) { return (int)inrush_no_std(); }\n",
    )
    .unwrap();
    let linked = Command::new("cc")
        .arg("-o")
        .args([&program, &source, &target_dir().join("release/libinrush_no_std.a")])
        .output()
        .unwrap();
    assert!(linked.status.success(), "{}", String::from_utf8_lossy(&linked.stderr));
    let code = Command::new(&program).status().unwrap().code();
    assert_eq!(code, Some(0), "number of the proof in tests/no_std/src/lib.rs that failed");

    let planted = build(&["--features", "std"]);
    let why = String::from_utf8_lossy(&planted.stderr);
    assert!(!planted.status.success(), "std went unnoticed");
    assert!(why.contains("duplicate lang item `panic_impl`"), "failed for another reason: {why}");
}
