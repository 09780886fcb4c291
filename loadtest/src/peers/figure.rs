//! What is read from a trial: a figure's name, its unit, and how it is taken from a run.

use super::trial::Measured;

/// What is read from a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Figure {
    CpuPerGbIn,
    CpuPerGbOut,
    E2eP99,
    /// From the publisher through the server to the far end of its forward.
    ForwardedP99,
    /// PSS above what the idle server holds, for each publisher.
    PublisherMemory,
    /// The same, less 1.1 times what the GOP caches held at the same moment.
    PublisherMemoryBeyondGop,
    /// PSS above what the idle server holds, for each player.
    SessionMemory,
    CpuPerSession,
    SessionsPerSecond,
    Rtt,
    WakeUps,
}

impl Figure {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::CpuPerGbIn => "CPU for each GB in",
            Self::CpuPerGbOut => "CPU for each GB out",
            Self::E2eP99 => "end to end, p99",
            Self::ForwardedP99 => "publisher to the far end, p99",
            Self::PublisherMemory => "PSS a publisher",
            Self::PublisherMemoryBeyondGop => "PSS a publisher beyond 1.1 × its GOP",
            Self::SessionMemory => "PSS a session",
            Self::CpuPerSession => "CPU a session",
            Self::SessionsPerSecond => "sessions a second",
            Self::Rtt => "RTT that the senders see, median",
            Self::WakeUps => "wake-ups between cores a second",
        }
    }

    /// 1 kB is 1,000 bytes, 1 GB 10⁹.
    pub(super) fn unit(self) -> &'static str {
        match self {
            Self::CpuPerGbIn | Self::CpuPerGbOut => "s/GB",
            Self::E2eP99 | Self::ForwardedP99 | Self::Rtt => "ms",
            Self::PublisherMemory | Self::PublisherMemoryBeyondGop | Self::SessionMemory => "kB",
            Self::CpuPerSession => "µs",
            Self::SessionsPerSecond | Self::WakeUps => "/s",
        }
    }

    /// Its value, in its unit; `None` when the trial did not measure it.
    pub(super) fn of(self, measured: &Measured) -> Option<f64> {
        let run = &measured.run;
        let server = run.server.as_ref();
        let memory = measured.memory.as_ref();
        match self {
            Self::CpuPerGbIn => server?.cpu_s_per_gb_in,
            Self::CpuPerGbOut => server?.cpu_s_per_gb_out,
            Self::E2eP99 => (run.latencies.e2e.count > 0).then(|| run.latencies.e2e.p99 as f64 / 1e3),
            Self::ForwardedP99 => {
                let e2e = &run.forwards.as_ref()?.e2e;
                (e2e.count > 0).then(|| e2e.p99 as f64 / 1e3)
            }
            Self::PublisherMemory => Some(memory?.above_idle_bytes / f64::from(run.setting.publishers) / 1e3),
            Self::PublisherMemoryBeyondGop => {
                let beyond = memory?.above_idle_bytes - 1.1 * memory?.gop_bytes?;
                Some(beyond / f64::from(run.setting.publishers) / 1e3)
            }
            Self::SessionMemory => Some(memory?.above_idle_bytes / f64::from(run.setting.players) / 1e3),
            Self::CpuPerSession => server?.cpu_us_per_session,
            Self::SessionsPerSecond => Some(run.throughput.sessions_per_second).filter(|rate| *rate > 0.0),
            Self::Rtt => (run.latencies.rtt.count > 0).then(|| run.latencies.rtt.p50 as f64 / 1e3),
            Self::WakeUps => measured.wakeups_per_second,
        }
    }
}
