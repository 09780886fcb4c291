//! A line plot as HTML and inline SVG.
//!
//! The SVG holds only lines and is stretched to the width there is; words are HTML beside it, so that they keep their size on a
//! phone. A plot without a point is left out.

use std::fmt::Write;

use super::html::escape;

/// Points drawn of one line; more would not be seen and make the page large.
const MOST_POINTS: usize = 1200;

/// How an axis is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    /// From the least to the greatest value.
    Linear,
    /// From zero.
    FromZero,
    /// Each power of ten has the same room; values are above 0.
    Log,
}

/// A line with its name.
pub(super) struct Line {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

/// A plot.
pub(super) struct Plot<'a> {
    pub(super) title: &'a str,
    pub(super) x: Scale,
    pub(super) y: Scale,
    pub(super) show_x: &'a dyn Fn(f64) -> String,
    pub(super) show_y: &'a dyn Fn(f64) -> String,
    pub(super) lines: Vec<Line>,
}

/// An axis with its ends and where it is marked.
struct Axis {
    scale: Scale,
    from: f64,
    to: f64,
    ticks: Vec<f64>,
}

impl Axis {
    fn of(scale: Scale, values: impl Iterator<Item = f64>) -> Option<Self> {
        let (least, greatest) = values
            .filter(|value| value.is_finite())
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(least, greatest), value| {
                (least.min(value), greatest.max(value))
            });
        if least > greatest {
            return None;
        }
        if scale == Scale::Log {
            // Whole powers of ten around the values.
            let from = (least.log10() + 1e-9).floor() as i32;
            let to = ((greatest.log10() - 1e-9).ceil() as i32).max(from + 1);
            let ticks = (from..=to).map(|power| 10f64.powi(power)).collect();
            return Some(Self { scale, from: 10f64.powi(from), to: 10f64.powi(to), ticks });
        }
        let from = if scale == Scale::FromZero { least.min(0.0) } else { least };
        let span = if greatest > from { greatest - from } else { 1.0 };
        // About four marks, at 1, 2 or 5 times a power of ten.
        let rough = span / 4.0;
        let power = 10f64.powf(rough.log10().floor());
        let step =
            power * [1.0, 2.0, 5.0, 10.0].into_iter().find(|times| power * times >= rough).unwrap_or(10.0);
        let to =
            if scale == Scale::FromZero { ((from + span) / step - 1e-9).ceil() * step } else { from + span };
        let first = (from / step - 1e-9).ceil() as i64;
        let ticks =
            (first..first + 12).map(|at| at as f64 * step).filter(|tick| *tick <= to + step * 1e-6).collect();
        Some(Self { scale, from, to, ticks })
    }

    /// Where a value stands, 0 to 100.
    fn place(&self, value: f64) -> f64 {
        let share = if self.scale == Scale::Log {
            (value / self.from).log10() / (self.to / self.from).log10()
        } else {
            (value - self.from) / (self.to - self.from)
        };
        (share * 100.0).clamp(0.0, 100.0)
    }
}

