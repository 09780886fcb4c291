//! A row of the table as data: whose figure, and what it is to reach.

use super::figure::Figure;

/// One figure.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// Of which server under which setting.
    pub(super) subject: usize,
    pub(super) figure: Figure,
    pub(super) reach: Reach,
    /// What to know when reading it.
    pub(super) note: &'static str,
}

impl Row {
    /// Whether it reads this trial.
    pub(super) fn needs(&self, trial: usize) -> bool {
        self.subject == trial || self.reach.of() == Some(trial)
    }
}

/// What is to be reached.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Reach {
    /// The figure divided by that of another trial of the same round.
    Ratio { of: usize, at_most: f64 },
    /// The figure less that of another trial of the same round.
    Above { of: usize, at_most: f64 },
    /// The figure itself.
    AtMost(f64),
    /// Nothing: the ratio is stated.
    StatedRatio { of: usize },
    /// Nothing: the figure is stated.
    Stated,
}

impl Reach {
    /// The other trial.
    pub(super) fn of(self) -> Option<usize> {
        match self {
            Self::Ratio { of, .. } | Self::Above { of, .. } | Self::StatedRatio { of } => Some(of),
            Self::AtMost(_) | Self::Stated => None,
        }
    }
}
