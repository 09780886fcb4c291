//! The engine but for its sockets, driven at random in virtual time: encoders and players, each a client session over a virtual link; server
//! sessions on virtual cores; hubs, the mesh between them, writers. A seed says everything.
//!
//! ```text
//! ClientSession ─ Chunker ─> Pipe ─> ServerSession ─> Ingest, Hub ─> mesh ─> Hub ─> queue ─> writer ─> Pipe ─> ClientSession
//!    (encoder)                          (a core)                (another core)      (bounded socket)            (player)
//! ```
//! # What is real, and what is a model
//! Real: both sessions with all of the protocol below them, ingest, hubs, mesh messages, queues, and the wire form of frames. A model, in
//! `tests/engine/`: the links; the inboxes between cores and the directory; and what `runtime/` does with sessions and hubs, as far as it is
//! not I/O: its requests and answers (`requests.rs`, `succession.rs`), reader and moves between cores (`reading.rs`), writer (`writing.rs`), turn and sweep
//! (`core.rs`), drain (`draining.rs`). A change there is to be made here as well. Not modelled: polled
//! publishers, TLS and PROXY headers, the deadline of a write, the control HTTP but for its kick, and of a drain the requests to connect
//! again and the wait for key frames. In some runs publishers follow one another: their connections are lost and waited for, ghosts yield, others
//! take over; standbys, and media that has to match, are in `hub_simulation.rs`. In the other runs all are strangers, and all ends are said.
//!
//! # What happens
//! Links cut what is sent at any byte and delay it; they are cut, fall silent or freeze, so that an encoder connects again beside its own
//! ghost. Others try to take a name over, publish a second name, unpublish and begin anew, do not wait for answers, play before anybody
//! publishes, play twice, pause, seek, switch sound and pictures off, stop reading. Cores stall, inboxes are slow and run over, operators
//! kick and drain, deadlines pass.
//!
//! # What is held
//! - Everything that a player gets is, byte for byte, what a publisher of that name has sent, with its time, and is what the server has
//!   written for it, in that order: nothing twice, torn, or of a publisher that was refused (`ledger.rs`, `receiving.rs`).
//! - Between two gaps that are accounted for, a player gets a gapless run; pictures start at a key frame; each frame follows the headers
//!   it needs; nothing follows its publisher's end (`simulation/witness.rs`).
//! - Among strangers a publish is refused exactly when somebody holds the name, and the holder does not notice.
//! - A stream begins only when its last end has been told; and where publishers follow one another, time goes on within a broadcast.
//! - After every step all bounds hold, and no writer sleeps while something is queued (`bounds.rs`).
//! - When all is calm, everybody is served again; when all have left, every slab is empty.
//!
//! `INRUSH_SEEDS` says how many seeds to run (10,000 by default), `INRUSH_SEED` runs a single one again.
#![cfg(feature = "engine")]

mod engine;
mod simulation;

use engine::world;

const SEEDS: u64 = 10_000;

/// Below this many seeds a kind of event may fail to occur by chance.
const SEEDS_THAT_SHOW_ALL: u64 = 5_000;

#[test]
fn players_get_what_publishers_send_whatever_happens() {
    let (seeds, tally) = simulation::seeds::run("engine_simulation", SEEDS, world::run);
    println!("{tally}");
    if seeds >= SEEDS_THAT_SHOW_ALL {
        tally.assert_all_occurred();
    }
}

#[test]
fn a_seed_is_one_run() {
    for seed in 0..20 {
        assert_eq!(world::run(seed), world::run(seed), "seed {seed}");
    }
}
