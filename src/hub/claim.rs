//! Who may publish a key that somebody publishes already: what a newcomer shows, and what is ruled.
//!
//! # The ruling
//! In this order, of a newcomer that meets a *holder*, which is who publishes the key or is about to:
//! 1. A holder of the same credentials from which nothing has come for `yield_silent_ms` is a ghost: the newcomer takes over.
//! 2. The policy. `reject`: no. `newest`: yes. `priority`: yes to a higher one; an equal one is refused, as a lower is. A yes is a no
//!    while the holder has had the stream for less than `tenure_ms` after a takeover of its own, and when the stream has changed hands
//!    `flaps_max` times in its minute ([`Flaps`]): so two encoders that both come back cannot take it from each other for ever.
//! 3. Where there is a place for a standby, or a ghost of the newcomer's has it, the newcomer gets it.
//! 4. The holder, or whoever has the standby's place, may be the newcomer's own ghost, from a network that was cut a moment ago. So a
//!    newcomer of the same credentials waits, until they are heard of or rule 1 or 3 holds (of one whose peer has closed nothing is heard any more, whatever is read of it): `yield_silent_ms` and [`LATE_ARRIVAL`] at most.
//!    One waits a stream; the newest of them.
//! 5. It is refused.
//!
//! While nobody holds the stream anybody may go on with it who was let in by the outside.

use std::time::Duration;

use thiserror::Error;

use super::{ConnectionRef, ContinuitySettings, Identity, PublisherKey, TakeoverPolicy};
use crate::media::Limits;
use crate::session::Instant;

/// What arrives within so much of a newcomer's claim may have been sent before the network was cut, and says nothing of the holder now:
/// it lay in a socket until the core's next visit, or in the network.
const LATE_ARRIVAL: Duration = Duration::from_millis(100);

/// A stream's takeovers are counted by the minute.
const FLAPS_PER: Duration = Duration::from_secs(60);

/// What a publisher shows as it comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Whose it is.
    pub connection: ConnectionRef,
    /// Its credentials. `None` of both of two publishers counts as the same.
    pub identity: Option<Identity>,
    /// Its rank among publishers of the key; the higher one wins.
    pub priority: u32,
    /// What it is held to.
    pub limits: Limits,
}

impl From<ConnectionRef> for Claim {
    /// Of somebody who was asked for nothing.
    fn from(connection: ConnectionRef) -> Self {
        Self { connection, identity: None, priority: 0, limits: Limits::default() }
    }
}

/// How a publish has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// It is the first publisher of a stream.
    Begins(PublisherKey),
    /// It goes on with a stream, from its first key frame on: it was waited for, or takes over.
    Follows(PublisherKey),
    /// It is taken in and not handed on, until the stream needs it.
    StandsBy(PublisherKey),
    /// It is not decided yet: publish again with the same claim when [`AskAgain`](super::HubEvent::AskAgain) comes.
    Waits,
}

impl Entry {
    /// The publisher, unless it is not one yet.
    pub fn publisher(self) -> Option<PublisherKey> {
        match self {
            Self::Begins(key) | Self::Follows(key) | Self::StandsBy(key) => Some(key),
            Self::Waits => None,
        }
    }
}

/// Why a publish is not possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PublishRefused {
    /// The stream has a publisher.
    #[error("this stream is being published by another encoder: stop that one or use another name")]
    AlreadyPublishing,
    /// Its publisher has a higher priority, or the same.
    #[error(
        "this stream is being published with the same priority or a higher one: stop that encoder or use another name"
    )]
    Priority,
    /// Its publisher has taken it over just now.
    #[error("this stream was taken over a moment ago: try again in a few seconds")]
    Tenure,
    /// It has changed hands too often.
    #[error("encoders have taken this stream from each other too often: stop all of them but one")]
    Flapping,
}

impl PublishRefused {
    /// Metric label: stable, snake case.
    pub fn label(self) -> &'static str {
        match self {
            Self::AlreadyPublishing => "already_publishing",
            Self::Priority => "priority",
            Self::Tenure => "tenure",
            Self::Flapping => "flapping",
        }
    }
}

