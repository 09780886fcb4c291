//! Figures of encoders in virtual time.

use proptest::prelude::*;

use super::encoder::Encoder;
use super::*;
use crate::media::health::JUDGED_EVERY;

/// What is known of the stream is what the figures say, over the timestamps' wrap as well.
#[test]
fn figures_are_those_of_the_stream() {
    let mut encoder = Encoder::new(1);
    encoder.send(20, |_| ());
    let figures = &encoder.figures;
    let rate = |kind, expected: u64| {
        let found = figures.bits_per_second(kind);
        assert!(found.abs_diff(expected) <= expected / 50, "{kind:?}: {found}");
    };
    rate(MediaKind::Video, 25 * 10_000 * 8);
    rate(MediaKind::Audio, 300 * 8 * 1_000_000 / 21_333);
    assert!((24.5..=25.5).contains(&figures.frames_per_second()), "{}", figures.frames_per_second());
    assert_eq!(figures.gop(), Some(Gop { frames: 25, ms: 1_000, arrival_ms: 1_000 }));
    assert!(figures.skew_ms().is_some_and(|ms| ms.abs() <= 1), "{:?}", figures.skew_ms());
    assert_eq!((figures.drift_ppm(), figures.is_uneven()), (Some(0), false));
    assert!(figures.jitter_us() <= 1_000, "timestamps are whole milliseconds: {}", figures.jitter_us());
    assert!(!figures.gop_exceeds(encoder.now, 1_000) && figures.gop_exceeds(encoder.now, 999));
    assert!(!figures.rate_exceeds(2_000_000) && figures.rate_exceeds(1_800_000));
}

/// Sound that runs away from its pictures shows as skew, both together as drift, and a network that delays as jitter.
#[test]
fn three_clocks_are_told_apart() {
    let mut encoder = Encoder::new(1);
    encoder.ppm = (0, 100_000);
    encoder.send(20, |_| ());
    let skew_ms = encoder.figures.skew_ms().unwrap();
    assert!((1_900..=2_000).contains(&skew_ms), "19.5 s by 10 %: {skew_ms}");
    assert_eq!(encoder.figures.drift_ppm(), Some(0));

    let mut encoder = Encoder::new(1);
    encoder.ppm = (-100_000, -100_000);
    encoder.send(20, |_| ());
    assert!(encoder.figures.skew_ms().unwrap().abs() <= 3, "{:?}", encoder.figures.skew_ms());
    let ppm = encoder.figures.drift_ppm().unwrap();
    assert!((-100_500..=-99_500).contains(&ppm), "{ppm}");

    let mut encoder = Encoder::new(1);
    encoder.delay_us_max = 60_000;
    encoder.send(20, |_| ());
    assert!((8_000..40_000).contains(&encoder.figures.jitter_us()), "{}", encoder.figures.jitter_us());
}

/// What came while nobody looked is in no figure.
#[test]
fn what_nobody_watched_counts_for_nothing() {
    let mut encoder = Encoder::new(1);
    encoder.send(20, |_| ());
    let bits = encoder.figures.bits_per_second(MediaKind::Video);
    let mut figures = encoder.figures.clone();
    // 10 s of it at once.
    for n in 0..250 {
        figures.on_frame(encoder.now + UNWATCHED_MAX * 2, MediaKind::Video, 15_000 + n * 40, n % 25 == 0);
        encoder.vitals.on_message(encoder.now, MediaKind::Video, 10_000);
    }
    figures.measure(encoder.now + UNWATCHED_MAX * 2, &encoder.vitals);
    assert_eq!((figures.skew_ms(), figures.drift_ppm(), figures.gop()), (None, None, None));
    assert_eq!(figures.bits_per_second(MediaKind::Video), bits, "the burst is no rate");
    figures.measure(encoder.now + UNWATCHED_MAX * 2 + JUDGED_EVERY, &encoder.vitals);
    assert!(figures.bits_per_second(MediaKind::Video) < bits, "nothing has come since");
}

/// Judgements come at uneven times where sweeps are late: a key frame in a short one makes no other rate, as it does not in a long one.
#[test]
fn a_short_time_says_little_of_a_rate() {
    let (mut now, mut vitals, mut figures) = (Instant::from_micros(5), Vitals::default(), Figures::default());
    figures.measure(now, &vitals);
    let mut highest = 0;
    for _ in 0..20 {
        for (passed_ms, bytes) in [(1_200, 120_000), (100, 60_000), (1_700, 120_000)] {
            vitals.on_message(now, MediaKind::Video, bytes);
            now = now + core::time::Duration::from_millis(passed_ms);
            figures.measure(now, &vitals);
            highest = highest.max(figures.bits_per_second(MediaKind::Video));
        }
    }
    // 800,000 in all; 4,800,000 for 100 ms.
    let last = figures.bits_per_second(MediaKind::Video);
    assert!(last.abs_diff(800_000) <= 150_000 && highest < 1_100_000, "{last}, at most {highest}");
}

proptest! {
    /// Nothing that a peer can put into its timestamps, at any times, makes a figure fail.
    #[test]
    fn any_timestamps_are_taken(frames in prop::collection::vec((0_u64..5_000_000, any::<bool>(), any::<u32>(), any::<bool>()), 0..400)) {
        let (mut figures, vitals) = (Figures::default(), Vitals::default());
        let mut now = Instant::from_micros(1);
        for (index, (passed_us, is_video, timestamp, is_key)) in frames.into_iter().enumerate() {
            now = now + core::time::Duration::from_micros(passed_us);
            let kind = if is_video { MediaKind::Video } else { MediaKind::Audio };
            figures.on_frame(now, kind, timestamp, is_key);
            if index % 3 == 0 {
                figures.measure(now, &vitals);
            }
        }
        let _ = (figures.gop_exceeds(now, 0), figures.skew_exceeds(0), figures.drift_exceeds(0), figures.rate_exceeds(0));
    }
}
