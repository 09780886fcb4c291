//! What is judged of publishers, in virtual time.

use alloc::string::String;
use alloc::vec::Vec;
use alloc::{format, vec};

use proptest::prelude::*;

use super::*;
use crate::media::figures::encoder::Encoder;

const BOTH: Announced = Announced { video: true, audio: true };

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A publisher with its judge, and what was told of it.
struct Rig {
    now: Instant,
    began: Instant,
    vitals: Vitals,
    announced: Announced,
    health: Health,
    judged_at: Instant,
    told: Vec<(Duration, Change)>,
}

impl Rig {
    fn new(announced: Announced) -> Self {
        let now = Instant::from_micros(77_000_000);
        let (vitals, health) = (Vitals::default(), Health::new(now, HealthSettings::default()));
        Self { now, began: now, vitals, announced, health, judged_at: now, told: Vec::new() }
    }

    fn judge(&mut self) {
        let changes = self.health.judge(self.now, &self.vitals, &Figures::default(), self.announced);
        self.judged_at = self.now;
        self.told.extend(changes.into_iter().map(|change| (self.now - self.began, change)));
    }

    /// Lets so much time pass; who is due is judged.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while self.judged_at + JUDGED_EVERY <= until {
            self.now = self.judged_at + JUDGED_EVERY;
            self.judge();
        }
        self.now = until;
    }

    fn frame(&mut self, kind: MediaKind) {
        self.vitals.on_message(self.now, kind, 100);
        if kind != MediaKind::Data {
            self.vitals.on_frame(self.now, kind);
        }
    }

    /// Sends each of these kinds every 100 ms, for so many seconds.
    fn send(&mut self, kinds: &[MediaKind], seconds: u64) {
        for _ in 0..seconds * 10 {
            kinds.iter().for_each(|kind| self.frame(*kind));
            self.pass(ms(100));
        }
    }

    /// The codes that hold, as words.
    fn holding(&self) -> Vec<&'static str> {
        self.health.holding().map(|(code, _)| code.label()).collect()
    }

    /// What was told, as words: `+` begins, `-` ends, with the second.
    fn words(&self) -> String {
        let word = |(at, change): &(Duration, Change)| {
            format!("{}{}@{}", if change.began { '+' } else { '-' }, change.code.label(), at.as_secs())
        };
        self.told.iter().map(word).collect::<Vec<_>>().join(" ")
    }
}

use MediaKind::{Audio, Data, Video};

/// Each code begins and ends when its terms say, and says how long its cause had lasted and how long it held.
#[test]
fn codes_keep_their_terms() {
    let mut rig = Rig::new(BOTH);
    rig.send(&[Video, Audio], 5);
    rig.pass(ms(5_000));
    rig.send(&[Video, Audio], 10);
    assert_eq!(rig.words(), "+starving@8 -starving@14");
    let lasted: Vec<_> = rig.told.iter().map(|(_, change)| change.lasted).collect();
    assert_eq!(lasted, [ms(3_100), ms(6_000)]);

    let mut rig = Rig::new(BOTH);
    rig.send(&[Video, Audio], 5);
    rig.send(&[Audio], 5);
    rig.send(&[Video, Audio], 10);
    assert_eq!(rig.words(), "+no_video@9 -no_video@15");

    let mut rig = Rig::new(BOTH);
    rig.send(&[Video, Audio], 5);
    rig.send(&[Video], 5);
    rig.send(&[Video, Audio], 10);
    assert_eq!(rig.words(), "+no_audio@9 -no_audio@15");
}

/// A publisher that never sends anything starves from the beginning; what it announced is not missed as well.
#[test]
fn who_never_sends_starves() {
    let mut rig = Rig::new(BOTH);
    rig.pass(ms(60_000));
    assert_eq!(rig.words(), "+starving@3");
    assert_eq!(
        rig.health.at_the_end(rig.now)[..],
        [Change { code: Code::Starving, began: false, lasted: ms(57_000) }]
    );
}

/// What was never announced is never missed.
#[test]
fn what_was_not_announced_is_not_missed() {
    for (announced, kinds) in [
        (Announced { video: false, audio: true }, &[Audio][..]),
        (Announced { video: true, audio: false }, &[Video]),
        (Announced::default(), &[Data]),
        (BOTH, &[Video, Audio]),
    ] {
        let mut rig = Rig::new(announced);
        rig.send(kinds, 60);
        assert_eq!(rig.words(), "", "{announced:?}");
    }
}

