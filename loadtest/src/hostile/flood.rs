//! A flood of full TLS handshakes at a rate: what a server pays for each is dear, and what it costs here is as cheap as it gets.
//!
//! Open loop, as the load is: a handshake that is due is begun, whatever the server makes of the others.
//!
//! # Bounds
//! [`IN_FLIGHT_MAX`] at once. What is due beyond that is counted as skipped, and so is what the thread had no turn for before the end: a run
//! with many of those has not offered its rate.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use super::line::Ended;
use super::party::Guests;
use crate::clock::now_us;
use crate::link::{Link, sleep_until_us};
use crate::tls::Secured;

/// Handshakes under way at once.
pub const IN_FLIGHT_MAX: usize = 4_096;
/// How often it is looked what is due.
const TURN: Duration = Duration::from_millis(1);
/// How long a handshake may take before the peer gives up.
const PATIENCE: Duration = Duration::from_secs(10);

/// Goes on until the run is over.
pub(super) async fn run(guests: Rc<Guests>, at: usize, address: SocketAddr, secured: Secured) {
    sleep_until_us(guests.party.from_us).await;
    let in_flight = Rc::new(Cell::new(0));
    while !guests.plan.is_over() {
        while guests.flood_begun.get() < due(&guests) {
            guests.flood_begun.set(guests.flood_begun.get() + 1);
            if in_flight.get() >= IN_FLIGHT_MAX {
                guests.tallies.borrow_mut()[at].skipped(1);
                continue;
            }
            in_flight.set(in_flight.get() + 1);
            let (guests, in_flight, secured) = (guests.clone(), in_flight.clone(), secured.clone());
            tokio::task::spawn_local(async move {
                handshake(&guests, at, address, secured).await;
                in_flight.set(in_flight.get() - 1);
            });
        }
        tokio::time::sleep(TURN).await;
    }
}

/// How many handshakes are due by now, whether or not the thread had its turn.
pub(super) fn due(guests: &Guests) -> u64 {
    let passed_us = now_us().saturating_sub(guests.party.from_us);
    (passed_us as f64 * guests.party.tls_flood.unwrap_or(0.0) / 1e6) as u64
}

async fn handshake(guests: &Guests, at: usize, address: SocketAddr, secured: Secured) {
    let mut visit = match guests.open(at, address, Link::Free).await {
        Ok(visit) => visit,
        Err(error) => return guests.tallies.borrow_mut()[at].not_opened(&error),
    };
    let ended = match tokio::time::timeout(PATIENCE, visit.line.secure(secured)).await {
        Ok(Ok(())) => {
            guests.tallies.borrow_mut()[at].handshake(visit.lasted_us());
            Ended::Left("handshake done")
        }
        Ok(Err(ended)) => ended,
        Err(_) => Ended::Left("no answer in time"),
    };
    visit.end(&ended);
}
