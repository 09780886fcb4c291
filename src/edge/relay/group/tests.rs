//! Virtual time, made-up targets: exact tests of lives and groups, and a walk through random ones.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::runtime::outside::Totals;
use crate::runtime::{OutgoingEnd, Start};
use crate::session::{ClientUrl, ServerStatus};

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A group at a point in time, with what it has asked for and not been told of yet.
struct Stage {
    now: Instant,
    group: Group,
    actions: Vec<Action>,
}

impl Stage {
    fn new(targets: &[Target]) -> Self {
        let mut targets: Vec<&Target> = targets.iter().collect();
        in_order(&mut targets, |target| target.rank);
        let now = Instant::from_micros(1_000_000);
        let mut stage = Self { now, group: Group::new(now, 5, 1, &targets), actions: Vec::new() };
        stage.drain();
        stage
    }

    fn drain(&mut self) {
        while let Some(action) = self.group.poll_action() {
            self.actions.push(action);
        }
    }

    /// Time passes, with every timeout at its instant.
    fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            let next = self.group.next_timeout();
            if next > end {
                break;
            }
            self.now = self.now.max(next);
            let before = self.actions.len();
            self.group.handle_timeout(self.now);
            self.drain();
            let is_further = self.group.next_timeout() > self.now || self.actions.len() > before;
            assert!(is_further, "a timeout at {:?} changes nothing: {:?}", self.now, self.group);
        }
        self.now = end;
    }

    fn event(&mut self, id: OutgoingId, event: OutgoingEvent) {
        self.group.handle_event(self.now, id, &event);
        self.drain();
    }

    fn failed(&mut self, id: OutgoingId, failure: Failure) {
        self.group.handle_failed(self.now, id, &failure);
        self.drain();
    }

    /// From the end of a dial to media, at once.
    fn goes_live(&mut self, id: OutgoingId) {
        for step in [Step::Connecting, Step::Securing] {
            self.group.handle_step(self.now, id, step);
        }
        assert!(self.group.handle_dialed(self.now, id), "{id:?} is wanted");
        self.event(id, OutgoingEvent::Ready);
        self.event(id, OutgoingEvent::Began);
    }

    fn closed(&mut self, id: OutgoingId, end: OutgoingEnd) {
        self.event(id, OutgoingEvent::Closed { end, totals: Totals::default() });
    }

    /// The next dial that was asked for, which must be the only action but for notes: its id, member and start.
    #[track_caller]
    fn dial(&mut self) -> (OutgoingId, usize, Start) {
        let actions: Vec<_> =
            self.actions.drain(..).filter(|action| !matches!(action, Action::Note(_))).collect();
        match actions.as_slice() {
            [Action::Dial { id, member, url: None, from }] => (*id, *member, *from),
            other => panic!("one dial, not {other:?}"),
        }
    }

    #[track_caller]
    fn nothing(&mut self) {
        let actions: Vec<_> =
            self.actions.drain(..).filter(|action| !matches!(action, Action::Note(_))).collect();
        assert_eq!(actions, []);
    }

    fn taken(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    fn states(&self) -> Vec<&'static str> {
        self.group.lives().map(|life| life.state().label()).collect()
    }
}

fn target(url: &str) -> Target {
    Target::named(url).unwrap()
}

fn grouped(rank: u32) -> Target {
    Target { group: "g".into(), rank: Rank(rank), ..target("rtmp://h/a/b") }
}

fn bad_name() -> OutgoingEnd {
    let code = "NetStream.Publish.BadName".into();
    OutgoingEnd::Refused(ServerStatus { level: "error".into(), code, description: String::new() })
}

