//! Sessions in virtual time.

use super::*;
use crate::edge::auth::tests::question;

const EVERY: Duration = Duration::from_secs(30);

fn at(ms: u64) -> Instant {
    Instant::from_micros(ms * 1000)
}

fn facts(connection: u64) -> Arc<Facts> {
    let facts = Arc::unwrap_or_clone(question("live", "test", "").facts);
    Arc::new(Facts { connection: ConnectionId(connection), ..facts })
}

fn stream(name: &str) -> StreamKey {
    StreamKey::new("live", name)
}

fn lives() -> Lives {
    Lives::new(LivesSettings {
        update_every: Some(EVERY),
        publish_ends: vec![Call::PublishDone, Call::Done],
        play_ends: vec![Call::PlayDone],
    })
}

impl Lives {
    fn begin(&mut self, ms: u64, connection: u64, action: Action, name: &str) {
        self.handle_began(at(ms), action, stream(name), facts(connection));
    }

    fn end(&mut self, ms: u64, connection: u64, action: Action, name: &str) {
        self.handle_ended(at(ms), ConnectionId(connection), action, &stream(name));
    }

    /// What is to be done now, as text, and the reports in it.
    fn outputs(&mut self, ms: u64) -> (String, Vec<Report>, Vec<u64>) {
        let (mut text, mut reports, mut numbers) = (Vec::new(), Vec::new(), Vec::new());
        while let Some(output) = self.poll_output(at(ms)) {
            match output {
                Output::Update { number, call, session } => {
                    text.push(format!("{} {}", call.word(), session.facts.connection.0));
                    numbers.push(number);
                }
                Output::Tell(report) => {
                    let calls: Vec<_> = report.calls.iter().map(|call| call.word()).collect();
                    text.push(format!("{} {}", calls.join("+"), report.session.facts.connection.0));
                    reports.push(report);
                }
            }
        }
        (text.join(", "), reports, numbers)
    }
}

/// Each session is asked about in its own time, which begins anew with each answer, and no more once it has ended.
#[test]
fn sessions_are_asked_about_while_they_live() {
    let mut lives = lives();
    lives.begin(0, 1, Action::Publish, "a");
    lives.begin(10_000, 2, Action::Play, "a");
    assert_eq!((lives.next_timeout(), lives.outputs(29_999).0), (Some(at(30_000)), String::new()));
    let (text, _, numbers) = lives.outputs(30_000);
    assert_eq!((text.as_str(), lives.next_timeout()), ("update_publish 1", Some(at(40_000))));
    assert_eq!(lives.outputs(39_999).0, "", "once at a time");
    assert_eq!(lives.handle_word(at(31_000), numbers[0], Word::GoesOn), None);
    let (text, _, numbers) = lives.outputs(40_000);
    assert_eq!(text, "update_play 2");
    assert_eq!(lives.handle_word(at(41_000), numbers[0], Word::Silence), None);
    let (text, _, numbers) = lives.outputs(61_000);
    assert_eq!(text, "update_publish 1");
    // It ends while it is asked about: the answer is for nobody.
    lives.end(61_500, 1, Action::Publish, "a");
    assert_eq!(lives.handle_word(at(62_000), numbers[0], Word::Ends), None);
    assert_eq!(lives.counters().ended, 0);
    let (text, reports, _) = lives.outputs(62_000);
    assert_eq!(text, "publish_done+done 1");
    let report = reports.into_iter().next().unwrap();
    lives.handle_report(at(62_000), Report { calls: Vec::new(), ..report });
    assert_eq!(lives.next_timeout(), Some(at(71_000)), "the player's");
}

#[test]
fn a_session_that_is_ended_is_asked_about_no_more_and_its_end_is_told() {
    let mut lives = lives();
    lives.begin(0, 7, Action::Play, "a");
    lives.begin(0, 8, Action::Play, "a");
    let (text, _, numbers) = lives.outputs(30_000);
    assert_eq!(text, "update_play 7, update_play 8");
    assert_eq!(lives.handle_word(at(30_000), numbers[0], Word::Ends), Some(ConnectionId(7)));
    assert_eq!(lives.handle_word(at(30_000), numbers[1], Word::GoesOn), None);
    assert_eq!((lives.counters().ended, lives.outputs(60_000).0.as_str()), (1, "update_play 8"));
    lives.end(60_000, 7, Action::Play, "a");
    assert_eq!(lives.outputs(60_000).0, "play_done 7");
}

