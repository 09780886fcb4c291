//! What is judged of rates, in virtual time; sizes and codecs have their tests where tracks become known, in `ingest`.

use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::media::codec::{AudioCodec, VideoCodec};

const SECOND: Duration = Duration::from_secs(1);

/// A publisher with its judge, and what was found.
struct Rig {
    now: Instant,
    began: Instant,
    judged_at: Instant,
    vitals: Vitals,
    limits: Limits,
    pace: Pace,
    found: Vec<(Duration, Excess)>,
}

impl Rig {
    /// Held to these rates; judged first after so long.
    fn new(bits_per_second: u64, frames_per_second: u32, first_after: Duration) -> Self {
        let now = Instant::from_micros(77_000_000);
        let limits = Limits {
            bits_per_second: NonZeroU64::new(bits_per_second),
            frames_per_second: NonZeroU32::new(frames_per_second),
            ..Limits::default()
        };
        // The first judgement comes in the middle of a second.
        let judged_at = Instant::from_micros(76_000_000) + first_after;
        let (vitals, pace) = (Vitals::default(), Pace::default());
        Self { now, began: now, judged_at, vitals, limits, pace, found: Vec::new() }
    }

    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while self.judged_at + JUDGED_EVERY <= until {
            self.judged_at = self.judged_at + JUDGED_EVERY;
            let excess = self.pace.judge(self.judged_at, &self.vitals, &self.limits);
            self.found.extend(excess.map(|excess| (self.judged_at - self.began, excess)));
        }
        self.now = until;
    }

    fn picture(&mut self, bytes: u32) {
        self.vitals.on_message(self.now, MediaKind::Video, bytes);
        self.vitals.on_frame(self.now, MediaKind::Video);
    }

    /// So many pictures a second of so many bytes, in real time.
    fn send(&mut self, seconds: u32, frames_per_second: u32, bytes: u32) {
        for _ in 0..seconds * frames_per_second {
            self.picture(bytes);
            self.pass(SECOND / frames_per_second);
        }
    }
}

/// A rate that is too high from the beginning on is found within the time that is stated, with what was found; just below the tolerance it
/// never is.
#[test]
fn a_steady_excess_is_found_in_time_and_a_tenth_is_none() {
    for first_after_ms in [1, 100, 500, 999, 1000] {
        let first_after = Duration::from_millis(first_after_ms);
        let mut rig = Rig::new(1_000_000, 0, first_after);
        rig.send(7, 25, 5_600); // 1.12 Mbit/s
        let (at, excess) = rig.found[0];
        assert!(at >= SHORT && at <= FOUND_WITHIN, "{at:?}");
        assert_eq!(excess, Excess::BitsPerSecond { found: 1_120_000, max: 1_000_000 });

        let mut rig = Rig::new(1_000_000, 0, first_after);
        rig.send(60, 25, 5_500); // 1.1 Mbit/s
        assert_eq!(rig.found, [], "first after {first_after_ms} ms");
    }
    let mut rig = Rig::new(0, 30, SECOND);
    rig.send(7, 34, 100);
    assert_eq!(rig.found[0].1, Excess::FramesPerSecond { found: 34, max: 30 });
    assert!(rig.found[0].0 <= FOUND_WITHIN);
    let mut rig = Rig::new(0, 30, SECOND);
    rig.send(60, 33, 100_000);
    assert_eq!(rig.found, [], "bits are not limited");
}

/// Who sends as many pictures as it may is never found, however few those are and wherever judgements fall between them.
#[test]
fn few_pictures_have_their_tolerance_too() {
    for (frames_per_second, first_after_ms) in
        [1, 2, 5, 9, 15].into_iter().flat_map(|fps| [1, 10, 50, 333, 999].map(|after| (fps, after)))
    {
        let mut rig = Rig::new(0, frames_per_second, Duration::from_millis(first_after_ms));
        rig.send(30, frames_per_second, 100);
        assert_eq!(rig.found, [], "{frames_per_second} a second, first after {first_after_ms} ms");
        rig.send(20, frames_per_second * 2, 100);
        assert!(!rig.found.is_empty(), "twice {frames_per_second} a second");
    }
}