/// Neither pictures nor sound, though the publisher says something: both are missed, and it does not starve.
#[test]
fn both_kinds_can_be_missed_while_messages_come() {
    let mut rig = Rig::new(BOTH);
    rig.send(&[Data], 6);
    assert_eq!(rig.words(), "+no_video@4 +no_audio@4");
}

/// When everything ends, what was missed before is no longer named beside it; what is still missing afterwards is named anew.
#[test]
fn starving_stands_alone() {
    let mut rig = Rig::new(BOTH);
    rig.send(&[Video, Audio], 5);
    rig.send(&[Audio], 5);
    rig.pass(ms(5_000));
    assert_eq!(rig.words(), "+no_video@9 +starving@13 -no_video@13");
    rig.send(&[Audio], 10);
    assert_eq!(rig.words(), "+no_video@9 +starving@13 -no_video@13 -starving@19 +no_video@22");
}

/// While nothing comes it is unknown what would be missing: the time counts for no code but `starving`.
#[test]
fn silence_of_everything_counts_for_starving_alone() {
    let mut rig = Rig::new(BOTH);
    rig.send(&[Video, Audio], 5);
    for _ in 0..20 {
        // Pauses of 2.5 s, with sound alone between two of them now and then, and pictures before 4 s of that.
        rig.pass(ms(2_500));
        rig.send(&[Audio], 1);
        rig.pass(ms(2_500));
        rig.send(&[Audio, Video], 1);
    }
    assert_eq!(rig.words(), "");
}

/// An end that the publisher announces is no defect, and what comes after it is missed again when it goes.
#[test]
fn an_announced_end_is_not_missed() {
    let mut rig = Rig::new(BOTH);
    rig.send(&[Video, Audio], 5);
    rig.vitals.on_end(rig.now, Audio);
    rig.send(&[Video], 30);
    assert_eq!(rig.words(), "");
    rig.send(&[Video, Audio], 1);
    rig.send(&[Video], 5);
    assert_eq!(rig.words(), "+no_audio@40");
    rig.vitals.on_end(rig.now, Audio);
    rig.send(&[Video], 5);
    assert_eq!(rig.words(), "+no_audio@40 -no_audio@46");
}

/// A single frame ends nothing.
#[test]
fn a_single_frame_ends_nothing() {
    let mut rig = Rig::new(BOTH);
    rig.pass(ms(5_000));
    for _ in 0..20 {
        rig.frame(Audio);
        rig.pass(ms(3_500));
    }
    assert_eq!(rig.words(), "+starving@3");
    let mut rig = Rig::new(BOTH);
    for _ in 0..10 {
        rig.frame(Video);
        rig.send(&[Audio], 6);
    }
    assert_eq!(rig.words(), "+no_video@4");
}

/// A core that stood still makes nobody starve, and ends no code that held.
#[test]
fn time_that_nobody_watched_counts_for_nothing() {
    let mut rig = Rig::new(BOTH);
    rig.send(&[Video, Audio], 5);
    rig.now = rig.now + ms(60_000);
    rig.judge();
    rig.send(&[Video, Audio], 5);
    assert_eq!(rig.words(), "");
    rig.send(&[Audio], 6);
    assert_eq!(rig.holding(), ["no_video"]);
    rig.now = rig.now + ms(60_000);
    rig.judge();
    rig.send(&[Audio], 6);
    assert_eq!(rig.holding(), ["no_video"]);
    rig.send(&[Audio, Video], 6);
    assert_eq!(rig.holding(), [] as [&str; 0]);
    assert_eq!(rig.told.len(), 2);
}

/// Something that happens to a publisher, and when.
#[derive(Clone, Copy, Debug)]
enum Step {
    Frame(MediaKind),
    End(MediaKind),
    Judgement,
}

fn steps() -> impl Strategy<Value = Vec<(u64, Step)>> {
    let step = prop_oneof![
        6 => prop_oneof![Just(Audio), Just(Video), Just(Data)].prop_map(Step::Frame),
        1 => prop_oneof![Just(Audio), Just(Video)].prop_map(Step::End),
        5 => Just(Step::Judgement),
    ];
    // Long runs of one thing happen by the pauses: nothing, then much.
    let pause_ms = prop_oneof![4 => 0u64..300, 3 => 300u64..1_500, 1 => 1_500u64..8_000];
    prop::collection::vec((pause_ms, step), 0..400)
}

