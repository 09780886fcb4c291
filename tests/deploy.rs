//! What `deploy/` ships is put to use: the Debian package is built, installed, started as its unit starts it, and removed; the container's file
//! is read and its last stage made and run, under the profile of system calls beside it; Kubernetes' manifests are held together, and what they
//! make of the container is run.
#![cfg(feature = "engine")]

mod support;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use support::client::Client;
use support::confinement::Confinement;
use support::flv::Tag;
use support::packets::Packet;
use support::root::Root;
use support::seccomp::Filter;
use support::server::{Inrush, Server};
use support::synthetic::Pattern;
use support::{scratch_file, target_dir};
use yaml_rust2::{Yaml, YamlLoader};

/// Messages of the stream that each way of installing the engine must carry: two seconds of 25 pictures and their sound.
const MESSAGES: u64 = 100;

/// A player gets all that a publisher sends.
#[track_caller]
fn assert_carries_a_stream(server: &Server) {
    let connect = || Client::open(server.rtmp()).connect("live");
    let player = connect().play("shipped").record_in_background();
    // Else it may come when all is over, and wait for the next publisher.
    server.wait_for_players("live", "shipped", 1);
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

/// The top of the repository, which is what a container is built from.
const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");
const CONTAINER_FILE: &str = include_str!("../deploy/container/Containerfile");
const PROFILE: &str = include_str!("../deploy/container/seccomp.json");
const IO_URING: [&str; 3] = ["io_uring_setup", "io_uring_enter", "io_uring_register"];

/// The instructions of a container's file, each as its word and the rest of its line, stage by stage.
fn stages(file: &str) -> Vec<Vec<(&str, &str)>> {
    let mut stages: Vec<Vec<(&str, &str)>> = Vec::new();
    for line in file.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
        let (word, rest) = line.split_once(' ').expect("a word and what it is about");
        assert!(!line.ends_with('\\') && word.bytes().all(|byte| byte.is_ascii_uppercase()), "{line}");
        if word == "FROM" {
            stages.push(Vec::new());
        }
        stages.last_mut().expect("the first instruction is FROM").push((word, rest));
    }
    stages
}

/// What all instructions of this word say.
fn said<'a>(stage: &'a [(&str, &str)], word: &str) -> Vec<&'a str> {
    stage.iter().filter(|(its, _)| *its == word).map(|(_, rest)| *rest).collect()
}

/// What a COPY takes, and where to.
fn copied(line: &str) -> (Vec<&str>, &str) {
    let mut words: Vec<&str> = line.split(' ').filter(|word| !word.starts_with("--")).collect();
    let target = words.pop().expect("COPY has a target");
    (words, target)
}

/// The line that a container starts, without a shell.
fn entry(stage: &[(&str, &str)]) -> Vec<String> {
    let list = |word| serde_json::from_str::<Vec<String>>(said(stage, word)[0]).expect("a list, no shell");
    [list("ENTRYPOINT"), list("CMD")].concat()
}

/// Puts the program into a root, with the libraries that it needs: all of them are in the base of the last stage.
#[track_caller]
fn put_program(root: &Root, path: &str) {
    root.put(env!("CARGO_BIN_EXE_inrush"), path);
    let libraries = Command::new("ldd").arg(env!("CARGO_BIN_EXE_inrush")).output().expect("ldd is there");
    let libraries = String::from_utf8_lossy(&libraries.stdout).into_owned();
    for library in libraries.split_whitespace().filter(|word| word.starts_with('/')) {
        let name = library.rsplit('/').next().expect("a name");
        let is_in_base =
            ["libc.so.6", "libgcc_s.so.1", "libm.so.6"].contains(&name) || name.starts_with("ld-linux");
        assert!(is_in_base, "{library} is not in the base");
        root.put(library, library);
    }
}

