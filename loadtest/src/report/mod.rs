//! What a run tells: its data, and each way to show it.
//!
//! Worker threads fill a [`Recorder`] each; merged, they become one [`Run`], and everything else here reads only that. Nothing
//! in this folder opens a socket, reads a clock or writes a file: each part returns text, and the caller puts it somewhere.

pub mod compare;
#[cfg(test)]
mod fixture;
mod forwards;
pub mod hgrm;
mod histogram;
mod hostile;
pub mod html;
mod metric;
mod model;
mod plot;
mod recorder;
pub mod summary;
mod threshold;

pub use forwards::{ForwardEnd, ForwardedStream, ForwardsResult};
pub(crate) use histogram::empty;
pub use histogram::{Bucket, HIGHEST_US, Histogram};
pub use hostile::{HostileEnd, HostileResult};
pub use metric::{Metric, Unit, UnknownMetric};
pub use model::{
    Counts, Latencies, MediaSetting, PersonaCounts, PersonaResult, PersonaShare, ReadError, Run, Sample,
    ServerCost, Setting, Stage, StageErrors, Throughput, TlsSetting, VERSION, Validity, without_secrets,
};
pub use recorder::{Recorder, RunFacts, ServerUse};
pub use threshold::{BadThreshold, Threshold, Verdict};