#[test]
fn a_target_is_tried_at_once_and_its_steps_show() {
    let mut stage = Stage::new(&[target("rtmp://h/a/b")]);
    assert_eq!(stage.states(), ["in_line"]);
    let (id, member, from) = stage.dial();
    assert_eq!((Ids::group_of(id), member, from), (5, 0, Start::Gop));
    stage.group.handle_step(stage.now, id, Step::Resolving);
    assert_eq!(stage.states(), ["resolving"]);
    stage.group.handle_step(stage.now, id, Step::Connecting);
    assert_eq!(stage.states(), ["connecting"]);
    // One that comes late changes nothing.
    stage.group.handle_step(stage.now, id, Step::Resolving);
    stage.group.handle_step(stage.now, id, Step::Securing);
    assert_eq!(stage.states(), ["securing"]);
    assert!(stage.group.handle_dialed(stage.now, id));
    assert_eq!(stage.states(), ["starting"]);
    stage.event(id, OutgoingEvent::Ready);
    assert_eq!((stage.states(), stage.group.active()), (vec!["ready"], None));
    stage.event(id, OutgoingEvent::Began);
    assert_eq!((stage.states(), stage.group.active()), (vec!["live"], Some(0)));
    assert_eq!(stage.taken(), [Action::Note(Note::Live { member: 0 })]);
    assert_eq!(stage.group.next_timeout(), Instant::FAR_FUTURE);
}

#[test]
fn whatever_ends_a_try_is_followed_by_another_after_a_pause_that_grows() {
    let mut stage = Stage::new(&[target("rtmp://h/a/b")]);
    let refusals: [fn(&mut Stage, OutgoingId); 5] = [
        |stage, id| stage.failed(id, Failure::NameTimeout),
        |stage, id| stage.failed(id, Failure::Connect(std::io::ErrorKind::ConnectionRefused)),
        |stage, id| stage.closed(id, bad_name()),
        |stage, id| stage.closed(id, OutgoingEnd::Hopeless),
        |stage, id| stage.closed(id, OutgoingEnd::Eof),
    ];
    for (failures, refuse) in refusals.into_iter().enumerate() {
        let (id, _, from) = stage.dial();
        assert_eq!(from, Start::Gop, "nothing has reached it yet");
        if failures >= 2 {
            assert!(stage.group.handle_dialed(stage.now, id));
        }
        refuse(&mut stage, id);
        assert_eq!(stage.states(), ["waiting"]);
        let longest = ms(1000) * (1 << failures);
        let pause = stage.group.next_timeout() - stage.now;
        assert!((longest / 2..=longest).contains(&pause), "{failures}: {pause:?}");
        stage.pass(pause - ms(1));
        stage.nothing();
        stage.pass(ms(1));
    }
    stage.dial();
    let life = stage.group.lives().next().unwrap();
    assert_eq!((life.reconnects(), life.last_failure().unwrap().label()), (5, "eof"));
}

#[test]
fn a_stable_time_makes_the_pauses_short_again_and_media_goes_on_at_a_key_frame() {
    let mut stage = Stage::new(&[target("rtmp://h/a/b")]);
    for _ in 0..4 {
        let (id, ..) = stage.dial();
        stage.failed(id, Failure::ConnectTimeout);
        stage.pass(ms(30_000));
    }
    // Not long enough: the fifth pause is up to 16 s.
    let (id, ..) = stage.dial();
    stage.goes_live(id);
    stage.pass(ms(9_999));
    stage.closed(id, OutgoingEnd::Io);
    assert!(stage.group.next_timeout() - stage.now >= ms(8_000));
    stage.pass(ms(16_000));
    let (id, _, from) = stage.dial();
    assert_eq!(from, Start::NextKeyFrame);
    stage.goes_live(id);
    stage.pass(ms(10_000));
    stage.closed(id, OutgoingEnd::Io);
    assert!(stage.group.next_timeout() - stage.now <= ms(1_000));
}

