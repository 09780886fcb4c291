//! Names become addresses, by the system's resolver and without anybody waiting for it who did not ask.
//!
//! The system's resolver blocks a thread until it has an answer, or has waited for every name server as often as `resolv.conf` says, and
//! nothing ends it before. So a name is looked up once at a time, whoever asks meanwhile shares the answer, and a name whose server hangs costs
//! one thread.
//! # Bounds
//! [`LOOKUPS_MAX`] names at a time; who asks waits no longer than it wants to, and a lookup that nobody waits for any more goes on.

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

/// Looks names up; cloning shares the lookups in flight.
#[derive(Clone)]
pub struct Resolver {
    in_flight: Arc<Mutex<InFlight>>,
    permits: Arc<Semaphore>,
    lookup: Lookup,
}

type InFlight = HashMap<String, watch::Receiver<Answer>>;

/// What a lookup has come to; `None` until it has.
type Answer = Option<Result<Vec<IpAddr>, ()>>;

/// The system's, or a test's: blocks.
type Lookup = fn(&str) -> io::Result<Vec<IpAddr>>;

impl Default for Resolver {
    fn default() -> Self {
        Self::with(|name| {
            use std::net::ToSocketAddrs as _;
            (name, 0).to_socket_addrs().map(|addresses| addresses.map(|address| address.ip()).collect())
        })
    }
}

impl Resolver {
    fn with(lookup: Lookup) -> Self {
        let permits = Arc::new(Semaphore::new(LOOKUPS_MAX));
        Self { in_flight: Arc::default(), permits, lookup }
    }

    /// The addresses of a name, or the one that it is.
    pub async fn addresses(&self, name: &str, patience: Duration) -> Result<Vec<IpAddr>, Failure> {
        if let Ok(address) = name.parse() {
            return Ok(vec![address]);
        }
        let mut answer = self.ask(name);
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

    /// The lookup of this name that goes on, or a new one.
    fn ask(&self, name: &str) -> watch::Receiver<Answer> {
        let mut in_flight = self.in_flight();
        if let Some(answer) = in_flight.get(name) {
            return answer.clone();
        }
        let (sender, receiver) = watch::channel(None);
        in_flight.insert(name.to_owned(), receiver.clone());
        let (resolver, name) = (self.clone(), name.to_owned());
        tokio::spawn(async move {
            let answer = resolver.look_up(&name).await;
            resolver.in_flight().remove(&name);
            // Nobody may wait for it any more.
            let _ = sender.send(Some(answer));
        });
        receiver
    }

    fn in_flight(&self) -> MutexGuard<'_, InFlight> {
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn look_up(&self, name: &str) -> Result<Vec<IpAddr>, ()> {
        let _permit = self.permits.acquire().await.map_err(drop)?;
        let (lookup, name) = (self.lookup, name.to_owned());
        let answer = tokio::task::spawn_blocking(move || lookup(&name)).await;
        answer.map_err(drop)?.map_err(drop)
    }
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
            let resolver = Resolver::with(lookup);
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
}