/// Why a publisher takes over from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takeover {
    /// It is the newest.
    Newest,
    /// It has the higher priority.
    Priority,
    /// The other one is a ghost.
    Silent,
}

/// Whom a newcomer meets: who holds the stream, or has the standby's place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Holder<'a> {
    pub(super) identity: Option<&'a Identity>,
    pub(super) priority: u32,
    /// When something of it came last.
    pub(super) heard_at: Instant,
    /// Whether its peer has closed.
    pub(super) is_leaving: bool,
    /// Since when it has the stream, if it has taken it over.
    pub(super) took_over_at: Option<Instant>,
}

impl Holder<'_> {
    /// Whether it may be what is left of an earlier connection of the newcomer's.
    pub(super) fn is_ghost(&self, now: Instant, claim: &Claim, yield_silent_ms: u32) -> bool {
        self.is_akin(claim) && now - self.heard_at >= Duration::from_millis(yield_silent_ms.into())
    }

    fn is_akin(&self, claim: &Claim) -> bool {
        self.identity == claim.identity.as_ref()
    }

    /// Whether it may turn out to be a ghost of the newcomer's, who waits since then.
    fn is_in_doubt(&self, claim: &Claim, waits_since: Instant) -> bool {
        self.is_akin(claim) && !self.has_shown_life(waits_since)
    }

    /// Whether it is alive, for a newcomer that waits since. Whose peer has closed may have sent a lot before, which is read after: that
    /// is no life.
    pub(super) fn has_shown_life(&self, waits_since: Instant) -> bool {
        !self.is_leaving && self.heard_at > waits_since + LATE_ARRIVAL
    }
}

/// What a newcomer meets beside the holder.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scene<'a> {
    pub(super) holder: Holder<'a>,
    /// Who stands by, or will when the one that was called is on the air.
    pub(super) standby: Option<Holder<'a>>,
    pub(super) flaps: &'a Flaps,
    /// Since when this newcomer waits, if it does.
    pub(super) waits_since: Option<Instant>,
}

/// What becomes of a newcomer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ruling {
    TakesOver(Takeover),
    StandsBy,
    Waits,
    Refused(PublishRefused),
}

/// The ruling of the module's page.
pub(super) fn rule(now: Instant, claim: &Claim, scene: &Scene<'_>, settings: &ContinuitySettings) -> Ruling {
    let holder = &scene.holder;
    if holder.is_ghost(now, claim, settings.yield_silent_ms) {
        return Ruling::TakesOver(Takeover::Silent);
    }
    let refused = match by_policy(now, claim, scene, settings) {
        Ok(takeover) => return Ruling::TakesOver(takeover),
        Err(refused) => refused,
    };
    let is_free = scene.standby.is_none_or(|standby| standby.is_ghost(now, claim, settings.yield_silent_ms));
    if settings.standby && is_free {
        return Ruling::StandsBy;
    }
    let waits_since = scene.waits_since.unwrap_or(now);
    let mut whom = std::iter::once(holder).chain(&scene.standby);
    if whom.any(|one| one.is_in_doubt(claim, waits_since)) {
        return Ruling::Waits;
    }
    Ruling::Refused(refused)
}

fn by_policy(
    now: Instant,
    claim: &Claim,
    scene: &Scene<'_>,
    settings: &ContinuitySettings,
) -> Result<Takeover, PublishRefused> {
    let takeover = match settings.takeover {
        TakeoverPolicy::Reject => return Err(PublishRefused::AlreadyPublishing),
        TakeoverPolicy::Newest => Takeover::Newest,
        TakeoverPolicy::Priority if claim.priority > scene.holder.priority => Takeover::Priority,
        TakeoverPolicy::Priority => return Err(PublishRefused::Priority),
    };
    let tenure = Duration::from_millis(settings.tenure_ms.into());
    if scene.holder.took_over_at.is_some_and(|since| now - since < tenure) {
        Err(PublishRefused::Tenure)
    } else if scene.flaps.count(now) >= settings.flaps_max {
        Err(PublishRefused::Flapping)
    } else {
        Ok(takeover)
    }
}