/// An excess that begins later is found when the longer average shows it.
#[test]
fn a_later_excess_is_found_within_the_longer_average() {
    let mut rig = Rig::new(1_000_000, 0, SECOND);
    rig.send(30, 25, 5_000);
    assert_eq!(rig.found, []);
    rig.send(15, 25, 6_000); // 1.2 Mbit/s: by half of it the average is a tenth above
    let after = rig.found[0].0 - Duration::from_secs(30);
    assert!(after <= LONG + 2 * JUDGED_EVERY, "{after:?}");
    let mut rig = Rig::new(1_000_000, 0, SECOND);
    rig.send(30, 25, 5_000);
    rig.send(15, 25, 20_000);
    let after = rig.found[0].0 - Duration::from_secs(30);
    assert!(after <= SHORT + JUDGED_EVERY, "the more, the sooner: {after:?}");
}

/// All kinds count as bits, and pictures alone as pictures.
#[test]
fn sound_and_data_count_as_bits_only() {
    let mut rig = Rig::new(1_000_000, 10, SECOND);
    for _ in 0..8 * 25 {
        rig.vitals.on_message(rig.now, MediaKind::Audio, 4_000);
        rig.vitals.on_frame(rig.now, MediaKind::Audio);
        rig.vitals.on_message(rig.now, MediaKind::Data, 2_000);
        rig.pass(SECOND / 25);
    }
    assert_eq!(rig.found[0].1, Excess::BitsPerSecond { found: 1_200_000, max: 1_000_000 });
}

/// Key frames far above the rate, one in two seconds, are none: the average counts.
#[test]
fn key_frames_are_no_excess() {
    let mut rig = Rig::new(1_000_000, 30, SECOND);
    for _ in 0..60 {
        rig.picture(150_000); // 1.2 Mbit at once, of 2 Mbit in two seconds
        rig.pass(SECOND / 30);
        for _ in 1..60 {
            rig.picture(1_600);
            rig.pass(SECOND / 30);
        }
    }
    assert_eq!(rig.found, []);
}

/// Nor is what an encoder has kept while it connected, or while the network held it back.
#[test]
fn what_is_made_up_for_is_no_excess() {
    let mut rig = Rig::new(1_000_000, 25, SECOND);
    rig.pass(Duration::from_millis(3_500));
    (0..100).for_each(|_| rig.picture(5_000));
    rig.send(20, 25, 5_000);
    for held_back_seconds in [1, 3, 6] {
        rig.pass(SECOND * held_back_seconds);
        (0..25 * held_back_seconds).for_each(|_| rig.picture(5_000));
        rig.send(20, 25, 5_000);
        assert_eq!(rig.found, [], "{held_back_seconds} s");
    }
}

/// A core that has stood still judges late, with all that has come since.
#[test]
fn time_in_which_nobody_looked_counts_in_full() {
    let mut rig = Rig::new(1_000_000, 25, SECOND);
    rig.send(8, 25, 5_000);
    rig.judged_at = rig.judged_at + Duration::from_secs(30);
    (0..30 * 25).for_each(|_| rig.picture(5_000));
    rig.pass(Duration::from_secs(30));
    rig.send(20, 25, 5_000);
    assert_eq!(rig.found, []);
}

