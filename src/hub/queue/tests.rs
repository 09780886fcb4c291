//! The queue against what its module says, at random and in examples.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::media::{Form, FrameInfo, FrameRole, TrackId};
use crate::rtmp::Payload;

const ROLES: [(MediaKind, FrameRole); 7] = [
    (MediaKind::Video, FrameRole::Key),
    (MediaKind::Video, FrameRole::Inter),
    (MediaKind::Audio, FrameRole::Audio),
    (MediaKind::Data, FrameRole::Data),
    (MediaKind::Video, FrameRole::SequenceHeader),
    (MediaKind::Audio, FrameRole::SequenceHeader),
    (MediaKind::Data, FrameRole::Metadata),
];

/// A frame whose timestamp is its number.
fn frame(role: usize, number: u32, len: usize) -> LocalFrame {
    let (kind, role) = ROLES[role];
    let info = FrameInfo {
        kind,
        role,
        track: TrackId::DEFAULT,
        timestamp: number,
        arrived: Instant::default(),
        starts_gop: role == FrameRole::Key,
    };
    Rc::new(Arc::new(Frame::new(info, Payload::from(Bytes::from(vec![0; len])), len)))
}

#[derive(Clone, Debug)]
enum Operation {
    Push { role: usize, len: usize, burst: bool },
    Notice(Notice),
    Take(TakeBudget),
    Remove(Kinds),
    Wait(u64),
}

fn operation() -> impl Strategy<Value = Operation> {
    let notice = prop_oneof![Just(Notice::PublishNotify), Just(Notice::UnpublishNotify)];
    let kinds = prop_oneof![Just(Kinds::AUDIO), Just(Kinds::VIDEO), Just(Kinds::ALL)];
    prop_oneof![
        12 => (0..ROLES.len(), 1usize..400, prop::bool::weighted(0.1))
            .prop_map(|(role, len, burst)| Operation::Push { role, len, burst }),
        1 => notice.prop_map(Operation::Notice),
        2 => (1usize..2_000, 1usize..10)
            .prop_map(|(bytes, slices)| Operation::Take(TakeBudget { bytes, slices })),
        1 => kinds.prop_map(Operation::Remove),
        3 => (0u64..400).prop_map(Operation::Wait),
    ]
}

/// What of a queue's content can be told from outside: numbers of frames, and `None` for a notice.
fn numbers(queue: &Queue) -> Vec<Option<u32>> {
    let overtaken = queue.overtaken.iter().map(|_| None);
    let number = |entry: &Entry| match entry {
        Entry::Frame { frame, .. } => Some(frame.timestamp()),
        Entry::Notice { .. } => None,
    };
    overtaken.chain(queue.entries.iter().map(number)).collect()
}