#[test]
fn the_end_of_a_stream_ends_tries_connections_and_pauses() {
    for prepare in [
        |_: &mut Stage, _: OutgoingId| {},
        |stage: &mut Stage, id| stage.group.handle_step(stage.now, id, Step::Resolving),
        |stage: &mut Stage, id| assert!(stage.group.handle_dialed(stage.now, id)),
        |stage: &mut Stage, id| stage.goes_live(id),
        |stage: &mut Stage, id| stage.failed(id, Failure::Name),
    ] {
        let mut stage = Stage::new(&[target("rtmp://h/a/b")]);
        let (id, ..) = stage.dial();
        prepare(&mut stage, id);
        stage.taken();
        let state = stage.states()[0];
        stage.group.end(stage.now);
        stage.drain();
        let expected = match state {
            "in_line" | "resolving" => vec![Action::Cancel { id }],
            "waiting" => vec![],
            _ => vec![Action::HangUp { id }],
        };
        assert_eq!(stage.taken(), expected);
        // A dial that was done already is thrown away, and nothing begins anew.
        assert!(!stage.group.handle_dialed(stage.now, id));
        stage.closed(id, OutgoingEnd::HungUp);
        stage.pass(ms(100_000));
        assert_eq!((stage.taken(), stage.states()), (vec![], vec!["standby"]));
    }
}

#[test]
fn an_engine_that_stops_is_not_tried_for_again() {
    let mut stage = Stage::new(&[grouped(0), grouped(1)]);
    let (id, ..) = stage.dial();
    stage.goes_live(id);
    stage.taken();
    stage.closed(id, OutgoingEnd::Stopping);
    stage.pass(ms(100_000));
    assert_eq!(stage.taken(), [Action::HangUp { id }]);
    assert_eq!(stage.states(), ["standby", "standby"]);
}

fn url(text: &str) -> ClientUrl {
    ClientUrl::parse(text).unwrap()
}

/// The dial to where a target has asked us to go.
#[track_caller]
fn redirected(stage: &mut Stage, to: &ClientUrl) -> OutgoingId {
    let actions = stage.taken();
    let [Action::Note(Note::Redirected { member: 0 }), Action::Dial { id, member: 0, url, from }] =
        actions.as_slice()
    else {
        panic!("a redirect and its dial, not {actions:?}");
    };
    assert_eq!((url.as_ref(), *from), (Some(to), Start::NextKeyFrame));
    *id
}

#[test]
fn a_request_to_connect_again_is_followed_and_the_old_connection_ends_when_the_new_one_begins() {
    let mut stage = Stage::new(&[target("rtmp://h/a/b")]);
    let (old, ..) = stage.dial();
    stage.goes_live(old);
    stage.taken();
    let there = url("rtmp://there/a/b");
    stage.event(old, OutgoingEvent::Reconnect { url: there.clone() });
    let new = redirected(&mut stage, &there);
    assert!(stage.group.handle_dialed(stage.now, new));
    stage.event(new, OutgoingEvent::Ready);
    // Asked once more meanwhile: it is being done.
    stage.event(old, OutgoingEvent::Reconnect { url: there.clone() });
    stage.nothing();
    // Sent on before anything has begun there: not followed, and told.
    stage.event(new, OutgoingEvent::Reconnect { url: there });
    assert_eq!(stage.taken(), [Action::Note(Note::RedirectRefused { member: 0, why: "successor" })]);
    assert_eq!(stage.states(), ["live"]);
    stage.event(new, OutgoingEvent::Began);
    assert_eq!(stage.taken(), [Action::HangUp { id: old }, Action::Note(Note::Live { member: 0 })]);
    stage.closed(old, OutgoingEnd::HungUp);
    stage.nothing();
    assert_eq!(stage.states(), ["live"]);
    // And when that is lost, the target's own URL it is again.
    stage.closed(new, OutgoingEnd::Eof);
    stage.pass(ms(1_000));
    stage.dial();
}

