//! The load harness: drives any RTMP server with publishers and players and tells what they saw.
//!
//! | module | what it is |
//! |---|---|
//! | [`cli`], [`run`] | the command line, and one run of it |
//! | [`input`] | what can be known before any load starts |
//! | [`gather`] | the run's own thread |
//! | [`plan`], [`worker`] | what is to happen, and a thread that does it |
//! | [`peer`], [`publisher`], [`player`] | the peers, over the engine's own client session |
//! | [`connection`], [`socket`], [`link`] | their connections, the kernel's part of these, and what a narrow link lets through |
//! | [`tls`] | RTMPS |
//! | [`persona`], [`hostile`] | how peers behave, and those that mean no good |
//! | [`forwards`] | the far end of what a server forwards |
//! | [`schedule`], [`pace`] | when each message is due |
//! | [`media`], [`enhanced`] | what is sent: synthetic or a file, and the stamp in each message; what is said of it beforehand |
//! | [`sequence`] | loss, duplication and order |
//! | [`clock`], [`process`] | time, and what the server's process uses |
//! | [`live`] | the line that says how it goes |
//! | [`report`] | what came of it |
//! | [`peers`] | the table of figures, against other servers |

pub mod cli;
pub mod clock;
pub mod connection;
pub mod enhanced;
pub mod forwards;
pub mod gather;
pub mod hostile;
pub mod input;
pub mod link;
pub mod live;
pub mod media;
pub mod pace;
pub mod peer;
pub mod peers;
pub mod persona;
pub mod plan;
pub mod player;
pub mod process;
pub mod publisher;
pub mod report;
pub mod run;
pub mod schedule;
pub mod sequence;
pub mod socket;
pub mod tls;
pub mod worker;
