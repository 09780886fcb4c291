//! The table: a line for each row, and the lines as Markdown.

use std::fmt::Write;

use super::case::Case;
use super::figure::Figure;
use super::machine::Machine;
use super::result::{Outcome, Spread, Verdict};
use super::row::{Reach, Row};

/// What a reader must know to read the table.
pub(super) const NOTES: [&str; 6] = [
    "Loopback charges a receiver's work to the sender, so absolute values of CPU say little: only ratios count.",
    "The server is pinned to one core and the harness to another. In each round every server of a case runs once; ratios are taken \
     within a round. Shown are the median of the rounds and, in parentheses, the lowest and the highest.",
    "H.264 and AAC, 25 frames a second, a key frame every 2 s. 1 kB is 1,000 bytes, 1 GB is 10⁹ bytes. CPU and memory are the server's; \
     PSS is what it holds above what it held idle.",
    "nginx-rtmp has one process, no access log and the module's defaults; it has no GOP cache, so what is compared with it or with \
     the sink runs without. Rows with the cache are compared with the same row without.",
    "`sink` is benches/sink.rs: bare tokio-uring that accepts, reads and throws away.",
    "A run in which the harness fell behind, or lost connections or messages, is not valid: it is repeated, twice for each server of a case \
     at most, and a row that has no majority of valid rounds is not valid, whatever its figure.",
];

/// Said of the short form.
pub(super) const SHORT: &str = "Short form: one round of a second with few connections. It shows that every figure can be taken; it is no measurement.";

/// The names of the columns.
pub(super) const COLUMNS: [&str; 6] = ["case", "figure", "to reach", "measured", "", "from"];

/// One row of the table as text.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) verdict: Verdict,
    /// As [`COLUMNS`] names them.
    pub(super) cells: [String; 6],
}

impl Line {
    pub(super) fn new(case: &Case, row: &Row, outcome: &Outcome) -> Self {
        let server = |at: usize| case.trials[at].to_string();
        let unit = row.figure.unit();
        let other = row.reach.of().map(server);
        let against = match (row.reach, &other) {
            (Reach::Above { .. }, Some(other)) => format!(", above {other}'s"),
            (_, Some(other)) => format!(", ratio to {other}"),
            _ => String::new(),
        };
        let to_reach = match row.reach {
            Reach::Ratio { at_most, .. } => format!("≤ {at_most:.2}"),
            Reach::Above { at_most, .. } | Reach::AtMost(at_most) => format!("≤ {at_most} {unit}"),
            Reach::Stated | Reach::StatedRatio { .. } => "(stated)".to_owned(),
        };
        let value = match (outcome.value, row.reach) {
            (None, _) => "–".to_owned(),
            (Some(value), Reach::Ratio { .. } | Reach::StatedRatio { .. }) => spread(value, ""),
            (Some(value), _) => spread(value, unit),
        };
        let verdict = match outcome.verdict {
            Verdict::Met => "met",
            Verdict::Missed => "**missed**",
            Verdict::Stated => "stated",
            Verdict::NotValid => "**not valid**",
            Verdict::NotMeasured => "**not measured**",
        };
        let cells = [
            format!("{}: {}", case.name, case.about),
            format!("{}, {}{against}", row.figure.name(), server(row.subject)),
            to_reach,
            value,
            verdict.to_owned(),
            detail(row, outcome),
        ];
        Self { verdict: outcome.verdict, cells }
    }

    /// Which figure it is.
    pub(super) fn name(&self) -> String {
        let case = self.cells[0].split(':').next().unwrap_or_default();
        format!("{case}: {}", self.cells[1])
    }

    /// Whether there is nothing to show.
    pub(super) fn lacks_figure(&self) -> bool {
        self.verdict == Verdict::NotMeasured
    }
}

/// What the value comes from, and what to know of it.
fn detail(row: &Row, outcome: &Outcome) -> String {
    let unit = row.figure.unit();
    let mut parts = Vec::new();
    if let (Some(own), Some(other)) = (outcome.own, outcome.other) {
        parts.push(format!("{} to {} {unit}", shown(own.median), shown(other.median)));
    }
    if let (Some(own), Some(gop), Figure::PublisherMemoryBeyondGop) =
        (outcome.own, outcome.gop_kb, row.figure)
    {
        let pss = own.median + 1.1 * gop.median;
        parts.push(format!("PSS {} kB, GOP {} kB", shown(pss), shown(gop.median)));
    }
    if let Some(late) = outcome.late_ms {
        parts.push(format!("the harness itself {} ms late at p99", shown(late.median)));
    }
    if outcome.valid < outcome.rounds {
        parts.push(format!("{} of {} rounds valid", outcome.valid, outcome.rounds));
    }
    parts.extend(outcome.faults.iter().cloned());
    if !row.note.is_empty() {
        parts.push(row.note.to_owned());
    }
    parts.join("; ")
}

