//! What `deploy/` ships is put to use: the Debian package is built, installed, started as its unit starts it, and removed.
#![cfg(feature = "engine")]

mod support;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use support::client::Client;
use support::flv::Tag;
use support::packets::Packet;
use support::root::Root;
use support::server::{Inrush, Server};
use support::synthetic::Pattern;
use support::{scratch_file, target_dir};

/// Messages of the stream that each way of installing the engine must carry: two seconds of 25 pictures and their sound.
const MESSAGES: u64 = 100;

/// A player gets all that a publisher sends.
#[track_caller]
fn assert_carries_a_stream(server: &Server) {
    let connect = || Client::open(server.rtmp()).connect("live");
    let player = connect().play("shipped").record_in_background();
    let pattern = Pattern::with_bits_per_second(100_000);
    let sent: Vec<Tag> = (0..MESSAGES).map(|number| pattern.tag(number)).collect();
    let mut publisher = connect().publish("shipped");
    sent.iter().for_each(|tag| publisher.send_tag(tag));
    publisher.unpublish();
    player.assert_whole(&Packet::from_tags(&sent));
}

/// Packs the program that was built for the tests, as `cargo deb` packs a release; without its line tables, which would be most of the work.
#[track_caller]
fn package() -> PathBuf {
    let package = scratch_file("inrush.deb");
    let built = scratch_file("built");
    fs::create_dir_all(built.join("release")).expect("make a build directory");
    let mut strip = Command::new("strip");
    strip.args([env!("CARGO_BIN_EXE_inrush"), "-o"]).arg(built.join("release/inrush"));
    assert!(strip.status().expect("strip is installed: run .ci/setup").success());
    let mut command = Command::new(target_dir().join("cargo-deb/bin/cargo-deb"));
    command.args(["deb", "--offline", "--no-build", "--fast", "-p", "inrush", "--output"]).arg(&package);
    command.current_dir(env!("CARGO_MANIFEST_DIR")).env("CARGO_TARGET_DIR", &built);
    let output = command.output().expect("cargo-deb is installed: run .ci/setup");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !errors.contains("warning"), "{errors}");
    fs::remove_dir_all(&built).expect("remove the build directory");
    package
}

/// The text after this beginning of a line.
#[track_caller]
fn field<'a>(text: &'a str, start: &str) -> &'a str {
    let line = text.lines().find_map(|line| line.strip_prefix(start));
    line.unwrap_or_else(|| panic!("no {start:?} in {text:?}")).trim()
}

/// The package is installed where its dependencies are, starts nothing, serves with the unit's own command as the unit's user, keeps the
/// administrator's file when it is installed again, and leaves nothing but the user when it is purged.
#[test]
fn the_debian_package_serves_and_goes() {
    let root = Root::copy_of_this_machine();
    let package = package();
    fs::copy(&package, root.file("/tmp/inrush.deb")).expect("copy the package into the root");
    fs::remove_file(package).expect("remove the package");
    let about = root.run(&["dpkg-deb", "--field", "/tmp/inrush.deb"]);
    let log = root.run(&["dpkg", "--install", "/tmp/inrush.deb"]);
    assert_eq!(
        root.run(&["dpkg-query", "--show", "--showformat=${db:Status-Abbrev}", "inrush"]),
        "ii ",
        "{log}"
    );

    let version = root.run(&["/usr/bin/inrush", "--version"]);
    assert_eq!(format!("inrush {}", field(&about, "Version:")), format!("{}-1", version.trim()));
    let changes = root.run(&["zcat", "/usr/share/doc/inrush/changelog.Debian.gz"]);
    assert!(changes.starts_with(&format!("inrush ({})", field(&about, "Version:"))), "{changes}");
    assert_eq!(root.run(&["stat", "-c", "%U:%G %a", CONFIGURATION]), "root:inrush 640\n");
    // Neither enabled nor running: publish and play are open until the file says who may.
    let (_, state) = root.try_run(&["systemctl", "--root=/", "is-enabled", "inrush.service"]);
    assert_eq!(state, "disabled\n");

    let unit = fs::read_to_string(root.file("/usr/lib/systemd/system/inrush.service")).expect("the unit");
    assert_eq!(field(&unit, "User="), "inrush");
    let server = as_the_unit(&root, &unit).start();
    let running = fs::read_link(format!("/proc/{}/exe", server.process().id())).expect("it runs");
    assert!(running.ends_with(PROGRAM.trim_start_matches('/')), "{running:?}");
    assert_carries_a_stream(&server);
    drop(server);

    let changed = "[limits]\nchunk_streams_max = 8\n";
    fs::write(root.file(CONFIGURATION), changed).expect("configure it");
    root.run(&["dpkg", "--install", "/tmp/inrush.deb"]);
    assert_eq!(fs::read_to_string(root.file(CONFIGURATION)).expect("it is kept"), changed);
    assert_eq!(root.run(&["stat", "-c", "%U:%G %a", CONFIGURATION]), "root:inrush 640\n");

    let installed = root.run(&["dpkg-query", "--listfiles", "inrush"]);
    let installed: Vec<&str> = installed.lines().filter(|path| path.contains("inrush")).collect();
    assert!(installed.contains(&PROGRAM) && installed.contains(&CONFIGURATION), "{installed:?}");
    fs::create_dir_all(root.file("/var/lib/inrush/recordings")).expect("make a recording's directory");
    root.run(&["dpkg", "--remove", "inrush"]);
    let left = |path: &&&str| root.file(path).symlink_metadata().is_ok();
    assert_eq!(installed.iter().filter(left).collect::<Vec<_>>(), [&"/etc/inrush", &CONFIGURATION]);
    root.run(&["dpkg", "--purge", "inrush"]);
    assert_eq!(installed.iter().filter(left).count(), 0);
    assert!(!root.file("/var/lib/inrush").exists());
    assert!(root.run(&["getent", "passwd", "inrush"]).contains("inrush, RTMP ingest engine"));
}

const PROGRAM: &str = "/usr/bin/inrush";
const CONFIGURATION: &str = "/etc/inrush/inrush.toml";

/// How the unit starts it, as its user and without its one capability, which only ports below 1024 need.
fn as_the_unit(root: &Root, unit: &str) -> Inrush {
    let mut line = root.exec_prefix();
    let closed = ["setpriv", "--reuid=inrush", "--regid=inrush", "--init-groups", "--no-new-privs"];
    line.extend(closed.map(str::to_owned));
    line.extend(["--inh-caps=-all", "--bounding-set=-all"].map(str::to_owned));
    line.extend(field(unit, "ExecStart=").split(' ').map(str::to_owned));
    Inrush::new().installed(line)
}
