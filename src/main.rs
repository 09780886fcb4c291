//! The `inrush` program: reads what it is asked to do, does it, and ends with the exit code that says how it went.

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use inrush::config::{Command, Invocation, Loaded, NoInvocation};
use inrush::replay;
use inrush::runtime::preflight::{Finding, Verdict};
use inrush::runtime::recording_file;
use inrush::serve::{self, Failure};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
            Verdict::Warning => "warning",
            Verdict::Failed => {
                exit = Exit::HostNotReady;
                "failed"
            }
        };
        print(&format!("{word:<8} {name:<18} {detail}\n"));
        if verdict != Verdict::Ok {
            print(&format!("{:<8} {:<18} fix: {fix}\n", "", ""));
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

/// Whoever closed the pipe has read enough.
fn print(text: &str) {
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes());
    let _ = stdout.flush();
}

fn complain(problem: &dyn std::fmt::Display) {
    let _ = writeln!(io::stderr(), "inrush: {problem}");
}
