//! The table as one page that needs nothing else.

use std::fmt::Write;

use super::machine::Machine;
use super::result::Verdict;
use super::table::{COLUMNS, Line, NOTES, SHORT};
use crate::report::html::{STYLE, escape};

/// What the table needs beside the style of a run's page: cells of text that wrap.
const OWN_STYLE: &str = "main { display: block; } section { margin-bottom: 12px; } .peers th, .peers td { text-align: left; white-space: normal; \
     vertical-align: top; } .peers th { color: var(--ink); max-width: 14em; } .peers .value { white-space: nowrap; }\n";

/// The page.
pub(super) fn page(machine: &Machine, lines: &[Line], short: bool) -> String {
    let mut page = String::new();
    // Writing to a `String` cannot fail.
    let _ = write!(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>inrush and its peers</title>\n<style>\n{STYLE}{OWN_STYLE}</style>\n\
         </head>\n<body>\n<header>\n<h1>inrush and its peers</h1>\n<p>{}</p>\n</header>\n<main>\n",
        escape(&counted(lines))
    );
    if short {
        let _ = writeln!(page, "<section class=\"bad\"><h2>Not a measurement</h2><p>{SHORT}</p></section>");
    }
    page.push_str("<section><div class=\"wide\"><table class=\"peers\">\n<tr>");
    for column in COLUMNS {
        let _ = write!(page, "<th>{column}</th>");
    }
    page.push_str("</tr>\n");
    let mut last = "";
    for line in lines {
        let [case, figure, to_reach, value, verdict, from] = &line.cells;
        let _ = writeln!(
            page,
            "<tr><th>{}</th><td>{}</td><td class=\"value\">{}</td><td class=\"value\">{}</td><td class=\"value {}\">{}</td><td>{}</td></tr>",
            if case == last { String::new() } else { text(case) },
            text(figure),
            text(to_reach),
            text(value),
            match line.verdict {
                Verdict::Met => "held",
                Verdict::Stated => "",
                Verdict::Missed | Verdict::NotValid | Verdict::NotMeasured => "failed",
            },
            text(verdict),
            text(from)
        );
        last = case;
    }
    page.push_str("</table></div></section>\n<section><h2>How to read it</h2>\n<ul>\n");
    for note in NOTES {
        let _ = writeln!(page, "<li>{}</li>", text(note));
    }
    page.push_str("</ul></section>\n<section><h2>Machine</h2>\n<table class=\"facts\">");
    for (name, fact) in &machine.0 {
        let _ = writeln!(page, "<tr><th>{}</th><td>{}</td></tr>", escape(name), escape(fact));
    }
    page.push_str("</table></section>\n</main>\n</body>\n</html>\n");
    page
}

fn counted(lines: &[Line]) -> String {
    let count = |verdict| lines.iter().filter(|line| line.verdict == verdict).count();
    let counts = [
        (count(Verdict::Met), "met"),
        (count(Verdict::Missed), "missed"),
        (count(Verdict::Stated), "stated"),
        (count(Verdict::NotValid), "not valid"),
        (count(Verdict::NotMeasured), "not measured"),
    ];
    let told: Vec<_> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    told.join(", ")
}

/// A cell without the marks of Markdown.
fn text(cell: &str) -> String {
    escape(&cell.replace("**", "").replace('`', ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup_and_nobody_is_asked_for_anything() {
        let cells = ["a: `b`", "<i>", "≤ 1", "2", "**missed**", "<script>"].map(str::to_owned);
        let line = Line { verdict: Verdict::Missed, cells };
        let page = page(&Machine(vec![("CPU", "<b>".to_owned())]), &[line.clone(), line], true);
        for part in ["<i>", "<script", "<b>", "src=", "href=", "http:", "https:", "**", "`"] {
            assert!(!page.contains(part), "{part}");
        }
        assert_eq!(page.matches("<th>a: b</th>").count(), 1);
        assert!(page.contains("failed\">missed</td>") && page.contains("2 missed") && page.contains(SHORT));
    }
}