#[test]
fn a_server_that_leaves_before_the_new_connection_begins_leaves_that_one() {
    let mut stage = Stage::new(&[target("rtmp://h/a/b")]);
    let (old, ..) = stage.dial();
    stage.goes_live(old);
    stage.taken();
    let there = url("rtmp://there/a/b");
    stage.event(old, OutgoingEvent::Reconnect { url: there.clone() });
    let new = redirected(&mut stage, &there);
    stage.closed(old, OutgoingEnd::Eof);
    stage.nothing();
    assert_eq!(stage.states(), ["in_line"]);
    stage.goes_live(new);
    assert_eq!(stage.states(), ["live"]);
    // Of one that fails the old connection hears nothing.
    stage.taken();
    stage.event(new, OutgoingEvent::Reconnect { url: there.clone() });
    let third = redirected(&mut stage, &there);
    stage.failed(third, Failure::Name);
    assert_eq!(stage.taken(), [Action::Note(Note::RedirectFailed { member: 0, failure: Failure::Name })]);
    assert_eq!(stage.states(), ["live"]);
}

#[test]
fn requests_to_connect_again_are_bounded_and_lead_never_out_of_tls() {
    let mut stage = Stage::new(&[target("rtmps://h/a/b")]);
    let (mut present, ..) = stage.dial();
    stage.goes_live(present);
    let refused = |why| vec![Action::Note(Note::RedirectRefused { member: 0, why })];
    stage.taken();
    stage.event(present, OutgoingEvent::Reconnect { url: url("rtmp://there/a/b") });
    assert_eq!(stage.taken(), refused("downgrade"));
    let there = url("rtmps://there/a/b");
    for _ in 0..2 {
        for _ in 0..super::super::life::REDIRECTS_MAX {
            stage.event(present, OutgoingEvent::Reconnect { url: there.clone() });
            present = redirected(&mut stage, &there);
            stage.goes_live(present);
            stage.taken();
        }
        stage.event(present, OutgoingEvent::Reconnect { url: there.clone() });
        assert_eq!(stage.taken(), refused("too_many"));
        // A stable time, and it may ask again.
        stage.pass(ms(10_000));
    }
    // One that has led from TCP to TLS leads back no more.
    let mut stage = Stage::new(&[target("rtmp://h/a/b")]);
    let (plain, ..) = stage.dial();
    stage.goes_live(plain);
    stage.taken();
    stage.event(plain, OutgoingEvent::Reconnect { url: there.clone() });
    let secure = redirected(&mut stage, &there);
    stage.goes_live(secure);
    stage.taken();
    stage.event(secure, OutgoingEvent::Reconnect { url: url("rtmp://there/a/b") });
    assert_eq!(stage.taken(), refused("downgrade"));
}

#[test]
fn a_group_takes_the_next_one_when_the_first_fails_or_takes_too_long() {
    // It fails at once.
    let mut stage = Stage::new(&[grouped(1), grouped(0)]);
    let (primary, member, _) = stage.dial();
    assert_eq!(member, 0, "the rank decides, not the order of the file");
    stage.failed(primary, Failure::Name);
    assert!(stage.actions.contains(&Action::Note(Note::Failover { member: 1 })));
    let (backup, member, from) = stage.dial();
    assert_eq!((member, from, stage.states()), (1, Start::Gop, vec!["waiting", "in_line"]));
    stage.goes_live(backup);
    assert_eq!(stage.group.active(), Some(1));
    // The first goes on being tried.
    stage.taken();
    stage.pass(ms(1_000));
    assert_eq!(stage.dial().1, 0);

    // It takes too long.
    let mut stage = Stage::new(&[grouped(0), grouped(1)]);
    let (primary, ..) = stage.dial();
    stage.pass(ms(4_999));
    stage.nothing();
    stage.pass(ms(1));
    let (backup, member, _) = stage.dial();
    assert_eq!(member, 1);
    // It comes after all, and first: the other one is given up.
    stage.goes_live(primary);
    assert!(stage.taken().contains(&Action::Cancel { id: backup }));
    assert_eq!(stage.states(), ["live", "standby"]);
}

#[test]
fn an_active_one_that_is_lost_is_replaced_at_once_from_the_next_key_frame_on() {
    let mut stage = Stage::new(&[grouped(0), grouped(1), grouped(2)]);
    let (primary, ..) = stage.dial();
    stage.goes_live(primary);
    stage.taken();
    stage.pass(ms(60_000));
    stage.closed(primary, OutgoingEnd::Eof);
    let (_, member, from) = stage.dial();
    assert_eq!(
        (member, from, stage.states()),
        (1, Start::NextKeyFrame, vec!["waiting", "in_line", "standby"])
    );
}

