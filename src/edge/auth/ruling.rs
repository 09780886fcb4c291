//! What one source says to a question, and the words that all of them use.

use crate::runtime::outside::{Action, Denial, Grant};

/// What a source says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// It has found no credential of its kind: the next source is asked.
    Pass,
    /// It may.
    Allow(Grant),
    /// It has found a credential of its kind that does not do.
    Deny(Denial),
}

impl Ruling {
    /// A denial; `label` is the metric's, `description` is for the encoder's log.
    pub(super) fn deny(label: &'static str, description: &str) -> Self {
        Self::Deny(Denial { label, description: description.into() })
    }
}

/// What a credential is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// To publish.
    Publish,
    /// To play.
    Play,
    /// Both.
    Both,
}

impl Role {
    /// How roles are written, for error lines.
    pub const NAMES: &'static str = "publish, play, both";

    /// By its name.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "publish" => Some(Self::Publish),
            "play" => Some(Self::Play),
            "both" => Some(Self::Both),
            _ => None,
        }
    }

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Play => "play",
            Self::Both => "both",
        }
    }

    /// Whether it covers an action.
    pub fn covers(self, action: Action) -> bool {
        match (self, action) {
            (Self::Both, _) | (Self::Publish, Action::Publish) | (Self::Play, Action::Play) => true,
            (Self::Publish, Action::Play) | (Self::Play, Action::Publish) => false,
        }
    }
}

/// The app or name in a credential or table that stands for every one.
pub const ANY: &str = "*";

/// Whether a pattern, which is [`ANY`] or one exact text, covers a text.
pub(super) fn covers(pattern: &str, text: &str) -> bool {
    pattern == ANY || pattern == text
}