/// What tracks may be.
#[test]
fn sizes_and_codecs_are_judged_each_by_its_limit() {
    let size = |width, height| Size { width, height };
    let limits = Limits { width: NonZeroU32::new(1280), height: NonZeroU32::new(720), ..Limits::default() };
    assert_eq!(limits.judge_size(size(1280, 720)), None);
    assert_eq!(limits.judge_size(size(1281, 720)), Some(Excess::Width { found: 1281, max: 1280 }));
    assert_eq!(limits.judge_size(size(2, 721)), Some(Excess::Height { found: 721, max: 720 }));
    assert_eq!(Limits::default().judge_size(size(65_536, 65_536)), None);
    assert_eq!(limits.judge_codec(Codec::Video(VideoCodec::from_id(13))), None);
    let codecs = vec![Codec::Video(VideoCodec::Avc), Codec::Audio(AudioCodec::Aac)];
    let limits = Limits { codecs: Some(codecs.into()), ..Limits::default() };
    let told = |codec| limits.judge_codec(codec).map(|excess| alloc::format!("{excess}"));
    assert_eq!(told(Codec::Audio(AudioCodec::Aac)), None);
    let said = |name| Some(alloc::format!("this stream may not be coded in {name}: set another codec"));
    assert_eq!(told(Codec::Video(VideoCodec::Hevc)), said("hvc1"));
    assert_eq!(told(Codec::Audio(AudioCodec::Speex)), said("speex"));
    assert_eq!(told(Codec::Video(VideoCodec::UnknownId(13))), said("an unknown codec"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whoever never sends more than its limit in any second is never found, however unevenly within the seconds, and with judgements as
    /// uneven; and what is kept stays bounded.
    #[test]
    fn nobody_within_the_limit_is_found(
        steps in prop::collection::vec((0u32..=1000, 300u64..3_000), 1..60),
        max in 1_000u64..10_000_000,
    ) {
        let limits = Limits { bits_per_second: NonZeroU64::new(max), ..Limits::default() };
        let (mut now, mut vitals, mut pace) = (Instant::from_micros(0), Vitals::default(), Pace::default());
        for (part, pause_ms) in steps {
            now = now + Duration::from_millis(pause_ms);
            let bits = max * u64::from(part) / 1000 * pause_ms / 1000;
            vitals.on_message(now, MediaKind::Video, (bits / 8) as u32);
            prop_assert_eq!(pace.judge(now, &vitals, &limits), None);
            prop_assert!(pace.samples.len() <= SAMPLES_MAX);
        }
    }

    /// Nothing overflows, whatever was counted.
    #[test]
    fn no_count_panics(
        counts in prop::collection::vec((any::<u32>(), 0u64..10_000_000), 1..40),
        bits in 1u64..,
        frames in 1u32..,
    ) {
        let limits = Limits {
            bits_per_second: NonZeroU64::new(bits),
            frames_per_second: NonZeroU32::new(frames),
            ..Limits::default()
        };
        let (mut now, mut vitals, mut pace) = (Instant::FAR_FUTURE, Vitals::default(), Pace::default());
        for (bytes, pause_us) in counts {
            now = now + Duration::from_micros(pause_us);
            vitals.on_message(now, MediaKind::Video, bytes);
            pace.judge(now, &vitals, &limits);
        }
    }
}

fn any_limits() -> impl Strategy<Value = Limits> {
    const CODECS: [Codec; 3] =
        [Codec::Video(VideoCodec::Avc), Codec::Video(VideoCodec::Hevc), Codec::Audio(AudioCodec::Aac)];
    let rates = (proptest::option::of(1..9_u64), proptest::option::of(1..9_u32));
    let others = proptest::collection::vec(proptest::option::of(1..9_u32), 3);
    let codecs = proptest::option::of(proptest::sample::subsequence(&CODECS[..], 0..=3));
    (rates, others, codecs).prop_map(|((bits, pictures), others, codecs)| Limits {
        bits_per_second: bits.and_then(NonZeroU64::new),
        frames_per_second: pictures.and_then(NonZeroU32::new),
        seconds: others[0].and_then(NonZeroU32::new),
        width: others[1].and_then(NonZeroU32::new),
        height: others[2].and_then(NonZeroU32::new),
        codecs: codecs.map(Arc::from),
    })
}

proptest! {
    /// What both allow is what is allowed, whichever of them is asked first.
    #[test]
    fn of_two_the_stricter_holds(ours in any_limits(), theirs in any_limits(), size in (1..9_u32, 1..9_u32)) {
        let both = ours.stricter(&theirs);
        prop_assert_eq!(&both, &theirs.stricter(&ours));
        prop_assert_eq!(&both.stricter(&ours), &both);
        prop_assert_eq!(&ours.stricter(&Limits::default()), &ours);
        let size = Size { width: size.0, height: size.1 };
        prop_assert_eq!(
            both.judge_size(size).is_some(),
            ours.judge_size(size).is_some() || theirs.judge_size(size).is_some()
        );
        for codec in [Codec::Video(VideoCodec::Avc), Codec::Video(VideoCodec::Hevc), Codec::Audio(AudioCodec::Aac)] {
            prop_assert_eq!(
                both.judge_codec(codec).is_some(),
                ours.judge_codec(codec).is_some() || theirs.judge_codec(codec).is_some()
            );
        }
        let lower = |of: fn(&Limits) -> Option<u64>| [&ours, &theirs].into_iter().filter_map(of).min();
        prop_assert_eq!(both.bits_per_second.map(NonZeroU64::get), lower(|it| it.bits_per_second.map(NonZeroU64::get)));
        prop_assert_eq!(both.frames_per_second.map(|it| it.get().into()), lower(|it| Some(it.frames_per_second?.get().into())));
        prop_assert_eq!(both.seconds.map(|it| it.get().into()), lower(|it| Some(it.seconds?.get().into())));
    }
}
