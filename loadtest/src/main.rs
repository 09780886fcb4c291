//! Load for RTMP servers: see `inrush_loadtest`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use inrush_loadtest::cli::{Command, CommandLine, Load};
use inrush_loadtest::peers;
use inrush_loadtest::report::{Run, compare, hgrm, html, summary};
use inrush_loadtest::run::{self, Mode};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What happened is not what was wanted.
const FAILED: u8 = 1;
/// Nothing could be started.
const BAD_INPUT: u8 = 2;

fn main() -> ExitCode {
    let line = match CommandLine::try_parse() {
        Ok(line) => line,
        Err(error) if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => error.exit(),
        Err(error) if error.use_stderr() => {
            eprintln!("inrush-loadtest: {}", first_paragraph(&error.to_string()));
            return ExitCode::from(BAD_INPUT);
        }
        Err(help) => help.exit(),
    };
    let code = match line.command {
        Command::Publish(load) => drive(Mode::Publish, &load),
        Command::Play(load) => drive(Mode::Play, &load),
        Command::Mixed(load) => drive(Mode::Mixed, &load),
        Command::Compare { files, markdown } => put_side_by_side(&files, markdown),
        Command::Peers(options) => peers::run(&options),
    };
    ExitCode::from(code.unwrap_or_else(|(code, message)| {
        eprintln!("inrush-loadtest: {message}");
        code
    }))
}

/// In one line; what follows are hints.
fn first_paragraph(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
    lines.join(" ").trim_start_matches("error: ").to_owned()
}

fn drive(mode: Mode, load: &Load) -> Result<u8, (u8, String)> {
    for file in [&load.json, &load.hgrm, &load.html].into_iter().flatten() {
        try_to_write(file).map_err(|error| (BAD_INPUT, told_of(file, &error)))?;
    }
    let outcome = run::run(mode, load).map_err(|error| (BAD_INPUT, error.to_string()))?;
    let run = &outcome.run;
    print!("{}", summary::text(run));
    let mut failed = outcome.is_cut_short;
    let mut verdicts = Vec::new();
    for threshold in &load.fail_if {
        let verdict = threshold.check(run);
        let told = threshold.tell(verdict);
        println!("{told}");
        failed |= verdict.fails();
        verdicts.push((told, verdict.fails()));
    }
    if !load.fail_if.is_empty() && !run.valid.ok {
        let told = format!("failed: the run is not valid: {}", run.valid.reasons.join("; "));
        println!("{told}");
        failed = true;
        verdicts.push((told, true));
    }
    let write = |file: &Option<PathBuf>, text: &dyn Fn() -> String| match file {
        Some(file) => std::fs::write(file, text()).map_err(|error| (FAILED, told_of(file, &error))),
        None => Ok(()),
    };
    write(&load.json, &|| run.to_json())?;
    write(&load.hgrm, &|| hgrm::text(&run.latencies.e2e))?;
    write(&load.html, &|| html::page(run, &verdicts))?;
    Ok(if failed { FAILED } else { 0 })
}

/// Finds out before the run whether there can be a report after it. Changes nothing.
fn try_to_write(file: &Path) -> std::io::Result<()> {
    let is_new = !file.exists();
    std::fs::OpenOptions::new().append(true).create(true).open(file)?;
    if is_new { std::fs::remove_file(file) } else { Ok(()) }
}

fn put_side_by_side(files: &[PathBuf], markdown: bool) -> Result<u8, (u8, String)> {
    let mut runs = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(file).map_err(|error| (BAD_INPUT, told_of(file, &error)))?;
        let run = Run::from_json(&text).map_err(|error| (BAD_INPUT, told_of(file, &error)))?;
        runs.push((file.display().to_string(), run));
    }
    print!("{}", if markdown { compare::markdown(&runs) } else { compare::text(&runs) });
    Ok(0)
}

fn told_of(file: &Path, error: &dyn std::fmt::Display) -> String {
    format!("{}: {error}", file.display())
}
