//! The line on a terminal that says how the run goes; where standard error is none, nothing is written.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::report::{Counts, Sample};

/// One line, written over each second.
pub struct Live(ProgressBar);

impl Live {
    /// Shown from the first [`Self::show`] on.
    pub fn new() -> Self {
        let bar = ProgressBar::new_spinner();
        bar.set_style(
            ProgressStyle::with_template("{spinner} {msg}").expect("a template that has been tried"),
        );
        Self(bar)
    }

    /// Says how things are.
    pub fn show(&self, sample: &Sample, interval: Duration, total: &Counts) {
        self.0.set_message(line(sample, interval, total));
        self.0.tick();
    }
}

impl Default for Live {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

fn line(sample: &Sample, interval: Duration, total: &Counts) -> String {
    let phase = if sample.t_s <= 0.0 { "warm-up" } else { "measured" };
    let mbit = |bytes: u64| bytes as f64 * 8e-6 / interval.as_secs_f64().max(0.001);
    let mut line = format!(
        "{phase} {:.0} s  {} open  in {:.1} out {:.1} Mbit/s",
        sample.t_s.abs(),
        sample.connections,
        mbit(sample.bytes_in),
        mbit(sample.bytes_out)
    );
    if let Some(us) = sample.e2e_p99_us {
        line += &format!("  e2e p99 {:.1} ms", us as f64 / 1e3);
    }
    if let Some(share) = sample.cpu_share {
        line += &format!("  server {:.0} %", share * 100.0);
    }
    line + &format!("  lost {}  failed {}", total.lost, total.connections_failed + total.connections_lost)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_text() {
        let mut sample = Sample { t_s: -2.0, bytes_in: 1_000_000, connections: 7, ..Sample::default() };
        let counts = Counts { lost: 3, connections_failed: 1, connections_lost: 1, ..Counts::default() };
        let shown = line(&sample, Duration::from_secs(2), &counts);
        assert_eq!(shown, "warm-up 2 s  7 open  in 4.0 out 0.0 Mbit/s  lost 3  failed 2");
        (sample.t_s, sample.e2e_p99_us, sample.cpu_share) = (3.0, Some(1_500), Some(0.25));
        let shown = line(&sample, Duration::from_secs(1), &counts);
        assert_eq!(
            shown,
            "measured 3 s  7 open  in 8.0 out 0.0 Mbit/s  e2e p99 1.5 ms  server 25 %  lost 3  failed 2"
        );
    }
}
