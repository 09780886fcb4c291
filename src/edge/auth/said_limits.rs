//! Limits as they are said outside: in a back end's answer, in a token, and by the API of a stream. All have one form:
//! ```json
//! {"bits_per_second": 6000000, "frames_per_second": 60, "width": 1920, "height": 1080, "seconds": 14400,
//!  "codecs": ["avc1", "hvc1", "mp4a"], "streams": 3}
//! ```
//! All are whole numbers above 0, and each may be left out. `codecs` are those that a track may have, by the names that the API shows: FourCCs, or
//! `flv1`, `speex` and so on where there is none. A name that is misspelt would limit nothing, so that unknown ones are no limits.
//! `streams` is how many the identity that is let in may publish at a time ([`Grant::streams_max`](crate::runtime::outside::Grant)); the others are
//! of each session.
//! # Bounds
//! [`CODECS_MAX`].
//! # Errors
//! [`NoCodecs`]; what is wrong with numbers, the reader of the JSON says.

use std::num::{NonZeroU32, NonZeroU64};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::media::Limits;
use crate::media::codec::Codec;

/// Most codecs that may be named at once: more than there are.
pub const CODECS_MAX: usize = 32;

/// [`Limits`] as JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SaidLimits {
    bits_per_second: Option<NonZeroU64>,
    frames_per_second: Option<NonZeroU32>,
    width: Option<NonZeroU32>,
    height: Option<NonZeroU32>,
    seconds: Option<NonZeroU32>,
    codecs: Option<Vec<String>>,
    /// Streams that whoever is let in may publish at a time. It holds for all sessions of an identity together, so that no stream is shown
    /// with it.
    #[serde(skip_serializing)]
    pub streams: Option<NonZeroU32>,
}

/// Names that are no codecs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoCodecs {
    /// There are none, or more than there can be.
    #[error("1 to {CODECS_MAX} codecs may be named, not {0}")]
    Count(usize),
    /// One is not known by this name.
    #[error("{0:?} is no codec")]
    Unknown(String),
}

impl SaidLimits {
    /// What is meant.
    ///
    /// # Errors
    /// When the codecs are none.
    pub fn limits(self) -> Result<Limits, NoCodecs> {
        let Self { bits_per_second, seconds, width, height, frames_per_second, codecs, streams: _ } = self;
        let codecs = codecs.as_deref().map(codecs_named).transpose()?;
        Ok(Limits { bits_per_second, seconds, width, height, frames_per_second, codecs })
    }
}

impl From<&Limits> for SaidLimits {
    fn from(limits: &Limits) -> Self {
        let Limits { bits_per_second, seconds, width, height, frames_per_second, codecs } = limits.clone();
        let codecs = codecs.as_deref().map(names_of);
        Self { bits_per_second, frames_per_second, width, height, seconds, codecs, streams: None }
    }
}

/// The codecs of these names, at least one.
///
/// # Errors
/// When one is none, or there are too many.
pub fn codecs_named(names: &[String]) -> Result<Arc<[Codec]>, NoCodecs> {
    if !(1..=CODECS_MAX).contains(&names.len()) {
        return Err(NoCodecs::Count(names.len()));
    }
    let is_unknown = |name: &&String| Codec::labelled(name).next().is_none();
    if let Some(unknown) = names.iter().find(is_unknown) {
        return Err(NoCodecs::Unknown(unknown.clone()));
    }
    Ok(names.iter().flat_map(|name| Codec::labelled(name)).collect())
}

/// The names of these codecs, each once: some name two.
pub fn names_of(codecs: &[Codec]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for codec in codecs {
        let name = codec.label();
        if !names.iter().any(|one| *one == name) {
            names.push(name.into_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_what_is_meant_and_shown() {
        let all = r#"{"bits_per_second":6000000,"frames_per_second":60,"width":1920,"height":1080,"seconds":60,"codecs":["avc1","pcm","speex"]}"#;
        let said: SaidLimits = serde_json::from_str(all).unwrap();
        let limits = said.clone().limits().unwrap();
        assert_eq!(limits.codecs.as_ref().unwrap().len(), 4, "pcm is two");
        assert_eq!(SaidLimits::from(&limits), said);
        let twice = codecs_named(&["pcm", "avc1", "pcm"].map(str::to_owned)).unwrap();
        assert_eq!(names_of(&twice), ["pcm", "avc1"]);
        assert_eq!(serde_json::to_string(&said).unwrap(), all);
        assert_eq!(serde_json::from_str::<SaidLimits>("{}").unwrap().limits(), Ok(Limits::default()));
    }

    #[test]
    fn names_that_are_no_codecs_are_named() {
        let named = |names: &[&str]| {
            codecs_named(&names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap_err().to_string()
        };
        assert_eq!(named(&[]), "1 to 32 codecs may be named, not 0");
        assert_eq!(named(&["avc1"; 33]), "1 to 32 codecs may be named, not 33");
        assert_eq!(named(&["avc1", "h264"]), "\"h264\" is no codec");
    }
}