#[test]
fn a_better_one_gets_the_stream_back_when_it_has_had_it_for_long_enough() {
    let mut stage = Stage::new(&[grouped(0), grouped(1)]);
    let (primary, ..) = stage.dial();
    stage.failed(primary, Failure::ConnectTimeout);
    let (backup, ..) = stage.dial();
    stage.goes_live(backup);
    stage.taken();
    stage.pass(ms(1_000));
    let (primary, ..) = stage.dial();
    stage.goes_live(primary);
    assert_eq!((stage.states(), stage.group.active()), (vec!["live", "live"], Some(1)));
    stage.taken();
    // It dies within the time: nobody has lost anything.
    stage.pass(ms(9_999));
    stage.nothing();
    stage.closed(primary, OutgoingEnd::Eof);
    stage.nothing();
    assert_eq!(stage.states(), ["waiting", "live"]);
    // And comes back.
    stage.pass(ms(2_000));
    let (primary, ..) = stage.dial();
    stage.goes_live(primary);
    stage.taken();
    stage.pass(ms(10_000));
    assert_eq!(stage.taken(), [Action::HangUp { id: backup }, Action::Note(Note::Failback { member: 0 })]);
    assert_eq!((stage.states(), stage.group.active()), (vec!["live", "standby"], Some(0)));
}

#[test]
fn a_worse_one_that_is_lost_while_a_better_one_proves_itself_is_not_missed() {
    let mut stage = Stage::new(&[grouped(0), grouped(1)]);
    let (primary, ..) = stage.dial();
    stage.failed(primary, Failure::Name);
    let (backup, ..) = stage.dial();
    stage.goes_live(backup);
    stage.taken();
    stage.pass(ms(1_000));
    let (primary, ..) = stage.dial();
    stage.goes_live(primary);
    stage.taken();
    stage.closed(backup, OutgoingEnd::Io);
    stage.pass(ms(100_000));
    stage.nothing();
    assert_eq!(stage.states(), ["live", "standby"]);
}

#[test]
fn there_is_no_way_back_between_equal_ranks() {
    let mut stage = Stage::new(&[grouped(0), grouped(0)]);
    let (first, ..) = stage.dial();
    stage.failed(first, Failure::Name);
    let (second, member, _) = stage.dial();
    assert_eq!(member, 1);
    stage.goes_live(second);
    assert_eq!(stage.states(), ["standby", "live"]);
    stage.taken();
    stage.pass(ms(600_000));
    stage.nothing();
    stage.closed(second, OutgoingEnd::Eof);
    assert_eq!(stage.dial().1, 0);
}