/// Where nobody is to be asked any more, also an answer that comes late brings no next question; ends are told.
#[test]
fn without_updates_ends_are_still_told() {
    let mut lives = lives();
    lives.begin(0, 1, Action::Publish, "a");
    lives.begin(10_000, 2, Action::Play, "a");
    let (_, _, numbers) = lives.outputs(30_000);
    lives.handle_no_updates();
    assert_eq!(lives.handle_word(at(30_000), numbers[0], Word::GoesOn), None);
    assert_eq!((lives.next_timeout(), lives.outputs(1_000_000).0.as_str()), (None, ""));
    lives.end(1_000_000, 1, Action::Publish, "a");
    lives.end(1_000_000, 2, Action::Play, "a");
    assert_eq!(lives.outputs(1_000_000).0, "publish_done+done 1, play_done 2");
}

/// Ends are matched to beginnings by what they are of; one connection may play many streams, also one several times.
#[test]
fn each_end_is_that_of_its_beginning() {
    let mut lives = lives();
    lives.begin(0, 1, Action::Play, "a");
    lives.begin(0, 1, Action::Play, "b");
    lives.begin(0, 1, Action::Play, "a");
    lives.end(1, 1, Action::Publish, "a");
    lives.end(1, 2, Action::Play, "a");
    lives.end(1, 1, Action::Play, "c");
    assert_eq!((lives.counters().sessions_now, lives.outputs(1).0.as_str()), (3, ""));
    for _ in 0..3 {
        lives.end(2, 1, Action::Play, "a");
    }
    assert_eq!((lives.counters().sessions_now, lives.outputs(2).0.as_str()), (1, "play_done 1, play_done 1"));
    lives.end(3, 1, Action::Play, "b");
    assert!(lives.lives.is_empty() && lives.of_connection.is_empty() && lives.due.is_empty());
}

/// Calls that nobody takes are tried again, after longer and longer pauses, and then dropped.
#[test]
fn an_end_is_told_again_some_times() {
    let mut lives = lives();
    lives.begin(0, 1, Action::Publish, "a");
    lives.end(0, 1, Action::Publish, "a");
    let (text, mut reports, _) = lives.outputs(0);
    assert_eq!(text, "publish_done+done 1");
    let mut report = reports.pop().unwrap();
    // The first call was made, the second was not.
    report.calls.remove(0);
    lives.handle_report(at(100), report);
    for (early, due) in [(599, 600), (1_599, 1_600), (3_599, 3_600)] {
        assert_eq!((lives.outputs(early).0.as_str(), lives.next_timeout()), ("", Some(at(due))));
        let (text, mut reports, _) = lives.outputs(due);
        assert_eq!((text.as_str(), lives.counters().waiting_now), ("done 1", 1));
        lives.handle_report(at(due), reports.pop().unwrap());
    }
    assert_eq!(lives.counters(), Counters { dropped: 1, ..Counters::default() });
    assert!(lives.is_idle());
}

#[test]
fn at_the_end_what_waits_is_tried_once_more() {
    let mut lives = lives();
    lives.begin(0, 1, Action::Publish, "a");
    lives.begin(0, 2, Action::Publish, "b");
    lives.end(0, 1, Action::Publish, "a");
    let report = lives.outputs(0).1.pop().unwrap();
    lives.handle_report(at(0), report);
    lives.handle_last(at(1));
    lives.end(1, 2, Action::Publish, "b");
    let (text, reports, _) = lives.outputs(1);
    assert_eq!(text, "publish_done+done 1, publish_done+done 2");
    assert!(!lives.has_told_all());
    reports.into_iter().for_each(|report| lives.handle_report(at(2), report));
    assert!(lives.has_told_all() && lives.counters().dropped == 2);
    assert_eq!(lives.outputs(1_000_000).0, "");
}

/// However many are due and end, no more is under way than may be; those who waited longest come first.
#[test]
fn calls_and_what_waits_are_bounded() {
    let mut lives = lives();
    for connection in 0..100 {
        lives.begin(connection, connection, Action::Play, "a");
    }
    let (_, _, numbers) = lives.outputs(40_000);
    assert_eq!((numbers.len(), lives.next_timeout()), (UPDATES_MAX, None));
    lives.handle_word(at(40_000), numbers[5], Word::GoesOn);
    assert_eq!(lives.outputs(40_000).0, format!("update_play {UPDATES_MAX}"));
    for connection in 0..REPORTS_MAX as u64 + 60 {
        lives.begin(50_000, 1_000_000 + connection, Action::Publish, "a");
        lives.end(50_000, 1_000_000 + connection, Action::Publish, "a");
    }
    assert_eq!((lives.reports_waiting(), lives.counters().dropped), (REPORTS_MAX, 60));
    let (text, reports, _) = lives.outputs(50_000);
    assert_eq!(reports.len(), REPORT_CALLS_MAX);
    assert!(text.starts_with("publish_done+done 1000060, publish_done+done 1000061, "), "{text}");
}