/// Bases are named with their tags, the compiler is the oldest that is promised, nothing runs as root, and the drain is what stops it. What
/// the first stage copies is all that Cargo needs.
#[test]
fn the_container_file_is_sound() {
    let stages = stages(CONTAINER_FILE);
    let [build, last] = &stages[..] else { panic!("two stages: {stages:?}") };
    let compiler =
        concat!("docker.io/library/rust:", env!("CARGO_PKG_RUST_VERSION"), "-slim-bookworm AS build");
    assert_eq!(said(build, "FROM"), [compiler]);
    // Debian 12 as well, so that the C library is the one that it was linked with.
    assert_eq!(said(last, "FROM"), ["gcr.io/distroless/cc-debian12:nonroot"]);
    assert_eq!(said(last, "USER"), ["65532:65532"]);
    assert_eq!(said(last, "STOPSIGNAL"), ["SIGTERM"]);
    assert_eq!(said(last, "EXPOSE"), ["1935/tcp"]);
    assert_eq!(said(last, "RUN"), [""; 0], "there is no shell in it");

    let stage = scratch_file("stage");
    fs::create_dir_all(&stage).expect("make a directory for the stage");
    for line in said(build, "COPY") {
        let (sources, target) = copied(line);
        for source in sources {
            let target =
                if target.ends_with('/') { stage.join(target).join(source) } else { stage.join(target) };
            let copy =
                Command::new("cp").arg("-r").arg(format!("{REPOSITORY}/{source}")).arg(target).status();
            assert!(copy.expect("cp is there").success(), "{line}");
        }
    }
    let [run] = said(build, "RUN")[..] else { panic!("one RUN") };
    assert_eq!(run, "cargo build --locked --release --package inrush --bin inrush");
    // As far as it goes without compiling all of it again: Cargo reads what is there, finds the files of all targets, and need not change the lock.
    let mut metadata = Command::new(env!("CARGO"));
    metadata.args(["metadata", "--locked", "--offline", "--format-version=1"]).current_dir(&stage);
    let metadata = metadata.output().expect("cargo is there");
    assert!(metadata.status.success(), "{}", String::from_utf8_lossy(&metadata.stderr));
    fs::remove_dir_all(&stage).expect("remove the stage");
}

/// The program, the libraries that the last stage's base has, and what the stage copies are all that it needs: read-only, as its user, and
/// under the profile, it carries a stream and ends as it should.
#[test]
fn the_container_serves_under_its_profile() {
    let stages = stages(CONTAINER_FILE);
    let last = stages.last().expect("there are stages");
    let root = Root::next_to_nothing();
    for line in said(last, "COPY") {
        let (sources, target) = copied(line);
        match sources[..] {
            ["/src/target/release/inrush"] => put_program(&root, target),
            [source] if !line.contains("--from") => root.put(format!("{REPOSITORY}/{source}"), target),
            _ => panic!("{line}"),
        }
    }
    root.make_read_only();

    let user = said(last, "USER")[0].split(':').next().and_then(|user| user.parse().ok()).expect("a number");
    let profile: Value = serde_json::from_str(PROFILE).expect("JSON");
    let confinement = Confinement::default().root(&root).user(user).filter(Filter::of_profile(&profile, &[]));
    let server = Inrush::new().installed(entry(last)).confined(&confinement).start();
    assert_carries_a_stream(&server);
    let status = fs::read_to_string(format!("/proc/{}/status", server.process().id())).expect("it runs");
    let of = |name: &str| field(&status, name).split_whitespace().next().unwrap_or_default().to_owned();
    assert_eq!((of("Uid:"), of("Seccomp:"), of("NoNewPrivs:")), ("65532".into(), "2".into(), "1".into()));
    assert_eq!(u64::from_str_radix(&of("CapEff:"), 16), Ok(0));
    let refused = fs::read_to_string(format!("/proc/{}/root/etc/inrush/inrush.toml", server.process().id()));
    assert!(refused.is_ok_and(|text| text.starts_with("# inrush: every key")));
}