/// Checks what must hold of everything that is told; see the module's invariant.
fn check_changes(told: &[(Duration, Change)]) {
    for code in Code::ALL {
        let terms = code.terms();
        let mut last: Option<(Duration, Change)> = None;
        for (at, change) in told.iter().filter(|(_, change)| change.code == code) {
            let before = last.replace((*at, *change));
            assert_eq!(change.began, before.is_none_or(|(_, change)| !change.began), "{told:?}");
            let Some((since, _)) = before else {
                assert!(*at >= terms.begins_after, "{told:?}");
                continue;
            };
            if change.began {
                assert!(*at - since >= terms.begins_after && change.lasted >= terms.begins_after, "{told:?}");
                continue;
            }
            assert_eq!(change.lasted, *at - since);
            let is_cut_short =
                told.iter().any(|(then, other)| then == at && other.code == Code::Starving && other.began);
            assert!(is_cut_short || *at - since >= terms.ends_after, "{told:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever comes, and however irregularly it is judged: changes alternate and are not faster than their terms, `starving` stands alone,
    /// and what holds is what was told.
    #[test]
    fn changes_alternate_and_do_not_flap(steps in steps(), video: bool, audio: bool) {
        let mut rig = Rig::new(Announced { video, audio });
        for (pause_ms, step) in steps {
            rig.now = rig.now + ms(pause_ms);
            match step {
                Step::Frame(kind) => rig.frame(kind),
                Step::End(kind) => rig.vitals.on_end(rig.now, kind),
                Step::Judgement => rig.judge(),
            }
            if !matches!(step, Step::Judgement) {
                continue;
            }
            check_changes(&rig.told);
            let told = |code| {
                let mut of_code = rig.told.iter().rev().filter(|(_, change)| change.code == code);
                of_code.next().is_some_and(|(_, change)| change.began)
            };
            let holding: Vec<_> = Code::ALL.into_iter().filter(|code| told(*code)).map(Code::label).collect();
            prop_assert_eq!(rig.holding(), &holding[..]);
            prop_assert!(holding.len() == 1 || !told(Code::Starving), "{:?}", holding);
        }
        prop_assert!(video || !rig.told.iter().any(|(_, change)| change.code == Code::NoVideo));
        prop_assert!(audio || !rig.told.iter().any(|(_, change)| change.code == Code::NoAudio));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// A stream with any steady rate of pictures and sound from one a second on, with pauses of everything and of each kind that are shorter
    /// than what a code begins after, and judged at irregular times, is never told of.
    #[test]
    fn steady_streams_are_left_alone(
        picture_ms in 8u64..=1_000,
        sound_ms in 8u64..=1_000,
        kinds in prop::sample::select(vec![vec![Video, Audio], vec![Video], vec![Audio]]),
        // When, of what (both, or one kind), and for how long.
        pauses in prop::collection::vec((0u64..10_000, 0usize..3, 0u64..100), 0..20),
        judged_after_ms in prop::collection::vec(1_000u64..1_500, 100),
    ) {
        let announced = Announced { video: kinds.contains(&Video), audio: kinds.contains(&Audio) };
        let mut rig = Rig::new(announced);
        // One after another, so that no two add up. From the frame before a pause to the one behind it are up to two periods more.
        let mut paused = vec![];
        let mut from_ms = 0;
        for (after_ms, what, share) in pauses {
            let longest_ms = if what == 0 || kinds.len() == 1 { 2_900 } else { 3_900 } - 2 * picture_ms.max(sound_ms);
            let length_ms = longest_ms * share / 100;
            from_ms += after_ms + 1_000;
            paused.push((what, from_ms, from_ms + length_ms));
            from_ms += length_ms;
        }
        let is_paused = |kind, at_ms| {
            paused.iter().any(|(what, from_ms, to_ms)| {
                (*what == 0 || (*what == 1) == (kind == Video)) && (*from_ms..*to_ms).contains(&at_ms)
            })
        };
        let mut judgements = judged_after_ms.iter().scan(0, |at_ms, after_ms| {
            *at_ms += after_ms;
            Some(*at_ms)
        });
        let mut next_judgement = judgements.next();
        for at_ms in 0..60_000 {
            rig.now = rig.began + ms(at_ms);
            for kind in &kinds {
                let every_ms = if *kind == Video { picture_ms } else { sound_ms };
                if at_ms % every_ms == 0 && !is_paused(*kind, at_ms) {
                    rig.frame(*kind);
                }
            }
            if next_judgement == Some(at_ms) {
                rig.judge();
                next_judgement = judgements.next();
            }
        }
        prop_assert_eq!(rig.words(), "");
    }
}

/// An encoder that is judged with its figures each second.
struct Judged {
    encoder: Encoder,
    health: Health,
    told: Vec<String>,
}

impl Judged {
    fn new(seed: u64, settings: HealthSettings) -> Self {
        let encoder = Encoder::new(seed);
        Self { health: Health::new(encoder.now, settings), encoder, told: Vec::new() }
    }

    fn send(&mut self, seconds: u64) -> &mut Self {
        let Self { encoder, health, told } = self;
        encoder.send(seconds, |encoder| {
            let changes = health.judge(encoder.now, &encoder.vitals, &encoder.figures, BOTH);
            let second = (encoder.now - Instant::from_micros(77_000_000)).as_secs();
            let word = |change: Change| {
                format!("{}{}@{second}", if change.began { '+' } else { '-' }, change.code.label())
            };
            told.extend(changes.into_iter().map(word));
        });
        self
    }

    fn words(&self) -> String {
        self.told.join(" ")
    }
}

/// Each code of figures begins and ends by its terms, and no other does beside it.
#[test]
fn codes_of_figures_keep_their_terms() {
    let settings = HealthSettings { bits_per_second_max: 2_500_000, ..HealthSettings::default() };
    let judged = || Judged::new(3, settings);

    let mut gop = judged();
    gop.encoder.gop_frames = 250;
    gop.send(30).encoder.gop_frames = 25;
    gop.send(20);

    let mut skew = judged();
    skew.encoder.ppm = (0, 200_000);
    skew.send(20).encoder.ppm = (0, -300_000);
    skew.send(20);

    let mut rate = judged();
    rate.send(10).encoder.picture_bytes = 20_000;
    rate.send(20).encoder.picture_bytes = 10_000;
    rate.send(20);

    let mut uneven = judged();
    uneven.send(10).encoder.uneven = true;
    uneven.send(20).encoder.uneven = false;
    uneven.send(20);

    let mut clock = judged();
    clock.encoder.ppm = (50_000, 50_000);
    clock.send(30).encoder.ppm = (0, 0);
    clock.send(40);

    assert_eq!(
        [gop, skew, rate, uneven, clock].map(|judged| judged.words()),
        [
            // Seen at 6; the first short one is whole just after the judgement at 31.
            "+gop_too_long@7 -gop_too_long@37",
            // 1 s apart after 5.5 s, and less than that from 30.5 s on.
            "+av_drift@11 -av_drift@36",
            // Smoothed, it is seen from 12 to 35.
            "+bitrate_over_limit@17 -bitrate_over_limit@41",
            // The last long step is in the second before 31.
            "+variable_frame_rate@16 -variable_frame_rate@37",
            // Known at 8; half a second off the line after 10 s, and two seconds more.
            "+clock_drift@13 -clock_drift@53",
        ]
    );
}

/// What 0 or false stands for is not judged.
#[test]
fn what_is_not_to_be_judged_is_not() {
    let settings = HealthSettings {
        gop_ms_max: 0,
        skew_ms_max: 0,
        drift_ppm_max: 0,
        bits_per_second_max: 0,
        tells_variable_frame_rate: false,
    };
    let mut judged = Judged::new(5, settings);
    judged.encoder.ppm = (300_000, 100_000);
    (judged.encoder.gop_frames, judged.encoder.picture_bytes, judged.encoder.uneven) = (1_000, 1 << 20, true);
    judged.send(60);
    assert_eq!(judged.words(), "");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// A steady stream of any frame rate whose GOPs are within the threshold has no code, over a network that delays each frame by up to
    /// 150 ms, and with a clock that is as good as clocks are.
    #[test]
    fn a_steady_stream_has_no_code(
        rate in (1_u64..=240, prop::bool::ANY),
        gop_ms in 1_u64..4_900,
        delay_us_max in 0_u64..150_000,
        ppm in -200_i64..200,
        seed: u64,
    ) {
        let mut judged = Judged::new(seed, HealthSettings::default());
        let (pictures, is_of_television) = rate;
        judged.encoder.rate = if is_of_television { (pictures * 1_000, 1_001) } else { (pictures, 1) };
        judged.encoder.gop_frames = (gop_ms * pictures / 1_001).max(1);
        judged.encoder.delay_us_max = delay_us_max;
        judged.encoder.ppm = (ppm, ppm);
        judged.send(90);
        prop_assert_eq!(judged.words(), "");
    }
}
