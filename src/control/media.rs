//! What a publisher's media comes to, as `/api/v1/streams` shows it:
//! ```json
//! {"video_bits_per_second": 2880000, "audio_bits_per_second": 128000, "frames_per_second": 30.0, "gop_frames": 60, "gop_ms": 2000,
//!  "key_frame_interval_ms": 2003, "av_skew_ms": 21, "clock_drift_ppm": -40, "arrival_jitter_ms": 1.25}
//! ```
//! [`crate::media::figures`] says what each is. Rates are of the last few seconds, bits of all tracks, the rest of the default ones. What is not
//! known is null: a GOP before the second key frame, the skew while not both kinds come, the drift for the first 8 s. `gop_ms` is what the timestamps
//! say, `key_frame_interval_ms` what passed here. `av_skew_ms` above 0 is of sound that is ahead of its pictures, `clock_drift_ppm` above 0
//! of an encoder whose clock is fast.

use serde::Serialize;

use crate::runtime::observe::MediaFigures;

/// [`MediaFigures`] as JSON.
#[derive(Clone, Copy, Serialize)]
pub(super) struct Media {
    video_bits_per_second: u64,
    audio_bits_per_second: u64,
    frames_per_second: f64,
    gop_frames: Option<u32>,
    gop_ms: Option<u32>,
    key_frame_interval_ms: Option<u32>,
    av_skew_ms: Option<i64>,
    clock_drift_ppm: Option<i64>,
    arrival_jitter_ms: f64,
}

impl From<MediaFigures> for Media {
    fn from(figures: MediaFigures) -> Self {
        let thousandths = |value: f64| (value * 1000.0).round() / 1000.0;
        Self {
            video_bits_per_second: figures.video_bits_per_second,
            audio_bits_per_second: figures.audio_bits_per_second,
            frames_per_second: thousandths(figures.frames_per_second),
            gop_frames: figures.gop_frames,
            gop_ms: figures.gop_ms,
            key_frame_interval_ms: figures.key_frame_interval_ms,
            av_skew_ms: figures.av_skew_ms,
            clock_drift_ppm: figures.clock_drift_ppm,
            arrival_jitter_ms: thousandths(figures.arrival_jitter_us as f64 / 1000.0),
        }
    }
}