/// Without io_uring in the profile, as in Docker's default, preflight and a start say that it is the profile, and which calls and which
/// profile mend it. Where the kernel's setting shuts io_uring out, they say that, though the error is the same.
#[test]
fn a_container_without_io_uring_is_told_why() {
    let profile: Value = serde_json::from_str(PROFILE).expect("JSON");
    let added = |rule: &&Value| {
        rule["names"]
            .as_array()
            .is_some_and(|names| names.iter().any(|name| IO_URING.iter().any(|call| name == call)))
    };
    let added: Vec<&Value> = profile["syscalls"].as_array().expect("rules").iter().filter(added).collect();
    assert_eq!(added.len(), 1, "what is added to the default is one rule");

    let confinement = Confinement::default().user(65532).filter(Filter::of_profile(&profile, &IO_URING));
    let told = |program: &str, confinement: &Confinement, line: &[&str]| {
        let mut command = Command::new(program);
        command.args(["--rtmp", "127.0.0.1:0", "--http", "127.0.0.1:0"]).args(line);
        confinement.hold(&mut command);
        let output = command.output().expect("it starts");
        assert_eq!(output.status.code(), Some(3));
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    let built = env!("CARGO_BIN_EXE_inrush");
    let of_preflight = told(built, &confinement, &["preflight"]);
    let verdict = |text: &str, check: &str| {
        let line =
            text.lines().find(|line| line.split_whitespace().nth(1) == Some(check)).expect("it is checked");
        line.split_whitespace().next().unwrap_or_default().to_owned()
    };
    assert_eq!(verdict(&of_preflight, "io_uring_disabled"), "ok", "{of_preflight}");
    assert_eq!(verdict(&of_preflight, "io_uring"), "failed", "{of_preflight}");
    for text in [of_preflight, told(built, &confinement, &[])] {
        let mends = IO_URING.iter().chain(&["deploy/container/seccomp.json"]).all(|part| text.contains(part));
        assert!(mends && text.contains("seccomp filter"), "{text}");
    }

    let root = Root::next_to_nothing();
    put_program(&root, "/inrush");
    root.pretend("/proc/sys/kernel/io_uring_disabled", "2\n");
    let confinement = confinement.root(&root);
    let of_preflight = told("/inrush", &confinement, &["preflight"]);
    assert_eq!(verdict(&of_preflight, "io_uring_disabled"), "failed", "{of_preflight}");
    assert_eq!(verdict(&of_preflight, "io_uring"), "unknown", "{of_preflight}");
    for text in [of_preflight, told("/inrush", &confinement, &[])] {
        let mends = text.contains("sysctl -w kernel.io_uring_disabled=0");
        assert!(mends && !text.contains("seccomp"), "{text}");
    }
}

const MANIFESTS: &str = include_str!("../deploy/kubernetes/inrush.yaml");

/// What the engine asks a service manager for on top of its drain, seconds (`tests/systemd.rs` hears it).
const AFTER_DRAIN_SECONDS: i64 = 15;

/// YAML as JSON, which is what Kubernetes makes of it.
#[track_caller]
fn as_json(yaml: &Yaml) -> Value {
    match yaml {
        Yaml::Null => Value::Null,
        Yaml::Boolean(it) => (*it).into(),
        Yaml::Integer(it) => (*it).into(),
        Yaml::String(it) => it.as_str().into(),
        Yaml::Array(list) => list.iter().map(as_json).collect(),
        Yaml::Hash(map) => map
            .iter()
            .map(|(key, value)| (key.as_str().expect("a name").to_owned(), as_json(value)))
            .collect(),
        other => panic!("{other:?} is nothing that the manifests need"),
    }
}

/// The one manifest of this kind and name.
#[track_caller]
fn manifest(kind: &str, name: &str) -> Value {
    let documents = YamlLoader::load_from_str(MANIFESTS).expect("YAML");
    let all: Vec<Value> = documents.iter().map(as_json).collect();
    for it in all.iter().filter(|it| it["kind"] != "Namespace") {
        assert_eq!(it["metadata"]["namespace"], "inrush");
    }
    let is_it = |it: &&Value| it["kind"] == kind && it["metadata"]["name"] == name;
    let [found] = all.iter().filter(is_it).collect::<Vec<_>>()[..] else { panic!("one {kind} {name}") };
    found.clone()
}

/// The entry of a list that has this name.
#[track_caller]
fn named<'a>(list: &'a Value, name: &str) -> &'a Value {
    let found = list.as_array().expect("a list").iter().find(|entry| entry["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {list}"))
}

