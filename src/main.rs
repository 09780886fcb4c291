//! The `inrush` program: reads what it is asked to do, does it, and ends with the exit code that says how it went.

use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use inrush::config::{Command, Invocation, Loaded, NoInvocation, SignArguments};
use inrush::edge::auth::access::canonical;
use inrush::edge::auth::signed::{self, Terms};
use inrush::edge::auth::{rules, static_keys};
use inrush::replay;
use inrush::runtime::preflight::{Finding, Verdict};
use inrush::runtime::recording_file;
use inrush::serve::{self, Failure};
use inrush::session::{StreamKey, stream_key};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Longest key that is hashed, bytes: as much as a name may have by default.
const KEY_BYTES_MAX: u64 = 1024;

/// Keys from this length on cannot be found by trying, if they are random.
const KEY_BYTES_ADVISED: usize = 16;

/// The exit codes: 0, 1, 2 and 3.
enum Exit {
    Clean,
    Failed,
    BadConfiguration,
    HostNotReady,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Clean => 0,
            Exit::Failed => 1,
            Exit::BadConfiguration => 2,
            Exit::HostNotReady => 3,
        })
    }
}

fn main() -> ExitCode {
    inrush::runtime::use_small_pages();
    let invocation = match Invocation::parse(std::env::args_os(), std::env::vars_os()) {
        Ok(invocation) => invocation,
        Err(NoInvocation::Answer(text)) => {
            print(&text);
            return Exit::Clean.into();
        }
        Err(NoInvocation::Wrong(error)) => {
            complain(&error);
            return Exit::BadConfiguration.into();
        }
    };
    let loaded = match Loaded::load(&invocation.sources) {
        Ok(loaded) => loaded,
        Err(error) => {
            complain(&error);
            return Exit::BadConfiguration.into();
        }
    };
    let exit = match invocation.command {
        Command::Check => check(&loaded),
        Command::Preflight => preflight(&loaded),
        Command::Replay { file } => replay(&loaded, &file),
        Command::HashKey => hash_key(),
        Command::Sign(arguments) => sign(&loaded, &arguments),
        Command::Serve => match serve::run(loaded, &invocation.sources) {
            Ok(()) => Exit::Clean,
            Err(failure) => {
                complain(&failure);
                match failure {
                    Failure::Host(_) => Exit::HostNotReady,
                    Failure::Other(_) => Exit::Failed,
                }
            }
        },
    };
    exit.into()
}

/// Prints what is in force, as a file that would bring it about.
fn check(loaded: &Loaded) -> Exit {
    for warning in &loaded.warnings {
        complain(warning);
    }
    let source = loaded.file.as_ref().map_or("no file".to_owned(), |file| file.display().to_string());
    print(&format!("# The configuration is valid ({source}). In force:\n\n{}", loaded.show()));
    Exit::Clean
}

/// Prints each finding with what fixes it.
fn preflight(loaded: &Loaded) -> Exit {
    let mut exit = Exit::Clean;
    for Finding { name, verdict, detail, fix } in serve::findings(&loaded.config) {
        let word = match verdict {
            Verdict::Ok => "ok",
            Verdict::Unknown => "unknown",
            Verdict::Warning => "warning",
            Verdict::Failed => {
                exit = Exit::HostNotReady;
                "failed"
            }
        };
        print(&format!("{word:<8} {name:<34} {detail}\n"));
        if !fix.is_empty() {
            print(&format!("{:<8} {:<34} fix: {fix}\n", "", ""));
        }
    }
    exit
}

/// Prints what the parser makes of a recording.
fn replay(loaded: &Loaded, file: &Path) -> Exit {
    match recording_file::read(file) {
        Ok((about, recording)) => {
            print(&replay::replay(&about, &recording, &loaded.config.runtime.session));
            Exit::Clean
        }
        Err(error) => {
            complain(&format!("{}: {error}", file.display()));
            Exit::Failed
        }
    }
}

/// Prints the line of a key that comes on standard input, where no process list shows it.
fn hash_key() -> Exit {
    let mut key = String::new();
    if let Err(error) = io::stdin().lock().take(KEY_BYTES_MAX + 1).read_to_string(&mut key) {
        complain(&format!("cannot read the key: {error}"));
        return Exit::Failed;
    }
    if key.len() as u64 > KEY_BYTES_MAX {
        // The hash of a part would be that of another key.
        complain(&format!("the key is longer than {KEY_BYTES_MAX} bytes"));
        return Exit::Failed;
    }
    let key = key.trim_end_matches(['\r', '\n']);
    if key.is_empty() {
        complain(&"no key on standard input; try: openssl rand -hex 16 | tee key | inrush hash-key");
        return Exit::Failed;
    }
    if key.len() < KEY_BYTES_ADVISED {
        complain(&format!(
            "warning: a key of less than {KEY_BYTES_ADVISED} characters can be guessed from its hash"
        ));
    }
    print(&format!("sha256 = \"{}\"\n", static_keys::hex(&static_keys::hash(key))));
    Exit::Clean
}

/// Prints a signed address, as `APP/NAME?QUERY`.
fn sign(loaded: &Loaded, arguments: &SignArguments) -> Exit {
    let SignArguments { app, name, expires_in, address, role, priority, host } = arguments;
    if app.contains('/') || name.is_empty() || name.starts_with('/') || name.ends_with('/') {
        complain(&"--app is the first part of the path, without slashes, and --name all the rest");
        return Exit::BadConfiguration;
    }
    let tables = &loaded.config.auth.tables;
    let apps = tables.iter().map(|table| (&*table.app, &*table.host));
    let is_host = |its: &str| host.as_ref().is_some_and(|host| host.eq_ignore_ascii_case(its));
    let Some(table) = rules::table_for(apps, app, is_host).and_then(|index| tables.get(index)) else {
        complain(&format!("no [[auth]] is for app {app:?}"));
        return Exit::BadConfiguration;
    };
    let secrets = match rules::read_secrets(table) {
        Ok(secrets) => secrets,
        Err((key, problem)) => {
            complain(&format!("[[auth]] {:?}: {key}: {problem}", table.label()));
            return Exit::BadConfiguration;
        }
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let terms = Terms {
        expires_unix: now.saturating_add(*expires_in),
        network: address.map(canonical),
        role: *role,
        priority: *priority,
    };
    let Some(secret) = secrets.first() else { return Exit::BadConfiguration };
    let stream = StreamKey::new(app, name);
    let (app, name) = (encoded(app), encoded(name));
    // What is judged is what the address means once it is decoded and cut.
    if !stream_key::canonical("", &app, &name).is_ok_and(|address| address.key == stream) {
        complain(
            &"no address means this stream: doubled slashes, white space at the ends, control characters and _definst_ are in no name",
        );
        return Exit::BadConfiguration;
    }
    let query = signed::sign(&stream, &terms, secret);
    print(&format!("{app}/{name}?{query}\n"));
    Exit::Clean
}

/// A part of a path as a URL has it.
fn encoded(part: &str) -> String {
    const KEPT: &AsciiSet =
        &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');
    utf8_percent_encode(part, KEPT).to_string()
}

/// Whoever closed the pipe has read enough.
fn print(text: &str) {
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes());
    let _ = stdout.flush();
}

fn complain(problem: &dyn std::fmt::Display) {
    let _ = writeln!(io::stderr(), "inrush: {problem}");
}