fn spread(Spread { median, min, max }: Spread, unit: &str) -> String {
    let ends = if min == max { String::new() } else { format!(" ({}…{})", shown(min), shown(max)) };
    format!("{}{}{unit}{ends}", shown(median), if unit.is_empty() { "" } else { " " })
}

/// Three digits of a figure, and all of those before the point.
pub(super) fn shown(value: f64) -> String {
    let decimals = match value.abs() {
        0.0..10.0 => 2,
        10.0..100.0 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}")
}

/// The table with what belongs to it.
pub(super) fn markdown(machine: &Machine, lines: &[Line], short: bool) -> String {
    let mut text = String::new();
    // Writing to a `String` cannot fail.
    if short {
        let _ = writeln!(text, "**{SHORT}**\n");
    }
    let row = |cells: &[String]| {
        let cells: Vec<_> = cells.iter().map(|cell| cell.replace('|', "\\|").replace('\n', " ")).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    text.push_str(&row(&COLUMNS.map(str::to_owned)));
    text.push_str("|---|---|---|---|---|---|\n");
    let mut last = "";
    for line in lines {
        let mut cells = line.cells.clone();
        // A case is named once.
        if line.cells[0] == last {
            cells[0].clear();
        }
        last = &line.cells[0];
        text.push_str(&row(&cells));
    }
    text.push('\n');
    for note in NOTES {
        let _ = writeln!(text, "- {note}");
    }
    let facts: Vec<_> = machine.0.iter().map(|(name, fact)| format!("{name}: {fact}")).collect();
    let _ = writeln!(text, "\nMachine: {}.", facts.join("; "));
    text
}

#[cfg(test)]
mod tests {
    use super::super::case;
    use super::super::result::judge;
    use super::super::size::Length;
    use super::super::trial::Measured;
    use super::*;
    use crate::report::ServerCost;

    fn measured(cpu: f64) -> Result<Measured, String> {
        let mut measured = Measured::default();
        measured.run.server = Some(ServerCost { cpu_s_per_gb_in: Some(cpu), ..ServerCost::default() });
        Ok(measured)
    }

    fn many() -> Case {
        case::all(Length::Full).into_iter().find(|case| case.name == "many").unwrap()
    }

    fn machine() -> Machine {
        Machine(vec![("kernel", "6.1 | <x>".to_owned())])
    }

    #[test]
    fn a_missed_row_stays_and_says_what_it_is_from() {
        let case = many();
        let rounds = vec![
            vec![measured(2.0), measured(1.8), measured(1.8)],
            vec![measured(2.0), measured(1.7), measured(1.7)],
            vec![measured(2.0), measured(1.9), measured(1.9)],
        ];
        let lines: Vec<_> = case.rows.iter().map(|row| Line::new(&case, row, &judge(row, &rounds))).collect();
        let text = markdown(&machine(), &lines, false);
        let rows: Vec<_> = text.lines().collect();
        assert_eq!(
            rows[2],
            "| many: 3000 publishers of 300 kbit/s, `frame` | CPU for each GB in, budget 20 ms, no cache, ratio to nginx-rtmp \
             | ≤ 0.80 | 0.90 (0.85…0.95) | **missed** | 1.80 to 2.00 s/GB |"
        );
        assert_eq!(
            rows[3],
            "|  | CPU for each GB in, budget 20 ms, cache, ratio to budget 20 ms, no cache | ≤ 1.20 | 1.00 | met | 1.80 to 1.80 s/GB |"
        );
        assert!(text.contains("only ratios count") && text.contains("Machine: kernel: 6.1 | <x>."));
        assert!(!text.contains(SHORT) && markdown(&machine(), &lines, true).contains(SHORT));
    }

    #[test]
    fn a_row_without_a_figure_says_why() {
        let case = many();
        let rounds = vec![vec![measured(2.0), Err("a | b".to_owned()), measured(1.0)]];
        let line = Line::new(&case, &case.rows[0], &judge(&case.rows[0], &rounds));
        assert!(line.lacks_figure());
        let text = markdown(&machine(), &[line], false);
        assert!(text.contains("| – | **not measured** | 0 of 1 rounds valid; a \\| b |"), "{text}");
    }

    #[test]
    fn figures_have_three_digits() {
        assert_eq!([0.456, 12.34, 1234.5, -3.2].map(shown), ["0.46", "12.3", "1234", "-3.20"]);
    }
}