/// Labels, ports, volumes and times of the manifests fit each other, and the pod is the container's: its user, its line, its profile.
#[test]
fn the_manifests_hold_together() {
    let set = manifest("StatefulSet", "inrush");
    let pod = &set["spec"]["template"];
    let labels = &pod["metadata"]["labels"];
    let services = ["inrush", "inrush-nodes"].map(|name| manifest("Service", name));
    assert_eq!(&set["spec"]["selector"]["matchLabels"], labels);
    assert_eq!(&manifest("PodDisruptionBudget", "inrush")["spec"]["selector"]["matchLabels"], labels);
    manifest("Namespace", "inrush");
    let [container] = &pod["spec"]["containers"].as_array().expect("a list")[..] else {
        panic!("one container")
    };

    let configuration = manifest("ConfigMap", "inrush")["data"]["inrush.toml"].clone();
    let configuration = configuration.as_str().expect("text");
    for (name, port) in [("rtmp", 1935), ("control", 8935)] {
        assert!(configuration.contains(&format!("\"0.0.0.0:{port}\"")), "{configuration}");
        let its = named(&container["ports"], name);
        assert_eq!((its["containerPort"].as_i64(), its["hostPort"].as_i64()), (Some(port), Some(port)));
    }
    for service in &services {
        assert_eq!(&service["spec"]["selector"], labels);
        let [port] = &service["spec"]["ports"].as_array().expect("a list")[..] else { panic!("RTMP alone") };
        assert_eq!((&port["port"], &port["targetPort"]), (&1935.into(), &"rtmp".into()));
    }
    assert_eq!(set["spec"]["serviceName"], services[1]["metadata"]["name"]);
    assert_eq!(services[1]["spec"]["clusterIP"], "None");

    let seconds = |value: &Value| value.as_i64().expect("seconds");
    let drain = field(configuration, "drain_seconds =").parse::<i64>().expect("seconds");
    let asked = seconds(&container["lifecycle"]["preStop"]["sleep"]["seconds"]) + drain + AFTER_DRAIN_SECONDS;
    assert!(seconds(&pod["spec"]["terminationGracePeriodSeconds"]) >= asked);

    // Guaranteed, and whole CPUs: what the static policy asks for.
    let resources = &container["resources"];
    assert_eq!(resources["requests"], resources["limits"]);
    assert!(
        resources["limits"]["cpu"]
            .as_str()
            .is_some_and(|cpus| cpus.parse::<u32>().is_ok_and(|cpus| cpus > 0))
    );
    assert!(resources["limits"]["memory"].is_string());

    let stages = stages(CONTAINER_FILE);
    let last = stages.last().expect("there are stages");
    let rights = &pod["spec"]["securityContext"];
    let user = format!("{}:{}", rights["runAsUser"], rights["runAsGroup"]);
    assert_eq!((said(last, "USER"), &rights["runAsNonRoot"]), (vec![user.as_str()], &true.into()));
    assert_eq!(rights["fsGroup"], rights["runAsGroup"]);
    assert_eq!(rights["seccompProfile"]["type"], "Localhost");
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    assert_eq!(container["securityContext"]["allowPrivilegeEscalation"], false);
    assert_eq!(container["securityContext"]["capabilities"]["drop"], Value::from(vec!["ALL"]));
    let image = container["image"].as_str().expect("a name");
    assert!(image.ends_with(concat!("/inrush:", env!("CARGO_PKG_VERSION"))), "{image}");
}

/// With files and line as the manifests give them, as its user and under its profile, it serves: what the probes ask for is open and well,
/// everything else asks for the Secret's token.
#[test]
fn the_pod_serves_and_its_probes_are_answered() {
    const TOKEN: &str = "0123456789abcdef0123456789abcdef";
    let pod = &manifest("StatefulSet", "inrush")["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let root = Root::next_to_nothing();
    let stages = stages(CONTAINER_FILE);
    let program = entry(stages.last().expect("there are stages"))[0].clone();
    put_program(&root, &program);
    let files = |volume: &Value| {
        if let Some(map) = volume["configMap"]["name"].as_str() {
            return manifest("ConfigMap", map)["data"].clone();
        }
        // The README's line makes it.
        assert_eq!(volume["secret"]["secretName"], "inrush-control");
        serde_json::json!({ "token": TOKEN })
    };
    for mount in container["volumeMounts"].as_array().expect("a list") {
        let volume = named(&pod["volumes"], mount["name"].as_str().expect("a name"));
        for (name, text) in files(volume).as_object().expect("files") {
            let file = root.file(&format!("{}/{name}", mount["mountPath"].as_str().expect("a path")));
            fs::create_dir_all(file.parent().expect("a directory")).expect("make a directory");
            fs::write(file, text.as_str().expect("text")).expect("write a file");
        }
    }
    root.make_read_only();

    let user = pod["securityContext"]["runAsUser"].as_i64().and_then(|user| user.try_into().ok());
    let profile: Value = serde_json::from_str(PROFILE).expect("JSON");
    let confinement = Confinement::default().root(&root).filter(Filter::of_profile(&profile, &[]));
    let confinement = confinement.user(user.expect("a number"));
    let args = container["args"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|arg| arg.as_str().expect("text").to_owned());
    let line: Vec<String> = [program].into_iter().chain(args).collect();

    let mut check = Command::new(&line[0]);
    confinement.hold(check.arg("check").args(&line[1..]));
    let check = check.output().expect("it starts");
    let checked = String::from_utf8_lossy(&check.stdout);
    assert!(check.status.success() && checked.contains("0.0.0.0:8935"), "{check:?}");

    let server = Inrush::new().installed(line).confined(&confinement).known_token(TOKEN).start();
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        let asked = &container[probe]["httpGet"];
        assert_eq!(asked["port"], "control");
        let path = asked["path"].as_str().expect("a path");
        assert_eq!(server.request_with(None, "GET", path).expect("an answer").status, 200, "{probe}");
    }
    for path in ["/metrics", "/api/v1/streams"] {
        assert_eq!(server.request_with(None, "GET", path).expect("an answer").status, 401, "{path}");
        assert_eq!(server.request_with(Some(TOKEN), "GET", path).expect("an answer").status, 200, "{path}");
    }
    assert_carries_a_stream(&server);
}