/// How often a stream has changed hands by policy: within a minute that begins with the first takeover after the last such minute.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flaps {
    count: u32,
    since: Instant,
}

impl Flaps {
    pub(super) fn count(&self, now: Instant) -> u32 {
        if now - self.since < FLAPS_PER { self.count } else { 0 }
    }

    pub(super) fn on_takeover(&mut self, now: Instant) {
        let count = self.count(now);
        if count == 0 {
            self.since = now;
        }
        self.count = count.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn ms(ms: u64) -> Instant {
        Instant::from_micros(ms * 1000)
    }

    fn identity(name: &str) -> Option<Identity> {
        Some(Identity(Arc::from(name)))
    }

    fn claim(name: &str, priority: u32) -> Claim {
        Claim { identity: identity(name), priority, ..ConnectionRef(1).into() }
    }

    const QUIET: Flaps = Flaps { count: 0, since: Instant::from_micros(0) };

    /// A holder of priority 5 and no tenure, heard of at 10,000 ms.
    fn scene<'a>(identity: &'a Option<Identity>, flaps: &'a Flaps) -> Scene<'a> {
        let identity = identity.as_ref();
        let holder =
            Holder { identity, priority: 5, heard_at: ms(10_000), is_leaving: false, took_over_at: None };
        Scene { holder, standby: None, flaps, waits_since: None }
    }

    const SETTINGS: ContinuitySettings = ContinuitySettings::DEFAULT;

    fn with(takeover: TakeoverPolicy) -> ContinuitySettings {
        ContinuitySettings { takeover, ..SETTINGS }
    }

    use PublishRefused::*;
    use Ruling::*;

    /// Each policy, of somebody else's holder that is alive.
    #[test]
    fn the_policy_rules_between_strangers() {
        let holder = identity("holder");
        let scene = scene(&holder, &QUIET);
        let rule = |policy, priority| rule(ms(10_100), &claim("other", priority), &scene, &with(policy));
        assert_eq!(rule(TakeoverPolicy::Reject, 9), Refused(AlreadyPublishing));
        assert_eq!(rule(TakeoverPolicy::Newest, 0), TakesOver(Takeover::Newest));
        assert_eq!(rule(TakeoverPolicy::Priority, 6), TakesOver(Takeover::Priority));
        assert_eq!(rule(TakeoverPolicy::Priority, 5), Refused(Priority), "an equal one is refused");
        assert_eq!(rule(TakeoverPolicy::Priority, 4), Refused(Priority));
    }

    /// Somebody else's silence is nobody's business; one's own ghost yields under every policy.
    #[test]
    fn a_silent_holder_yields_to_its_own() {
        let holder = identity("holder");
        let scene = scene(&holder, &QUIET);
        for policy in [TakeoverPolicy::Reject, TakeoverPolicy::Newest, TakeoverPolicy::Priority] {
            let own = |at| rule(ms(at), &claim("holder", 0), &scene, &with(policy));
            assert_eq!(own(12_000), TakesOver(Takeover::Silent), "{policy:?}");
        }
        let other = rule(ms(60_000), &claim("other", 0), &scene, &SETTINGS);
        assert_eq!(other, Refused(AlreadyPublishing));
        let open = super::tests::scene(&None, &QUIET);
        assert_eq!(
            rule(ms(12_000), &ConnectionRef(1).into(), &open, &SETTINGS),
            TakesOver(Takeover::Silent),
            "nobody's credentials are everybody's"
        );
        let mine = rule(ms(12_000), &claim("holder", 0), &open, &SETTINGS);
        assert_eq!(mine, Refused(AlreadyPublishing), "but not those that somebody has");
    }

    /// The newcomer waits while its holder is silent; what comes at once after the claim may be old, what comes later is not.
    #[test]
    fn a_newcomer_waits_until_its_holder_is_heard_of() {
        let holder = identity("holder");
        let mut scene = scene(&holder, &QUIET);
        let rule = |at, scene: &Scene<'_>| rule(ms(at), &claim("holder", 0), scene, &SETTINGS);
        assert_eq!(rule(10_500, &scene), Waits);
        scene.waits_since = Some(ms(10_500));
        assert_eq!(rule(11_999, &scene), Waits);
        assert_eq!(rule(12_000, &scene), TakesOver(Takeover::Silent));
        scene.holder.heard_at = ms(10_600);
        assert_eq!(rule(10_700, &scene), Waits);
        scene.holder.heard_at = ms(10_601);
        assert_eq!(rule(10_700, &scene), Refused(AlreadyPublishing));
        scene.holder.is_leaving = true;
        assert_eq!(rule(10_700, &scene), Waits, "what is read of a peer that has closed is old");
    }

    /// A standby's place is for whomever the policy refuses; where it is taken it is as without one.
    #[test]
    fn a_standby_is_whom_the_policy_refuses() {
        let holder = identity("holder");
        let mut scene = scene(&holder, &QUIET);
        let settings = ContinuitySettings { standby: true, ..with(TakeoverPolicy::Priority) };
        let rule =
            |priority, scene: &Scene<'_>| rule(ms(10_100), &claim("other", priority), scene, &settings);
        assert_eq!(rule(9, &scene), TakesOver(Takeover::Priority));
        assert_eq!(rule(5, &scene), StandsBy);
        scene.standby = Some(scene.holder);
        assert_eq!(rule(5, &scene), Refused(Priority));
    }

    /// A standby's own return waits like a holder's, and has the place of its ghost: nobody lives who would be refused for.
    #[test]
    fn a_standby_yields_to_its_own() {
        let (holder, standby) = (identity("holder"), identity("standby"));
        let mut scene = scene(&holder, &QUIET);
        scene.holder.heard_at = ms(30_000);
        let heard_at = ms(10_000);
        scene.standby = Some(Holder { identity: standby.as_ref(), heard_at, ..scene.holder });
        let settings = ContinuitySettings { standby: true, ..SETTINGS };
        let rule = |at, name, scene: &Scene<'_>| rule(ms(at), &claim(name, 0), scene, &settings);
        assert_eq!(rule(11_000, "standby", &scene), Waits);
        assert_eq!(rule(11_000, "other", &scene), Refused(AlreadyPublishing));
        scene.waits_since = Some(ms(11_000));
        assert_eq!(rule(12_000, "standby", &scene), StandsBy);
        assert_eq!(rule(12_000, "other", &scene), Refused(AlreadyPublishing));
        scene.standby = scene.standby.map(|standby| Holder { heard_at: ms(11_101), ..standby });
        assert_eq!(rule(11_200, "standby", &scene), Refused(AlreadyPublishing));
    }

    /// Who has just taken over keeps the stream for its tenure; a stream that has changed hands too often stays with its holder.
    #[test]
    fn a_takeover_is_not_undone_at_once_nor_for_ever() {
        let holder = identity("holder");
        let mut flaps = Flaps::default();
        let settings = ContinuitySettings { flaps_max: 2, ..with(TakeoverPolicy::Newest) };
        let rule = |at, since, flaps: &Flaps| {
            let mut scene = scene(&holder, flaps);
            scene.holder.took_over_at = since;
            rule(ms(at), &claim("other", 0), &scene, &settings)
        };
        assert_eq!(rule(11_999, Some(ms(10_000)), &flaps), Refused(Tenure));
        assert_eq!(rule(12_000, Some(ms(10_000)), &flaps), TakesOver(Takeover::Newest));
        flaps.on_takeover(ms(20_000));
        assert_eq!(rule(30_000, None, &flaps), TakesOver(Takeover::Newest));
        flaps.on_takeover(ms(30_000));
        assert_eq!(rule(79_999, None, &flaps), Refused(Flapping));
        assert_eq!(rule(80_000, None, &flaps), TakesOver(Takeover::Newest), "a minute after the first");
    }
}
