//! An upstream: where streams of an app are pulled from when somebody plays them here, and how patiently.

use std::time::Duration;

use super::target::Target;
use super::template::{Template, TemplateError};

/// What we call ourselves to a source, unless told otherwise.
pub const PLAYER_FLASH_VER: &str = "LNX 9,0,124,2";

/// One `[[upstream]]`. `Debug` shows no path, query or parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Where it is and how it is connected to. It has no group or rank: an app's upstreams are one group, in the order of the file.
    pub source: Target,
    /// How long what is pulled stays when nobody plays it any more.
    pub linger: Duration,
}

impl Default for Upstream {
    fn default() -> Self {
        let source = Target { flash_ver: PLAYER_FLASH_VER.into(), ..Target::default() };
        Self { source, linger: Duration::from_secs(5) }
    }
}

impl Upstream {
    /// One at a URL or template, with the defaults for all else: also as a back end names it.
    ///
    /// # Errors
    /// As [`Template::parse`].
    pub fn at(url: &str) -> Result<Self, TemplateError> {
        let Self { source, linger } = Self::default();
        Ok(Self { source: Target { url: Some(Template::parse(url)?), ..source }, linger })
    }
}