/// A crowd of players that goes pushes out no end of a publisher, whichever came first; publishers push out players, and in the end each other.
#[test]
fn ends_of_players_make_room_for_those_of_publishers() {
    let (mut lives, many) = (lives(), REPORTS_MAX as u64);
    let mut end = |connection: u64, action| {
        lives.begin(0, connection, action, "a");
        lives.end(0, connection, action, "a");
        (lives.publish_reports.len() as u64, lives.play_reports.len() as u64, lives.counters().dropped)
    };
    assert_eq!(end(0, Action::Publish), (1, 0, 0));
    let after = (0..2 * many).map(|number| end(10 + number, Action::Play)).last();
    assert_eq!(after, Some((1, many - 1, many + 1)));
    let after = (0..many).map(|_| end(1, Action::Publish)).last();
    assert_eq!(after, Some((many, 0, 2 * many + 1)));
    assert_eq!(end(2, Action::Play), (many, 0, 2 * many + 2), "there is nobody to make room for it");
    let text = lives.outputs(0).0;
    assert!(text.starts_with("publish_done+done 1, "), "the oldest went for the newest: {text}");
}

#[test]
fn too_many_sessions_are_not_known() {
    let mut lives = lives();
    for connection in 0..SESSIONS_MAX as u64 + 2 {
        lives.begin(0, connection, Action::Play, "a");
    }
    assert_eq!((lives.counters().untold, lives.counters().sessions_now), (2, SESSIONS_MAX as u64));
    lives.end(0, SESSIONS_MAX as u64, Action::Play, "a");
    assert_eq!(lives.outputs(0).0, "");
}

/// A table that tells nothing knows nobody.
#[test]
fn who_is_not_told_of_is_not_known() {
    let mut lives = Lives::new(LivesSettings { publish_ends: vec![Call::Done], ..LivesSettings::default() });
    lives.begin(0, 1, Action::Play, "a");
    assert!(lives.is_idle());
    lives.begin(0, 1, Action::Publish, "a");
    assert_eq!((lives.next_timeout(), lives.is_idle()), (None, false));
}

/// Random walks: each beginning has one end told, whatever the back end says, and in the end nothing is left.
#[test]
fn a_walk_through_everything_leaves_nothing() {
    for seed in 0..300 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut lives = lives();
        let (mut now, mut here, mut begun) = (0, Vec::new(), 0_u64);
        let (mut asked, mut telling, mut told) = (Vec::new(), Vec::new(), 0_u64);
        for step in 0..400 {
            now += random.u64(0..20_000);
            match random.u8(0..3) {
                0 if step < 300 => {
                    begun += 1;
                    let action = if random.bool() { Action::Publish } else { Action::Play };
                    lives.begin(now, begun / 2, action, "a");
                    here.push((begun / 2, action));
                }
                1 if !here.is_empty() => {
                    let (connection, action) = here.swap_remove(random.usize(0..here.len()));
                    lives.end(now, connection, action, "a");
                }
                _ => {}
            }
            let (_, reports, numbers) = lives.outputs(now);
            telling.extend(reports);
            asked.extend(numbers);
            assert!(asked.len() <= UPDATES_MAX && telling.len() <= REPORT_CALLS_MAX, "seed {seed}");
            while random.bool()
                && let Some(number) = asked.pop()
            {
                lives.handle_word(at(now), number, Word::GoesOn);
            }
            while random.bool()
                && let Some(mut report) = telling.pop()
            {
                // Fails rarely enough to be told in the end, as a rule.
                if random.u8(0..4) > 0 {
                    told += 1;
                    report.calls.clear();
                }
                lives.handle_report(at(now), report);
            }
        }
        for (connection, action) in here {
            lives.end(now, connection, action, "a");
        }
        for number in asked {
            lives.handle_word(at(now), number, Word::Silence);
        }
        loop {
            now += 10_000;
            telling.extend(lives.outputs(now).1);
            if telling.is_empty() {
                break;
            }
            for mut report in telling.drain(..) {
                told += 1;
                report.calls.clear();
                lives.handle_report(at(now), report);
            }
        }
        assert_eq!(told + lives.counters().dropped, begun, "seed {seed}");
        assert!(lives.is_idle() && lives.of_connection.is_empty() && lives.due.is_empty(), "seed {seed}");
    }
}
