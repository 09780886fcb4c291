//! From where on something is too much: operators differ on it.

/// Thresholds of one app's publishers; where it says so, 0 judges nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthSettings {
    /// Longest group of pictures that nobody is warned of, ms; 0: any. Default 5,000: above the 2 to 4 s that packagers and platforms ask
    /// for, below the 8 to 10 s that encoders left alone choose.
    pub gop_ms_max: u32,
    /// How far sound and pictures that arrive together may be apart by their timestamps, ms; 0: as far as they are. Default 1,000, about
    /// what players make good.
    pub skew_ms_max: u32,
    /// How much faster or slower than ours an encoder's clock may run, millionths; 0: by any. Default 1,000: crystals keep to a tenth of
    /// that, and a player's buffer of 2 s lasts half an hour.
    pub drift_ppm_max: u32,
    /// Bits a second that nobody is warned of, all kinds together, averaged over some seconds; a tenth more is let pass. 0, the default: any.
    pub bits_per_second_max: u64,
    /// Whether a variable frame rate is told. Default true.
    pub tells_variable_frame_rate: bool,
}

impl Default for HealthSettings {
    fn default() -> Self {
        Self {
            gop_ms_max: 5_000,
            skew_ms_max: 1_000,
            drift_ppm_max: 1_000,
            bits_per_second_max: 0,
            tells_variable_frame_rate: true,
        }
    }
}
