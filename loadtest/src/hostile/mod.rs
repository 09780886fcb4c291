//! Peers that mean no good, beside the load: what a server must bear without its other peers noticing.
//!
//! | module | what it is |
//! |---|---|
//! | [`kind`] | what they do, as `--hostile KIND=COUNT` names it |
//! | [`source`] | the addresses they come from |
//! | [`mod@line`] | their connections, which tell how the server ended them |
//! | [`dialogue`] | how far they behave |
//! | [`attack`], [`flood`] | and what they do then |
//! | [`party`] | all of them, on a thread of their own |
//! | [`tally`] | what came of it |
//!
//! They live on one thread that gives way to the others', so that honest peers are measured as without them, as far as the machine goes.
//! Each opens another connection when the server has ended its last one, after a pause. None of what happens to them is the run's, whose
//! verdict is of honest peers alone: it is in `hostile[]` of the report.
//!
//! # Bounds
//! A connection each; those of the TLS flood at most [`flood::IN_FLIGHT_MAX`]. What they send is made once and shared, so a server that is
//! to hold gigabytes costs the harness none.

pub mod attack;
pub mod dialogue;
pub mod flood;
pub mod kind;
pub mod line;
pub mod party;
pub mod source;
pub mod tally;
