//! Who publishes, and who would like to.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::back_end::{CLOSED, OPEN, STRANGER};
use super::support::fleet::Asked;
use super::support::random::Random;
use super::{DENIED, Happening, World};

/// Longest stay of a churning publisher, and longest absence.
const STAY_MS_MAX: usize = 3_000;
const AWAY_MS_MAX: usize = 1_000;

/// Half of all are in each app.
pub fn app(number: usize) -> &'static str {
    [OPEN, CLOSED][number % 2]
}

pub fn steady_name(number: usize) -> String {
    format!("steady-{number}")
}

/// From the beginning to the end; how many messages that were.
async fn be_steady(world: Arc<World>, number: usize) -> u64 {
    let name = steady_name(number);
    let Some(mut publisher) = world.publish(app(number), &name).await else { return 0 };
    world.steady_there.fetch_add(1, Ordering::Relaxed);
    world.send_until(&mut publisher, &name, || world.is_over()).await;
    let sent = publisher.sent();
    world.leave(publisher, &name).await;
    sent
}

async fn churn(world: Arc<World>, number: usize, mut random: Random) {
    let name = format!("churning-{number}");
    while !world.is_over() {
        tokio::time::sleep(Duration::from_millis(random.below(AWAY_MS_MAX) as u64)).await;
        let stay = Duration::from_millis(random.below(STAY_MS_MAX) as u64);
        let Some(mut publisher) = world.publish(app(number), &name).await else { return };
        let until = Instant::now() + stay;
        world.send_until(&mut publisher, &name, || world.is_over() || Instant::now() >= until).await;
        world.leave(publisher, &name).await;
    }
}

async fn storm(world: Arc<World>, number: usize) {
    let name = format!("storming-{number}");
    let Some(mut publisher) = world.publish(app(number), &name).await else { return };
    loop {
        let storms = world.storms.load(Ordering::Relaxed);
        let is_cut = || world.storms.load(Ordering::Relaxed) > storms;
        world.send_until(&mut publisher, &name, || world.is_over() || is_cut()).await;
        if world.is_over() {
            return world.leave(publisher, &name).await;
        }
        drop(publisher);
        world.count(Happening::Cut, 1);
        match world.publish(app(number), &name).await {
            Some(back) => publisher = back,
            None => return,
        }
        world.count(Happening::Returned, 1);
    }
}

/// Asks again and again, and never gets in, whatever the back end does.
async fn be_stranger(world: Arc<World>, number: usize) {
    let name = format!("{STRANGER}-{number}");
    while !world.is_over() {
        match world.ask(CLOSED, &name).await {
            Asked::Accepted(_) => panic!("{name} was let in"),
            Asked::Refused(code) => assert_eq!(code, DENIED, "{name}"),
        }
        world.count(Happening::StrangerDenied, 1);
        tokio::time::sleep(world.size.retry).await;
    }
}

/// All publishers, on one thread; how many messages each of the steady ones sent.
pub fn publish_all(world: &Arc<World>, mut random: Random) -> Vec<u64> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a tokio runtime");
    runtime.block_on(async {
        // One that fails ends it all, whichever it is.
        let mut all = JoinSet::new();
        for number in 0..world.size.steady {
            let publishing = be_steady(world.clone(), number);
            all.spawn(async move { Some((number, publishing.await)) });
        }
        for number in 0..world.size.churning {
            let publishing = churn(world.clone(), number, Random::with_seed(random.next()));
            all.spawn(async move {
                publishing.await;
                None
            });
        }
        for number in 0..world.size.storming {
            let publishing = storm(world.clone(), number);
            all.spawn(async move {
                publishing.await;
                None
            });
        }
        for number in 0..world.size.strangers {
            let asking = be_stranger(world.clone(), number);
            all.spawn(async move {
                asking.await;
                None
            });
        }
        let mut sent = vec![0; world.size.steady];
        while let Some(ended) = all.join_next().await {
            if let Some((number, count)) = ended.expect("a publisher got through") {
                sent[number] = count;
            }
        }
        sent
    })
}
