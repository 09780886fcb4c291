//! Dials in virtual time, and what they have to wait for.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::*;
use crate::edge::relay::failure::Failure;

/// What a target has for a step.
const STEP_MAX: Duration = Duration::from_secs(5);

/// What a good target takes.
const GOOD: Duration = Duration::from_millis(5);

fn in_virtual_time<T>(work: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true).build().unwrap().block_on(work)
}

fn url(host: &str) -> ClientUrl {
    ClientUrl::parse(&format!("rtmp://{host}/a/b")).unwrap()
}

/// What a dial came to.
#[derive(Debug)]
struct Told {
    number: usize,
    began: Instant,
    ended: Instant,
    outcome: Result<(), Failure>,
    /// Dials of its kind that had a place when it got its own.
    in_flight: u64,
}

impl Told {
    fn failed_in_its_own_time(&self) -> bool {
        self.outcome == Err(Failure::ConnectTimeout) && self.ended - self.began == STEP_MAX
    }
}

/// A dial as [`super::super::course`] makes it, with a target that answers after so long, or never.
fn dial(places: &Arc<Places>, host: &str, number: usize, answers: Option<Duration>) -> JoinHandle<Told> {
    sent_there(places, None, host, number, answers)
}

fn sent_there(
    places: &Arc<Places>,
    sender: Option<&str>,
    host: &str,
    number: usize,
    answers: Option<Duration>,
) -> JoinHandle<Told> {
    let (places, url, sender) = (Arc::clone(places), url(host), sender.map(url));
    tokio::spawn(async move {
        let _place = places.take(&url, sender.as_ref()).await;
        let (began, in_flight) = (Instant::now(), places.counts().in_flight);
        let connect = async {
            match answers {
                Some(after) => tokio::time::sleep(after).await,
                None => std::future::pending().await,
            }
        };
        let outcome = timeout(STEP_MAX, connect).await.map_err(|_| Failure::ConnectTimeout);
        Told { number, began, ended: Instant::now(), outcome, in_flight }
    })
}

async fn all(dials: Vec<JoinHandle<Told>>) -> Vec<Told> {
    let mut told = Vec::new();
    for dial in dials {
        told.push(dial.await.unwrap());
    }
    told
}

#[track_caller]
fn assert_empty(places: &Places, max: usize) {
    let PlaceCounts { in_flight, waiting, .. } = places.counts();
    assert_eq!((in_flight, waiting, places.lines().len()), (0, 0, 0));
    assert_eq!(places.all.available_permits(), max);
}

/// 5,000 streams have one target, which swallows everything; others have a good one. The first ones fill their places and no more, one after
/// the other as they came, and fail after their own time alone; the others do not notice.
#[test]
fn a_black_hole_is_dialed_within_its_bound_and_delays_nobody_else() {
    const STREAMS: usize = 5_000;
    const GOOD_ONES: usize = 500;
    in_virtual_time(async {
        let dials = Dials::default();
        let places = dials.of(Kind::Plain);
        let start = Instant::now();
        let swallowed: Vec<_> = (0..STREAMS).map(|number| dial(places, "hole", number, None)).collect();
        let good: Vec<_> = (0..GOOD_ONES).map(|number| dial(places, "good", number, Some(GOOD))).collect();
        let good = all(good).await;
        assert!(good.iter().all(|told| told.outcome.is_ok()));
        let turns = |count: usize| u32::try_from(count.div_ceil(PER_HOST_MAX)).unwrap();
        assert_eq!(
            good.last().unwrap().ended - start,
            GOOD * turns(GOOD_ONES),
            "as if the hole were not there"
        );
        let counts = places.counts();
        assert_eq!(
            (counts.in_flight, counts.waiting),
            (PER_HOST_MAX as u64, (STREAMS - PER_HOST_MAX) as u64)
        );
        let swallowed = all(swallowed).await;
        assert!(swallowed.iter().all(Told::failed_in_its_own_time));
        assert!(swallowed.iter().all(|told| told.in_flight <= 2 * PER_HOST_MAX as u64));
        let late = swallowed.iter().skip(PER_HOST_MAX);
        assert!(late.clone().all(|told| told.in_flight <= PER_HOST_MAX as u64), "the good ones are gone");
        assert!(swallowed.is_sorted_by_key(|told| told.began), "first come, first served");
        assert_eq!(start.elapsed(), STEP_MAX * turns(STREAMS));
        assert_empty(places, PLAIN_MAX);
        assert_eq!(places.counts().waited as usize, STREAMS + GOOD_ONES - 2 * PER_HOST_MAX);
    });
}

