//! Names become addresses, by the system's resolver and without anybody waiting for it who did not ask.
//!
//! The system's resolver blocks a thread until it has an answer, or has waited for every name server as often as `resolv.conf` says, and
//! nothing ends it before. So a name is looked up once at a time, whoever asks meanwhile shares the answer, and a name whose server hangs costs
//! one thread.
//! # Bounds
//! [`LOOKUPS_MAX`] names at a time, of those that the operator or a back end chose, and [`REDIRECT_LOOKUPS_MAX`] of those that targets chose:
//! the two have nothing in common. [`WAITING_PER_LOOKUP`] times as many may be under way or wait for a thread, and further ones are refused.
//! Who asks waits no longer than it wants to; a lookup that nobody waits for any more when its turn comes is not begun, and one that has
//! begun goes on.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use super::failure::Failure;

/// Names that are looked up at a time, each on a thread of its own.
pub const LOOKUPS_MAX: usize = 64;

/// Names that targets chose and that are looked up at a time: few, for a target may choose names that nobody answers for.
pub const REDIRECT_LOOKUPS_MAX: usize = 8;

/// Names that may be under way or wait, for each that is looked up at a time.
pub const WAITING_PER_LOOKUP: usize = 16;

/// Looks names up; cloning shares the lookups in flight.
#[derive(Clone)]
pub struct Resolver {
    in_flight: Arc<Mutex<InFlight>>,
    permits: Arc<Semaphore>,
    waiting_max: usize,
    lookup: Lookup,
}

type InFlight = HashMap<String, watch::Receiver<Answer>>;

/// What a lookup has come to; `None` until it has.
type Answer = Option<Result<Vec<IpAddr>, ()>>;

/// The system's, or a test's: blocks.
type Lookup = fn(&str) -> io::Result<Vec<IpAddr>>;

impl Default for Resolver {
    fn default() -> Self {
        Self::with(LOOKUPS_MAX, of_system)
    }
}

impl Resolver {
    /// One for names that targets chose.
    pub fn for_redirects() -> Self {
        Self::with(REDIRECT_LOOKUPS_MAX, of_system)
    }

    fn with(lookups_max: usize, lookup: Lookup) -> Self {
        let permits = Arc::new(Semaphore::new(lookups_max));
        Self { in_flight: Arc::default(), permits, waiting_max: lookups_max * WAITING_PER_LOOKUP, lookup }
    }

    /// The addresses of a name, or the one that it is.
    pub async fn addresses(&self, name: &str, patience: Duration) -> Result<Vec<IpAddr>, Failure> {
        if let Ok(address) = name.parse() {
            return Ok(vec![address]);
        }
        let mut answer = self.ask(name).ok_or(Failure::NamesTooMany)?;
        let answered = timeout(patience, answer.wait_for(Option::is_some)).await;
        match answered {
            Err(_) => Err(Failure::NameTimeout),
            Ok(Ok(answer)) => match &*answer {
                Some(Ok(addresses)) if !addresses.is_empty() => Ok(addresses.clone()),
                _ => Err(Failure::Name),
            },
            Ok(Err(_)) => Err(Failure::Name),
        }
    }

    /// The lookup of this name that goes on, or a new one; `None` when there are too many.
    fn ask(&self, name: &str) -> Option<watch::Receiver<Answer>> {
        let mut in_flight = self.in_flight();
        if let Some(answer) = in_flight.get(name) {
            return Some(answer.clone());
        }
        if in_flight.len() >= self.waiting_max {
            return None;
        }
        let (sender, receiver) = watch::channel(None);
        in_flight.insert(name.to_owned(), receiver.clone());
        let (resolver, name) = (self.clone(), name.to_owned());
        tokio::spawn(async move {
            let Ok(_permit) = resolver.permits.acquire().await else { return };
            if resolver.is_given_up(&name, &sender) {
                return;
            }
            let answer = resolver.look_up(&name).await;
            resolver.in_flight().remove(&name);
            // Nobody may wait for it any more.
            let _ = sender.send(Some(answer));
        });
        Some(receiver)
    }

