//! The table of figures: `inrush` against nginx-rtmp and a bare sink, all of it measured by one command.
//!
//! | module | what it is |
//! |---|---|
//! | `case`, `size` | the cases as data: what runs; and how much of it |
//! | `figure`, `row` | what is read from a run, and what it is to reach |
//! | [`server`], [`nginx`], [`child`], `link` | the servers, processes tied to cores, a cable between two network namespaces |
//! | [`http`] | what a server's control HTTP is asked |
//! | `trial` | one server under one load, measured by a run of this very program |
//! | `rounds` | the runs of a case, in their order |
//! | `result` | medians, ratios, verdicts |
//! | `table`, `page`, `machine` | the table as Markdown and as a page, and the machine it is from |
//!
//! The server is tied to the first core and the harness to the second. The runs of a case are interleaved: in each round every
//! server has its turn, ratios are taken within a round, and what is shown is the median of the rounds.
//!
//! # Bounds
//! One server and one load at a time, each trial with a time limit. A run that is not valid is repeated (`rounds`).
//! # Errors
//! What a trial lacks is said in its row and the table goes on; only what stops every case ends the command.

mod case;
pub mod child;
mod figure;
pub mod http;
mod link;
mod machine;
pub mod nginx;
mod page;
mod result;
mod rounds;
mod row;
pub mod server;
mod size;
mod table;
mod trial;

use std::fs;
use std::path::PathBuf;

use clap::Args;

use machine::Machine;
use rounds::{Progress, measure};
use server::Programs;
use size::Length;
use table::Line;
use trial::Place;

/// As `main` has them: something is missing at the end, and nothing could be started.
const FAILED: u8 = 1;
const BAD_INPUT: u8 = 2;

/// What is compared, and how long.
#[derive(Args, Debug)]
pub struct Options {
    /// The engine
    #[arg(long, value_name = "PATH")]
    inrush: PathBuf,
    /// The floor to measure against: the bench `sink`
    #[arg(long, value_name = "PATH")]
    sink: PathBuf,
    /// nginx with the module rtmp
    #[arg(long, value_name = "PATH", default_value = nginx::PROGRAM)]
    nginx: PathBuf,
    /// One short round with few connections: shows that every figure can be taken, not what it is
    #[arg(long)]
    short: bool,
    /// These cases only
    #[arg(long, value_name = "CASE", num_args = 1.., value_parser = case::NAMES)]
    only: Vec<String>,
    /// Rounds of each case
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=50))]
    runs: u8,
    /// Where the table, the page and the JSON of every run go
    #[arg(long, value_name = "DIR", default_value = "target/peers")]
    out: PathBuf,
}

/// Measures the table. The code is 0 when every row has a figure, reached or not, and else 1.
pub fn run(options: &Options) -> Result<u8, (u8, String)> {
    let bad = |message: String| (BAD_INPUT, message);
    let length = if options.short { Length::Short } else { Length::Full };
    let rounds = if options.short { 1 } else { usize::from(options.runs) };
    let mut cases = case::all(length);
    cases.retain(|case| options.only.is_empty() || options.only.iter().any(|name| name == case.name));
    let programs = Programs::find(&options.inrush, &options.sink, &options.nginx).map_err(bad)?;
    let place = Place::find(programs, options.out.clone()).map_err(bad)?;
    let machine = Machine::look(&place.programs, &place.cores);
    let mut progress = Progress::new(&cases, rounds);
    let mut lines = Vec::new();
    for case in &cases {
        let rounds =
            measure(case, rounds, options.short, &mut progress, |trial, file| trial.run(&place, file))
                .map_err(|why| (FAILED, why))?;
        for row in &case.rows {
            let outcome = result::judge(row, &rounds);
            // Too little was measured to hold it against anything.
            let outcome = if options.short { outcome.stated() } else { outcome };
            lines.push(Line::new(case, row, &outcome));
        }
        // Each time, so that whoever stops it early has what there was.
        for (name, text) in [
            ("table.md", table::markdown(&machine, &lines, options.short)),
            ("index.html", page::page(&machine, &lines, options.short)),
        ] {
            let file = options.out.join(name);
            fs::write(&file, text).map_err(|error| (FAILED, format!("{}: {error}", file.display())))?;
        }
    }
    print!("{}", table::markdown(&machine, &lines, options.short));
    let without: Vec<_> = lines.iter().filter(|line| line.lacks_figure()).map(Line::name).collect();
    if without.is_empty() {
        return Ok(0);
    }
    eprintln!("inrush-loadtest: without a figure: {}", without.join("; "));
    Ok(FAILED)
}
