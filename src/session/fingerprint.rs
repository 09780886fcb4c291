//! Which encoder or player a peer is: told from what it calls itself, and where that says nothing from how it behaves.
//!
//! For the operator's eyes and for counting faults; nothing is allowed or refused by it. Encoders name themselves in `flashVer`, in the `encoder`
//! of `onMetaData`, in both or nowhere; many call themselves Adobe's Flash Media Live Encoder, since servers once asked for it. So the name in
//! the metadata goes first, then `flashVer`, then behaviour.
//! # Bounds
//! The kinds are compiled in: a metric by encoder has as many series, whatever peers call themselves.

/// What a peer does that tells encoders apart when their names do not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Behaviour {
    /// A chunk stream began with a header that refers to one before it: DJI's drones and cameras begin with type 2 on chunk stream 33.
    pub headerless_start: bool,
}

macro_rules! encoders {
    ($( $(#[doc = $doc:literal])* $variant:ident => $label:literal, [$($mark:literal),*]; )*) => {
        /// A kind of encoder or player.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Encoder { $( $(#[doc = $doc])* $variant, )* }

        impl Encoder {
            /// Every kind.
            pub const ALL: &'static [Self] = &[ $( Self::$variant, )* ];

            /// Metric label: stable, snake case, from a bounded set.
            pub fn label(self) -> &'static str {
                match self { $( Self::$variant => $label, )* }
            }

            /// What its names contain, in lower case.
            fn marks(self) -> &'static [&'static str] {
                match self { $( Self::$variant => &[ $($mark),* ], )* }
            }
        }
    };
}

// In order: the first whose mark is found is meant. Programs that are built on a library come before it.
encoders! {
    /// OBS Studio: `FMLE/3.0 (compatible; obs-studio/…; FMSc/1.0)`, `obs-output module (libobs version …)`.
    Obs => "obs", ["obs-studio", "obs-output", "libobs"];
    /// Streamlabs, desktop and mobile.
    Streamlabs => "streamlabs", ["streamlabs", "slobs"];
    /// vMix.
    Vmix => "vmix", ["vmix"];
    /// Telestream Wirecast: `Wirecast/FM 1.0 (compatible; FMSc/1.0)`.
    Wirecast => "wirecast", ["wirecast"];
    /// XSplit.
    Xsplit => "xsplit", ["xsplit"];
    /// Softvelum Larix Broadcaster.
    Larix => "larix", ["larix"];
    /// DJI drones and cameras.
    Dji => "dji", ["dji"];
    /// GoPro cameras.
    GoPro => "gopro", ["gopro"];
    /// Teradek encoders.
    Teradek => "teradek", ["teradek", "vidiu"];
    /// LiveU field units.
    LiveU => "liveu", ["liveu"];
    /// AWS Elemental encoders.
    Elemental => "elemental", ["elemental"];
    /// Haivision encoders.
    Haivision => "haivision", ["haivision", "makito", "kulabyte"];
    /// Wowza, and its GoCoder.
    Wowza => "wowza", ["wowza", "gocoder"];
    /// NVIDIA's recorder (ShadowPlay).
    Nvidia => "nvidia", ["nvidia", "shadowplay"];
    /// HaishinKit, the library of many iOS programs.
    HaishinKit => "haishinkit", ["haishinkit", "com.haishinkit"];
    /// RootEncoder, the library of many Android programs.
    RootEncoder => "rootencoder", ["rootencoder", "com.pedro"];
    /// SRS, forwarding.
    Srs => "srs", ["srs/", "simplertmp", "simple-rtmp"];
    /// nginx-rtmp, forwarding: `LNX.11,1,102,55`.
    NginxRtmp => "nginx_rtmp", ["ngx-rtmp", "ngx-local-relay", "lnx.11,1,102,55"];
    /// GStreamer.
    GStreamer => "gstreamer", ["gstreamer"];
    /// ffmpeg and what is built on libavformat: `FMLE/3.0 (compatible; Lavf…)`; it plays as `LNX 9,0,124,2`.
    Ffmpeg => "ffmpeg", ["lavf", "ffmpeg", "lnx 9,0,124,2"];
    /// librtmp and rtmpdump: `LNX 10,0,32,18` and the like.
    Librtmp => "librtmp", ["lnx 10,0,32,18", "win 10,0,32,18", "mac 10,0,32,18", "librtmp", "rtmpdump"];
    /// Adobe's encoder, or one that says no more than that it is like it.
    Fmle => "fmle", ["fmle/", "flash media live encoder", "fme/"];
    /// Flash Player and what calls itself so: `WIN 32,0,0,465`.
    FlashPlayer => "flash_player", ["win ", "mac ", "lnx ", "and "];
    /// `inrush` and its load harness.
    Inrush => "inrush", ["inrush"];
    /// Whoever says nothing that is known here.
    Unknown => "unknown", [];
}

