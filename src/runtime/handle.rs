//! The engine as other threads see it: questions to cores, counters, drain and stop.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::histogram::Histograms;
use super::inbox::{Ask, ToCore};
use super::observe::{
    ConnectionId, ConnectionInfo, DrainFigures, DrainState, PublishedCounts, Selection, StreamInfo,
};
use super::outgoing::{Dialed, OutgoingId, OutgoingInfo};
use super::outside::{Ticket, Verdict};
use super::shared::Shared;
use super::tls::certificates::{CertificateEnd, Certificates};
use crate::hub::{CoreId, HealthCounts};

/// A running engine, for whoever watches or ends it. Cloning shares it.
///
/// It never touches a core's state: a question goes to the core's inbox, and a core that does not answer in time is reported, not waited
/// for.
#[derive(Clone)]
pub struct Handle {
    pub(crate) shared: Arc<Shared>,
}

/// One core's part of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CoreAnswer<T> {
    /// What the core said.
    Answer(T),
    /// The core did not answer in time.
    Stalled {
        /// Which one.
        core: u16,
    },
}

impl Handle {
    /// Cores that run.
    pub fn cores(&self) -> usize {
        self.shared.cores()
    }

    /// The streams whose home each core is; one entry a core.
    pub async fn streams(&self, timeout: Duration) -> Vec<CoreAnswer<Vec<StreamInfo>>> {
        self.ask(timeout, Ask::Streams).await
    }

    /// The streams of a selection whose home each core is; one entry a core.
    pub async fn selected_streams(
        &self,
        of: &Selection,
        timeout: Duration,
    ) -> Vec<CoreAnswer<Vec<StreamInfo>>> {
        self.ask(timeout, |answer| Ask::Selected(of.clone(), answer)).await
    }

    /// The connections of each core; one entry a core.
    pub async fn connections(&self, timeout: Duration) -> Vec<CoreAnswer<Vec<ConnectionInfo>>> {
        self.ask(timeout, Ask::Connections).await
    }

    /// Closes a connection; one entry a core, true where it was found.
    pub async fn kick(&self, id: ConnectionId, timeout: Duration) -> Vec<CoreAnswer<bool>> {
        self.ask(timeout, |answer| Ask::Kick(id, answer)).await
    }

    /// Answers a question that [`Admission::ask`](super::outside::Admission::ask) has left open.
    pub fn answer(&self, ticket: Ticket, verdict: Verdict) {
        self.shared.inboxes.push(ticket.core, ToCore::Verdict(ticket, verdict));
    }

    /// Ends what connections were allowed: closes them, and tells their peers so. One that has gone is nobody's. Each core looks through its
    /// connections once for all of them: whoever ends many, ends them together.
    pub fn revoke(&self, mut ids: Vec<ConnectionId>) {
        ids.sort_unstable();
        let ids: Arc<[ConnectionId]> = ids.into();
        tell_all(&self.shared, || ToCore::Revoke(Arc::clone(&ids)));
    }

    /// Gives a connection that was made to the core that its stream lives on. Whatever becomes of it comes as
    /// [`News::Outgoing`](super::outside::News::Outgoing), its end included; from an engine that has ended nothing comes any more.
    pub fn take_over(&self, dialed: Dialed) {
        // Not more than there are: a stream's home is one of them.
        let home = CoreId(dialed.home.0.min(core_id(self.cores().saturating_sub(1)).0));
        self.shared.inboxes.push(home, ToCore::TakeOver(Box::new(dialed)));
    }

    /// Ends a connection that `core` was given, in good order: what is queued for a target still goes out.
    pub fn hang_up(&self, core: CoreId, id: OutgoingId) {
        if usize::from(core.0) < self.cores() {
            self.shared.inboxes.push(core, ToCore::HangUp(id));
        }
    }

    /// The connections that we made, of each core; one entry a core.
    pub async fn outgoing(&self, timeout: Duration) -> Vec<CoreAnswer<Vec<OutgoingInfo>>> {
        self.ask(timeout, Ask::Outgoing).await
    }

    /// A core's counters, as its last sweep published them.
    ///
    /// # Panics
    /// When there is no such core.
    pub fn counts(&self, core: usize) -> &PublishedCounts {
        &self.shared.published[core].counts
    }

