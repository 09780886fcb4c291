//! What the control HTTP asks of the cores: the seam between it and the runtime.

use std::future::Future;
use std::time::Duration;

use crate::hub::HealthCounts;
use crate::runtime::histogram::Histograms;
use crate::runtime::observe::{
    ConnectionId, ConnectionInfo, DrainFigures, DrainState, PublishedCounts, Selection, StreamInfo,
};
use crate::runtime::tls::certificates::CertificateEnd;
use crate::runtime::{Handle, OutgoingInfo};

pub use crate::runtime::CoreAnswer;

/// A running engine, as control sees it. Questions come back after `timeout` at the latest, with one entry a core.
pub trait Cores: Send + Sync + 'static {
    /// How many cores there are; they are numbered from 0.
    fn cores(&self) -> usize;
    /// Streams, by home core.
    fn streams(&self, timeout: Duration) -> impl Future<Output = Vec<CoreAnswer<Vec<StreamInfo>>>> + Send;
    /// Streams of a selection, by home core.
    fn selected_streams(
        &self,
        of: &Selection,
        timeout: Duration,
    ) -> impl Future<Output = Vec<CoreAnswer<Vec<StreamInfo>>>> + Send;
    /// Connections, by the core that serves them now.
    fn connections(
        &self,
        timeout: Duration,
    ) -> impl Future<Output = Vec<CoreAnswer<Vec<ConnectionInfo>>>> + Send;
    /// Begins the drain after which the process ends; without a deadline it is the configuration's. False when one is on.
    fn drain(&self, deadline: Option<Duration>) -> bool;
    /// How far the end is.
    fn drain_state(&self) -> DrainState;
    /// What the drain has come to, and who is left.
    fn drain_figures(&self, timeout: Duration) -> impl Future<Output = Vec<CoreAnswer<DrainFigures>>> + Send;
    /// Connections that we made, by the core that serves them.
    fn outgoing(&self, timeout: Duration) -> impl Future<Output = Vec<CoreAnswer<Vec<OutgoingInfo>>>> + Send;
    /// Closes a connection, wherever it is; a core that has it answers `true`.
    fn kick(&self, id: ConnectionId, timeout: Duration)
    -> impl Future<Output = Vec<CoreAnswer<bool>>> + Send;
    /// Counters of a core, as its last sweep published them.
    fn counts(&self, core: usize) -> &PublishedCounts;
    /// Histograms of a core, as its last sweep published them.
    fn histograms(&self, core: usize) -> Histograms;
    /// Health of a core's publishers, as its last sweep published it.
    fn health(&self, core: usize) -> HealthCounts;
    /// Counters of a core that have a kind: family, kind, value.
    fn labelled(&self, core: usize) -> Vec<(&'static str, &'static str, u64)>;
    /// When the certificates of RTMPS end.
    fn certificate_ends(&self) -> Vec<CertificateEnd>;
    /// Time since a core's last sweep.
    fn sweep_age(&self, core: usize) -> Duration;
    /// Listeners are bound and every core runs.
    fn is_ready(&self) -> bool;
    /// No new publishers are taken in, and the process will end.
    fn is_draining(&self) -> bool;
}

impl Cores for Handle {
    fn cores(&self) -> usize {
        Self::cores(self)
    }

    async fn streams(&self, timeout: Duration) -> Vec<CoreAnswer<Vec<StreamInfo>>> {
        Self::streams(self, timeout).await
    }

    async fn selected_streams(&self, of: &Selection, timeout: Duration) -> Vec<CoreAnswer<Vec<StreamInfo>>> {
        Self::selected_streams(self, of, timeout).await
    }

    async fn connections(&self, timeout: Duration) -> Vec<CoreAnswer<Vec<ConnectionInfo>>> {
        Self::connections(self, timeout).await
    }

    fn drain(&self, deadline: Option<Duration>) -> bool {
        match deadline {
            Some(deadline) => self.drain_within(deadline),
            None => Self::drain(self),
        }
    }

    fn drain_state(&self) -> DrainState {
        Self::drain_state(self)
    }

    async fn drain_figures(&self, timeout: Duration) -> Vec<CoreAnswer<DrainFigures>> {
        Self::drain_figures(self, timeout).await
    }

    async fn outgoing(&self, timeout: Duration) -> Vec<CoreAnswer<Vec<OutgoingInfo>>> {
        Self::outgoing(self, timeout).await
    }

    async fn kick(&self, id: ConnectionId, timeout: Duration) -> Vec<CoreAnswer<bool>> {
        Self::kick(self, id, timeout).await
    }

    fn histograms(&self, core: usize) -> Histograms {
        Self::histograms(self, core)
    }

    fn counts(&self, core: usize) -> &PublishedCounts {
        Self::counts(self, core)
    }

    fn health(&self, core: usize) -> HealthCounts {
        Self::health(self, core)
    }

    fn labelled(&self, core: usize) -> Vec<(&'static str, &'static str, u64)> {
        Self::labelled(self, core)
    }

    fn certificate_ends(&self) -> Vec<CertificateEnd> {
        Self::certificate_ends(self)
    }

    fn sweep_age(&self, core: usize) -> Duration {
        Self::sweep_age(self, core)
    }

    fn is_ready(&self) -> bool {
        Self::is_ready(self)
    }

    fn is_draining(&self) -> bool {
        Self::is_draining(self)
    }
}