/// Random targets that come and go: whatever happens, when some target can be reached for long enough exactly one has the stream in the
/// end, nobody is dialed twice at a time, and the end of the stream leaves nothing behind.
#[test]
fn a_walk_through_random_groups_ends_where_it_must() {
    let (mut failovers, mut failbacks, mut redirects) = (0, 0, 0);
    for seed in 0..400 {
        let mut random = fastrand::Rng::with_seed(seed);
        let count = random.usize(1..=4);
        let targets: Vec<Target> = (0..count).map(|_| grouped(random.u32(0..3))).collect();
        let mut stage = Stage::new(&targets);
        let mut alive: BTreeMap<OutgoingId, usize> = BTreeMap::new();
        let mut with_core: BTreeMap<OutgoingId, usize> = BTreeMap::new();
        // What has ended by itself, perhaps before the group's word came to it.
        let mut over: BTreeSet<OutgoingId> = BTreeSet::new();
        let mut is_up: Vec<bool> = (0..count).map(|_| random.bool()).collect();
        let steps = random.usize(10..120);
        for step in 0..steps + 200 {
            let is_calm = step >= steps;
            if is_calm && !is_up.contains(&true) {
                is_up[0] = true;
            }
            for action in stage.taken() {
                match action {
                    Action::Dial { id, member, .. } => {
                        assert_eq!(alive.insert(id, member), None, "seed {seed}");
                        let of_member =
                            alive.values().chain(with_core.values()).filter(|it| **it == member).count();
                        assert!(of_member <= 2, "seed {seed}: {of_member} of one member");
                    }
                    Action::Cancel { id } => {
                        let is_dialed = alive.remove(&id).is_some();
                        assert!(is_dialed || over.contains(&id), "seed {seed}: {id:?} is dialed");
                    }
                    Action::HangUp { id } => {
                        let is_connected = with_core.remove(&id).is_some();
                        assert!(is_connected || over.contains(&id), "seed {seed}: {id:?} is connected");
                        stage.closed(id, OutgoingEnd::HungUp);
                    }
                    Action::Note(Note::Failover { .. }) => failovers += 1,
                    Action::Note(Note::Failback { .. }) => failbacks += 1,
                    Action::Note(Note::Redirected { .. }) => redirects += 1,
                    Action::Note(_) => {}
                }
            }
            if !is_calm && random.u8(0..6) == 0 {
                let flipped = random.usize(0..count);
                is_up[flipped] = !is_up[flipped];
            }
            let dialed: Vec<_> = alive.iter().map(|(id, member)| (*id, *member)).collect();
            for (id, member) in dialed {
                if random.bool() {
                    alive.remove(&id);
                    if is_up[member] {
                        if stage.group.handle_dialed(stage.now, id) {
                            with_core.insert(id, member);
                        } else {
                            over.insert(id);
                        }
                    } else {
                        over.insert(id);
                        stage.failed(id, Failure::ConnectTimeout);
                    }
                }
            }
            let connected: Vec<_> = with_core.iter().map(|(id, member)| (*id, *member)).collect();
            for (id, member) in connected {
                if !is_up[member] {
                    with_core.remove(&id);
                    over.insert(id);
                    stage.closed(id, OutgoingEnd::Eof);
                } else {
                    match random.u8(0..8) {
                        0..3 => stage.event(id, OutgoingEvent::Ready),
                        3..7 => stage.event(id, OutgoingEvent::Began),
                        _ if !is_calm => {
                            stage.event(id, OutgoingEvent::Reconnect { url: url("rtmp://there/a/b") })
                        }
                        _ => {}
                    }
                }
            }
            stage.pass(ms(random.u64(1..2_000)));
        }
        // All that was asked for before the last look is done.
        let live = stage.states().iter().filter(|state| **state == "live").count();
        let mut in_order: Vec<Rank> = targets.iter().map(|target| target.rank).collect();
        in_order.sort_unstable();
        assert_eq!(live, 1, "seed {seed}: {:?}, up {is_up:?}", stage.states());
        let active = stage.group.active().unwrap();
        let best_up = (0..count).filter(|index| is_up[*index]).map(|index| in_order[index]).min().unwrap();
        assert_eq!(in_order[active], best_up, "seed {seed}: the best that is up has the stream");
        let before = stage.actions.len();
        stage.group.end(stage.now);
        stage.drain();
        for (index, action) in stage.taken().into_iter().enumerate() {
            match action {
                Action::Dial { id, member, .. } => {
                    assert!(index < before, "seed {seed}: a dial at the end");
                    alive.insert(id, member);
                }
                Action::Cancel { id } => drop(alive.remove(&id)),
                Action::HangUp { id } => drop(with_core.remove(&id)),
                Action::Note(_) => {}
            }
        }
        assert!(
            alive.is_empty() && with_core.is_empty(),
            "seed {seed}: {alive:?} and {with_core:?} are left"
        );
        stage.pass(ms(1_000_000));
        stage.nothing();
    }
    println!("{failovers} failovers, {failbacks} failbacks, {redirects} redirects");
    assert!(failovers > 100 && failbacks > 50 && redirects > 50);
}