impl Plot<'_> {
    /// Adds it to the page.
    pub(super) fn draw(mut self, page: &mut String) {
        self.lines.retain(|line| !line.points.is_empty());
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let (Some(x), Some(y)) =
            (Axis::of(self.x, points().map(|p| p.0)), Axis::of(self.y, points().map(|p| p.1)))
        else {
            return;
        };
        let _ = write!(page, "<section><h2>{}</h2>\n<figure>\n<figcaption>", escape(self.title));
        for (at, line) in self.lines.iter().enumerate() {
            let _ = write!(page, "<span class=\"c{at}\">{}</span>", escape(&line.name));
        }
        page.push_str("</figcaption>\n<div class=\"plot\">\n<svg viewBox=\"0 0 100 100\" preserveAspectRatio=\"none\" aria-hidden=\"true\">\n");
        for tick in &x.ticks {
            let at = x.place(*tick);
            let _ = writeln!(page, "<path class=\"grid\" d=\"M{at:.2} 0V100\"/>");
        }
        for tick in &y.ticks {
            let at = 100.0 - y.place(*tick);
            let _ = writeln!(page, "<path class=\"grid\" d=\"M0 {at:.2}H100\"/>");
        }
        for (at, line) in self.lines.iter().enumerate() {
            let _ = write!(page, "<polyline class=\"c{at}\" points=\"");
            let every = line.points.len().div_ceil(MOST_POINTS);
            let last = line.points.len() - 1;
            for (_, (px, py)) in
                line.points.iter().enumerate().filter(|(at, _)| at % every == 0 || *at == last)
            {
                let _ = write!(page, "{:.2},{:.2} ", x.place(*px), 100.0 - y.place(*py));
            }
            page.push_str("\"/>\n");
        }
        page.push_str("</svg>\n");
        // Where words would touch on a narrow screen, every other one can go; the last stays.
        let crowded = x.ticks.len() > 5;
        for (at, tick) in x.ticks.iter().enumerate() {
            let spare = if crowded && (x.ticks.len() - at).is_multiple_of(2) { " spare" } else { "" };
            let (left, words) = (x.place(*tick), (self.show_x)(*tick));
            let _ = writeln!(page, "<i class=\"x{spare}\" style=\"left:{left:.2}%\">{words}</i>");
        }
        for tick in &y.ticks {
            let _ = writeln!(
                page,
                "<i class=\"y\" style=\"bottom:{:.2}%\">{}</i>",
                y.place(*tick),
                (self.show_y)(*tick)
            );
        }
        page.push_str("</div>\n</figure></section>\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_axis_gives_each_power_the_same_room() {
        let axis = Axis::of(Scale::Log, [3.0, 700.0].into_iter()).unwrap();
        assert_eq!(axis.ticks, [1.0, 10.0, 100.0, 1000.0]);
        assert_eq!(axis.place(1.0), 0.0);
        assert!((axis.place(10.0) - 100.0 / 3.0).abs() < 1e-9);
        assert_eq!(axis.place(1000.0), 100.0);
    }

    #[test]
    fn an_axis_from_zero_has_round_marks() {
        let axis = Axis::of(Scale::FromZero, [31.0, 87.0].into_iter()).unwrap();
        assert_eq!(axis.ticks, [0.0, 50.0, 100.0]);
        assert_eq!(axis.place(50.0), 50.0);
    }

    #[test]
    fn one_value_or_none_is_no_division_by_zero() {
        for scale in [Scale::Linear, Scale::FromZero, Scale::Log] {
            let axis = Axis::of(scale, [1.0].into_iter()).unwrap();
            assert!(axis.place(1.0).is_finite());
            assert!(Axis::of(scale, std::iter::empty()).is_none());
            assert!(Axis::of(scale, [f64::NAN].into_iter()).is_none());
        }
        assert!(Axis::of(Scale::FromZero, [0.0, 0.0].into_iter()).unwrap().place(0.0) == 0.0);
    }

    #[test]
    fn exact_drawing_of_one_line() {
        let mut page = String::new();
        let show = |value: f64| value.to_string();
        let lines = vec![Line { name: "a<".to_owned(), points: vec![(0.0, 0.0), (1.0, 4.0), (2.0, 2.0)] }];
        Plot { title: "t", x: Scale::Linear, y: Scale::FromZero, show_x: &show, show_y: &show, lines }
            .draw(&mut page);
        assert!(
            page.contains("<polyline class=\"c0\" points=\"0.00,100.00 50.00,0.00 100.00,50.00 \"/>"),
            "{page}"
        );
        assert!(page.contains("<figcaption><span class=\"c0\">a&lt;</span></figcaption>"), "{page}");
        assert!(page.contains("<i class=\"y\" style=\"bottom:50.00%\">2</i>"), "{page}");
    }

    #[test]
    fn a_long_line_is_thinned_and_keeps_its_end() {
        let mut page = String::new();
        let show = |_: f64| String::new();
        let lines = vec![Line {
            name: String::new(),
            points: (0..=100_000).map(|at| (f64::from(at), 1.0)).collect(),
        }];
        Plot { title: "", x: Scale::Linear, y: Scale::FromZero, show_x: &show, show_y: &show, lines }
            .draw(&mut page);
        assert!(page.len() < 30_000 && page.contains("100.00,0.00 \"/>"));
    }
}