/// Three holes have more places than there are. A good target waits until the first of them have had their time, and gets one of the places that
/// are free then, though each hole has a long line.
#[test]
fn black_holes_that_fill_all_places_do_not_starve_a_good_target() {
    in_virtual_time(async {
        let places = Arc::new(Places::new(4, 8));
        let start = Instant::now();
        let holes = ["one", "two", "three"];
        let holes = holes.into_iter().flat_map(|host| (0..20).map(move |number| (host, number)));
        let holes: Vec<_> = holes.map(|(host, number)| dial(&places, host, number, None)).collect();
        let good: Vec<_> = (0..3).map(|number| dial(&places, "good", number, Some(GOOD))).collect();
        for told in all(good).await {
            assert_eq!((told.began - start, told.outcome), (STEP_MAX, Ok(())));
        }
        assert!(all(holes).await.iter().all(|told| told.failed_in_its_own_time() && told.in_flight <= 8));
        assert_empty(&places, 8);
    });
}

/// Whose stream ends while it waits, in its host's line or for a place of all, has no turn that others would have to wait for.
#[test]
fn who_gives_up_is_in_line_no_more() {
    in_virtual_time(async {
        let places = Arc::new(Places::new(2, 3));
        let start = Instant::now();
        let [hole, other]: [Vec<_>; 2] =
            ["hole", "other"].map(|host| (0..6).map(|number| dial(&places, host, number, None)).collect());
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!((places.counts().in_flight, places.counts().waiting), (3, 9));
        let last = dial(&places, "hole", 6, Some(GOOD));
        tokio::time::sleep(Duration::from_millis(1)).await;
        // Those of the hole that wait for it, and the one of the other that waits for a place of all.
        hole[2..].iter().chain(&other[1..]).for_each(JoinHandle::abort);
        let told = last.await.unwrap();
        assert_eq!((told.began - start, told.outcome), (STEP_MAX, Ok(())));
        drop((hole, other));
        tokio::time::sleep(STEP_MAX).await;
        assert_empty(&places, 3);
    });
}

/// A target sends each of its streams to another port, where nobody answers: that fills no more places than a target that does not answer itself,
/// and where another one sends us is dialed at once.
#[test]
fn where_one_target_sends_us_stands_in_line_at_that_target() {
    in_virtual_time(async {
        let places = Arc::new(Places::new(4, 8));
        let start = Instant::now();
        let there: Vec<_> = (0..40).map(|number| format!("there:{}", 2_000 + number)).collect();
        let there: Vec<_> = there
            .iter()
            .enumerate()
            .map(|(number, there)| sent_there(&places, Some("evil"), there, number, None))
            .collect();
        let good = sent_there(&places, Some("good"), "evil", 0, Some(GOOD)).await.unwrap();
        assert_eq!((good.began - start, good.outcome), (Duration::ZERO, Ok(())));
        let there = all(there).await;
        assert!(there.iter().all(|told| told.failed_in_its_own_time() && told.in_flight <= 5));
        assert!(there.is_sorted_by_key(|told| (told.began, told.number)));
        assert_empty(&places, 8);
        // And all who are sent to one place count there.
        let all_there: Vec<_> = ["a", "b", "c"]
            .into_iter()
            .flat_map(|sender| (0..4).map(move |number| (sender, number)))
            .map(|(sender, number)| sent_there(&places, Some(sender), "there", number, None))
            .collect();
        assert!(all(all_there).await.iter().all(|told| told.in_flight <= 4));
        assert_empty(&places, 8);
    });
}

/// Whatever TLS and redirects have in the making, a dial without TLS has its place.
#[test]
fn kinds_do_not_wait_for_each_other() {
    in_virtual_time(async {
        let dials = Dials::default();
        let mut held = Vec::new();
        for kind in [Kind::Tls, Kind::Redirect] {
            let places = dials.of(kind);
            for number in 0..kind.max() {
                let host = url(&format!("h{}", number / PER_HOST_MAX));
                held.push(timeout(STEP_MAX, places.take(&host, None)).await.unwrap());
            }
            assert!(timeout(STEP_MAX, places.take(&url("another"), None)).await.is_err(), "all have places");
        }
        assert!(timeout(STEP_MAX, dials.of(Kind::Plain).take(&url("h0"), None)).await.is_ok());
        let shown = |kind: Kind| dials.of(kind).counts();
        assert_eq!(shown(Kind::Plain), PlaceCounts { in_flight: 0, waiting: 0, waited: 0 });
        assert_eq!(shown(Kind::Tls), PlaceCounts { in_flight: TLS_MAX as u64, waiting: 0, waited: 1 });
        drop(held);
        Kind::ALL.into_iter().for_each(|kind| assert_empty(dials.of(kind), kind.max()));
    });
    let secure = ClientUrl::parse("rtmps://h/a/b").unwrap();
    for (url, is_redirect, kind) in [
        (&url("h"), false, Kind::Plain),
        (&secure, false, Kind::Tls),
        (&url("h"), true, Kind::Redirect),
        (&secure, true, Kind::Redirect),
    ] {
        assert_eq!(Kind::of(url, is_redirect), kind);
    }
}