fn notices(queued: &[Queued]) -> impl Iterator<Item = Notice> {
    queued.iter().filter_map(|queued| match queued {
        Queued::Notice(notice) => Some(*notice),
        Queued::Frame(_) => None,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Through any sequence of operations: order is kept, sums are right, bounds hold once room was made, what goes is counted by
    /// kind, pictures go before sound, sound never stays without its header, and the newest notice is never lost.
    #[test]
    fn the_drop_policy_keeps_its_word(
        operations in prop::collection::vec(operation(), 0..120),
        bytes_max in 500usize..3_000, frames_max in 1usize..20, ms_max in 100u32..900,
    ) {
        let settings = QueueSettings { bytes_max, frames_max, ms_max, ..QueueSettings::default() };
        let mut queue = Queue::new(settings, Form::Full);
        let mut now = Instant::from_micros(u64::from(u32::MAX) * 1_000 - 5_000_000);
        let (mut newest_notice, mut heard) = (None, Vec::new());
        for (number, operation) in operations.into_iter().enumerate() {
            let stamp = Stamp::from(now);
            let before = numbers(&queue);
            match operation {
                Operation::Push { role, len, burst } => {
                    let frame = frame(role, u32::try_from(number).unwrap(), len);
                    let bytes = frame.wire().wire_len();
                    if queue.is_over(stamp, bytes) {
                        check_make_room(&mut queue, stamp, bytes)?;
                    }
                    prop_assert!(burst || queue.sums.bytes == 0 || queue.sums.bytes + bytes <= bytes_max);
                    queue.push(stamp, frame, burst);
                    prop_assert!(queue.entries.len() - queue.sums.burst_frames <= frames_max);
                    prop_assert!(queue.age_ms(stamp) <= ms_max);
                }
                Operation::Notice(notice) => {
                    newest_notice = Some(notice);
                    if queue.is_over(stamp, 0) {
                        check_make_room(&mut queue, stamp, 0)?;
                    }
                    queue.push_notice(stamp, notice);
                }
                Operation::Take(budget) => {
                    let mut out = Vec::new();
                    let taken = queue.take(budget, &mut out);
                    prop_assert_eq!(out.is_empty(), before.is_empty());
                    prop_assert!(out.len() <= 1 || taken.bytes <= budget.bytes && taken.slices <= budget.slices);
                    prop_assert_eq!(numbers(&queue), &before[out.len()..], "the oldest, in order");
                    prop_assert_eq!(taken.frames, before[..out.len()].iter().flatten().count());
                    heard.extend(notices(&out));
                }
                Operation::Remove(kinds) => {
                    queue.remove(kinds);
                    let left = queue.entries.iter().filter(|entry| match entry {
                        Entry::Frame { frame, .. } => kinds.meets(frame.kind().into()),
                        Entry::Notice { .. } => false,
                    });
                    prop_assert_eq!(left.count(), 0);
                }
                Operation::Wait(ms) => now = now + Duration::from_millis(ms),
            }
            let mut sums = Sums::default();
            for entry in &queue.entries {
                if let Entry::Frame { frame, burst, .. } = entry {
                    sums.add(frame, wire_len(frame, Form::Full), *burst);
                }
            }
            prop_assert_eq!(queue.sums, sums);
            let after = numbers(&queue);
            let sorted: Vec<_> = after.iter().flatten().collect();
            prop_assert!(sorted.windows(2).all(|pair| pair[0] < pair[1]), "{:?}", after);
        }
        let mut out = Vec::new();
        while !queue.is_empty() {
            queue.take(TakeBudget { bytes: 1, slices: 1 }, &mut out);
        }
        heard.extend(notices(&out));
        prop_assert_eq!(heard.last().copied(), newest_notice);
        prop_assert_eq!(queue.sums, Sums::default());
    }
}

fn check_make_room(queue: &mut Queue, now: Stamp, bytes: usize) -> Result<(), TestCaseError> {
    let frames = |queue: &Queue| {
        let frame = |entry: &Entry| match entry {
            Entry::Frame { frame, .. } => Some(frame.clone()),
            Entry::Notice { .. } => None,
        };
        queue.entries.iter().filter_map(frame).collect::<Vec<_>>()
    };
    let before = frames(queue);
    let dropped = queue.make_room(now, bytes);
    let after = frames(queue);
    prop_assert!(!queue.is_over(now, bytes), "room was made");

    let mut expected = Dropped::NOTHING;
    for frame in before.iter().filter(|frame| !after.iter().any(|kept| Rc::ptr_eq(kept, frame))) {
        expected.count(frame);
    }
    prop_assert_eq!(dropped, expected);
    prop_assert!(after.iter().all(|frame| frame.kind() != MediaKind::Video), "pictures go first");
    // Sound that stays has the header that it had: none between it and the newest that came before it went.
    let kept = |frame: &LocalFrame| after.iter().any(|kept| Rc::ptr_eq(kept, frame));
    let mut header_kept = true;
    for frame in before.iter().filter(|frame| frame.kind() == MediaKind::Audio) {
        match frame.role() {
            FrameRole::SequenceHeader => header_kept = kept(frame),
            _ => prop_assert!(!kept(frame) || header_kept, "sound without its header"),
        }
    }
    Ok(())
}

/// The same policy, told in an example: a burst counts beside the bounds, its age counts like any other's.
#[test]
fn a_burst_stands_beside_the_bounds() {
    let settings = QueueSettings { bytes_max: 1_000, frames_max: 3, ms_max: 500, ..QueueSettings::default() };
    let mut queue = Queue::new(settings, Form::Full);
    let start = Instant::from_micros(0);
    for number in 0..20 {
        queue.push(start.into(), frame(1, number, 300), true);
    }
    for number in 20..23 {
        assert!(!queue.is_over(start.into(), 200));
        queue.push(start.into(), frame(2, number, 200), false);
    }
    assert!(queue.is_over(start.into(), 200), "three frames of its own");
    let mut out = Vec::new();
    queue.take(TakeBudget { bytes: usize::MAX, slices: usize::MAX }, &mut out);
    assert_eq!((out.len(), queue.bytes(), queue.len()), (23, 0, 0));

    queue.push(start.into(), frame(2, 23, 10), true);
    let late = start + Duration::from_millis(501);
    assert!(queue.is_over(late.into(), 0));
    assert_eq!(queue.make_room(late.into(), 0).audio, 1);
}

/// An emptied queue gives back the room that a burst took.
#[test]
fn an_idle_queue_is_small() {
    let mut queue = Queue::new(QueueSettings::default(), Form::Full);
    for number in 0..4_000 {
        queue.push(Instant::default().into(), frame(1, number, 10), true);
    }
    queue.take(TakeBudget { bytes: usize::MAX, slices: usize::MAX }, &mut Vec::new());
    assert!(queue.entries.capacity() <= 2 * CAPACITY_KEPT, "{}", queue.entries.capacity());
}

/// Stamps order entries across their own wrap, and a clock that steps back makes nothing old.
#[test]
fn stamps_wrap() {
    let before = Stamp::from(Instant::from_micros(u64::from(u32::MAX) * 1_000));
    let after = Stamp::from(Instant::from_micros((u64::from(u32::MAX) + 30) * 1_000));
    assert_eq!((after.since(before), before.since(after), before.since(before)), (30, 0, 0));
}