    /// A core's histograms, as its last sweep published them.
    ///
    /// # Panics
    /// When there is no such core.
    pub fn histograms(&self, core: usize) -> Histograms {
        *self.shared.published[core].histograms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Health of a core's publishers, as its last sweep published it.
    ///
    /// # Panics
    /// When there is no such core.
    pub fn health(&self, core: usize) -> HealthCounts {
        self.shared.published[core].health.counts()
    }

    /// A core's labelled counters: (family, label, count).
    ///
    /// # Panics
    /// When there is no such core.
    pub fn labelled(&self, core: usize) -> Vec<(&'static str, &'static str, u64)> {
        self.shared
            .labelled(core)
            .into_iter()
            .map(|((family, label), count)| (family, label, count))
            .collect()
    }

    /// How long ago a core swept: one that stalls does not.
    ///
    /// # Panics
    /// When there is no such core.
    pub fn sweep_age(&self, core: usize) -> Duration {
        let swept_at = self.shared.published[core].swept_at.load(Ordering::Relaxed);
        Duration::from_micros(self.shared.clock.now().as_micros().saturating_sub(swept_at))
    }

    /// Takes no new connections, asks those that understand to connect again, waits for publishers to leave until the drain's deadline,
    /// and stops. Without publishers it stops at once: players alone never hold it. `draining.rs` has the steps. False when a drain or stop
    /// had begun before, which goes on as it was.
    pub fn drain(&self) -> bool {
        self.drain_within(self.shared.in_force().settings.drain_deadline)
    }

    /// The same with another deadline than that of the settings.
    pub fn drain_within(&self, deadline: Duration) -> bool {
        let has_begun = self.shared.begin_drain(deadline);
        if has_begun {
            tell_all(&self.shared, || ToCore::Drain);
        }
        has_begun
    }

    /// Waits until a drain begins, whoever asks for it. One waits at a time.
    pub async fn drain_began(&self) {
        self.shared.drain_began.notified().await;
    }

    /// How far the end of the engine is.
    pub fn drain_state(&self) -> DrainState {
        self.shared.drain_state()
    }

    /// What a drain has come to; one entry a core.
    pub async fn drain_figures(&self, timeout: Duration) -> Vec<CoreAnswer<DrainFigures>> {
        self.ask(timeout, Ask::Drain).await
    }

    /// Stops at once: closes what is there and ends.
    pub fn stop_now(&self) {
        if self.shared.begin_stop() {
            tell_all(&self.shared, || ToCore::Stop { at_once: true });
        }
    }

    /// Whether a drain or stop has begun.
    pub fn is_draining(&self) -> bool {
        self.shared.is_draining()
    }

    /// Whether new connections are taken.
    pub fn is_ready(&self) -> bool {
        !self.shared.is_draining()
    }

    /// Certificates for connections to come, where RTMPS is served; those that are there go on.
    pub fn replace_certificates(&self, certificates: Certificates) {
        if let Some(tls) = self.shared.tls.get() {
            tls.replace(certificates);
        }
    }

    /// When the certificates that are in force end; none where RTMPS is not served.
    pub fn certificate_ends(&self) -> Vec<CertificateEnd> {
        self.shared.tls.get().map(|tls| tls.ends()).unwrap_or_default()
    }

    async fn ask<T>(
        &self,
        timeout: Duration,
        question: impl Fn(oneshot::Sender<T>) -> Ask,
    ) -> Vec<CoreAnswer<T>> {
        let mut waiting = Vec::new();
        for core in 0..self.cores() {
            let (sender, receiver) = oneshot::channel();
            self.shared.inboxes.push(core_id(core), ToCore::Ask(question(sender)));
            waiting.push(receiver);
        }
        let deadline = tokio::time::Instant::now() + timeout;
        let mut answers = Vec::new();
        for (core, receiver) in waiting.into_iter().enumerate() {
            answers.push(match tokio::time::timeout_at(deadline, receiver).await {
                Ok(Ok(answer)) => CoreAnswer::Answer(answer),
                Ok(Err(_)) | Err(_) => CoreAnswer::Stalled { core: core_id(core).0 },
            });
        }
        answers
    }
}

/// Tells every core.
pub(crate) fn tell_all(shared: &Shared, message: impl Fn() -> ToCore) {
    for core in 0..shared.cores() {
        shared.inboxes.push(core_id(core), message());
    }
}

pub(super) fn core_id(core: usize) -> CoreId {
    CoreId(u16::try_from(core).unwrap_or(u16::MAX))
}