    /// Forgets a lookup that nobody waits for. Whoever asks anew while the lock is held gets one of its own afterwards.
    fn is_given_up(&self, name: &str, sender: &watch::Sender<Answer>) -> bool {
        let mut in_flight = self.in_flight();
        // One receiver is the entry's.
        let is_given_up = sender.receiver_count() <= 1;
        if is_given_up {
            in_flight.remove(name);
        }
        is_given_up
    }

    fn in_flight(&self) -> MutexGuard<'_, InFlight> {
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn look_up(&self, name: &str) -> Result<Vec<IpAddr>, ()> {
        let (lookup, name) = (self.lookup, name.to_owned());
        let answer = tokio::task::spawn_blocking(move || lookup(&name)).await;
        answer.map_err(drop)?.map_err(drop)
    }
}

/// Asks the system, on the thread that calls.
fn of_system(name: &str) -> io::Result<Vec<IpAddr>> {
    use std::net::ToSocketAddrs as _;
    (name, 0).to_socket_addrs().map(|addresses| addresses.map(|address| address.ip()).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Instant;

    use super::*;

    fn on_one_thread<T>(work: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let result = runtime.block_on(work);
        runtime.shutdown_background();
        result
    }

    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn an_address_is_its_own_answer_and_localhost_has_one() {
        on_one_thread(async {
            let resolver = Resolver::default();
            let addresses = async |name| resolver.addresses(name, PATIENCE).await;
            assert_eq!(addresses("10.0.0.1").await, Ok(vec!["10.0.0.1".parse().unwrap()]));
            assert_eq!(addresses("::1").await, Ok(vec!["::1".parse().unwrap()]));
            assert!(addresses("localhost").await.unwrap().iter().all(IpAddr::is_loopback));
            assert_eq!(addresses("no such name").await, Err(Failure::Name));
        });
    }

    /// Ten times as many ask for a name that hangs as there are lookups at a time; another name is found meanwhile, and nobody waits longer than
    /// it wanted.
    #[test]
    fn a_name_that_hangs_delays_nobody_else() {
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        let lookup: Lookup = |name| {
            if name == "hangs" {
                ASKED.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_secs(60));
            }
            Ok(vec!["10.0.0.1".parse().unwrap()])
        };
        on_one_thread(async {
            let resolver = Resolver::with(LOOKUPS_MAX, lookup);
            let begin = Instant::now();
            let waiting: Vec<_> = (0..10 * LOOKUPS_MAX)
                .map(|_| {
                    let resolver = resolver.clone();
                    tokio::spawn(async move { resolver.addresses("hangs", Duration::from_millis(300)).await })
                })
                .collect();
            assert_eq!(resolver.addresses("answers", PATIENCE).await.unwrap().len(), 1);
            for one in waiting {
                assert_eq!(one.await.unwrap(), Err(Failure::NameTimeout));
            }
            assert!(begin.elapsed() < PATIENCE);
            assert_eq!(ASKED.load(Ordering::Relaxed), 1, "one lookup for all of them");
        });
    }

    /// One thread, and a name on it that hangs: as many wait as may, further ones are refused, and those that gave up are not looked up.
    #[test]
    fn names_that_wait_are_bounded_and_those_given_up_are_not_looked_up() {
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        static HANGS: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(true);
        let lookup: Lookup = |_| {
            ASKED.fetch_add(1, Ordering::Relaxed);
            while HANGS.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(vec!["10.0.0.1".parse().unwrap()])
        };
        on_one_thread(async {
            let resolver = Resolver::with(1, lookup);
            let first = resolver.ask("first").unwrap();
            while ASKED.load(Ordering::Relaxed) == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let given_up: Vec<_> =
                (1..WAITING_PER_LOOKUP).map(|n| resolver.ask(&n.to_string()).unwrap()).collect();
            assert_eq!(resolver.addresses("one more", PATIENCE).await, Err(Failure::NamesTooMany));
            assert!(resolver.ask("first").is_some(), "who shares an answer costs nothing");
            drop(given_up);
            HANGS.store(false, Ordering::Relaxed);
            while !resolver.in_flight().is_empty() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            assert!(first.borrow().is_some());
            assert_eq!(ASKED.load(Ordering::Relaxed), 1, "nobody waited for the others");
            assert_eq!(resolver.addresses("one more", PATIENCE).await.unwrap().len(), 1);
        });
    }
}