impl Encoder {
    /// The kind that a peer is taken for: by `onMetaData`'s `encoder` if there is one, `flashVer`, and behaviour.
    pub fn of(flash_ver: &str, metadata_encoder: Option<&str>, behaviour: Behaviour) -> Self {
        let named = |text: &str| Self::ALL.iter().copied().find(|kind| kind.is_named_in(text));
        let by_metadata = metadata_encoder.and_then(named);
        let by_flash_ver = named(flash_ver);
        match (by_metadata, by_flash_ver) {
            // A program may name the library that it is built on in one place and itself in the other: the earlier in the list says more.
            (Some(one), Some(other)) => one.min(other),
            (Some(one), None) => one,
            (None, Some(Self::Fmle)) | (None, None) if behaviour.headerless_start => Self::Dji,
            (None, other) => other.unwrap_or(Self::Unknown),
        }
    }

    fn is_named_in(self, text: &str) -> bool {
        self.marks().iter().any(|mark| contains_ignoring_case(text, mark))
    }
}

/// `part` is in lower case. Allocates nothing: texts are short, and so are the marks.
fn contains_ignoring_case(text: &str, part: &str) -> bool {
    text.as_bytes().windows(part.len()).any(|window| window.eq_ignore_ascii_case(part.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Behaviour = Behaviour { headerless_start: false };

    #[test]
    fn encoders_are_told_by_their_names() {
        for (flash_ver, metadata, expected) in [
            ("FMLE/3.0 (compatible; obs-studio/30.1.2; FMSc/1.0)", None, Encoder::Obs),
            (
                "FMLE/3.0 (compatible; FMSc/1.0)",
                Some("obs-output module (libobs version 31.0.0)"),
                Encoder::Obs,
            ),
            ("FMLE/3.0 (compatible; Lavf59.27.100)", Some("Lavf59.27.100"), Encoder::Ffmpeg),
            ("LNX 9,0,124,2", None, Encoder::Ffmpeg),
            ("LNX 10,0,32,18", None, Encoder::Librtmp),
            ("Wirecast/FM 1.0 (compatible; FMSc/1.0)", None, Encoder::Wirecast),
            ("FMLE/3.0 (compatible; Lavf58.12.100)", Some("vMix 27"), Encoder::Vmix),
            ("LNX.11,1,102,55", None, Encoder::NginxRtmp),
            ("WIN 32,0,0,465", None, Encoder::FlashPlayer),
            ("FMLE/3.0 (compatible; FMSc/1.0)", None, Encoder::Fmle),
            ("FMLE/3.0 (compatible; FMSc/1.0)", Some("a camera"), Encoder::Fmle),
            ("", Some("Larix Broadcaster 1.3"), Encoder::Larix),
            ("", None, Encoder::Unknown),
            ("\u{fffd}\0", Some(""), Encoder::Unknown),
        ] {
            assert_eq!(Encoder::of(flash_ver, metadata, NOTHING), expected, "{flash_ver} {metadata:?}");
        }
    }

    /// Behaviour decides where names say nothing, and only there.
    #[test]
    fn behaviour_tells_what_names_do_not() {
        let odd = Behaviour { headerless_start: true };
        assert_eq!(Encoder::of("FMLE/3.0 (compatible; FMSc/1.0)", None, odd), Encoder::Dji);
        assert_eq!(Encoder::of("", None, odd), Encoder::Dji);
        assert_eq!(Encoder::of("FMLE/3.0 (compatible; Lavf59)", None, odd), Encoder::Ffmpeg);
        assert_eq!(Encoder::of("", Some("GoPro"), odd), Encoder::GoPro);
    }

    #[test]
    fn labels_are_unique_and_marks_are_lower_case() {
        let mut labels: alloc::vec::Vec<_> = Encoder::ALL.iter().map(|kind| kind.label()).collect();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), Encoder::ALL.len());
        let marks = Encoder::ALL.iter().flat_map(|kind| kind.marks());
        assert!(marks.clone().all(|mark| !mark.is_empty() && mark.to_lowercase() == **mark));
    }
}
