//! Asking the outside whether a connection may publish or play, and doing what it answers.
//!
//! Until the answer comes the session parses nothing and the reader rests, so that a publisher that has to move home afterwards has
//! nothing in flight. Media of others is not touched by any of it.

use std::sync::Arc;

use tracing::info;

use super::connection::{Connection, ConnectionKey};
use super::core::Core;
use super::outside::{
    ANSWER_TIME_MAX, Action, Denial, Facts, Grant, Manner, News, Question, Ticket, Verdict, Wish,
};
use super::quotas::{Full, QuotaLimits, Seat};
use crate::session::stream_key::host_of;
use crate::session::{Instant, PlayRequest, PublishRequest, Rejection, RequestId, StreamAddress, params};

/// A request that waits for its answer.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) since: Instant,
    pub(crate) facts: Arc<Facts>,
    pub(crate) request: Request,
}

/// What a session has asked for.
#[derive(Debug)]
pub(crate) enum Request {
    Publish(PublishRequest),
    Play(PlayRequest),
    /// A publish that the outside has allowed, and that waits for the stream's holder ([`super::succession`]).
    Claim(Box<Admitted>),
}

/// A publisher that was let in, on its way to its stream's home core.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) request: PublishRequest,
    pub(crate) facts: Arc<Facts>,
    pub(crate) grant: Arc<Grant>,
    pub(crate) seat: Seat,
}

impl Request {
    fn id(&self) -> RequestId {
        match self {
            Self::Publish(request) => request.request,
            Self::Play(request) => request.request,
            Self::Claim(admitted) => admitted.request.request,
        }
    }

    fn address(&self) -> &StreamAddress {
        match self {
            Self::Publish(request) => &request.address,
            Self::Play(request) => &request.address,
            Self::Claim(admitted) => &admitted.request.address,
        }
    }

    fn wish(&self) -> Wish {
        let manner = match self {
            Self::Publish(request) => Manner::Publish(request.kind),
            Self::Claim(admitted) => Manner::Publish(admitted.request.kind),
            Self::Play(request) => Manner::Play(request.terms),
        };
        Wish { stream: self.address().key.clone(), manner }
    }

    fn action(&self) -> Action {
        match self {
            Self::Publish(_) | Self::Claim(_) => Action::Publish,
            Self::Play(_) => Action::Play,
        }
    }
}

impl Core {
    /// Asks, and does at once what is answered at once.
    pub(crate) fn ask(&mut self, key: ConnectionKey, request: Request, now: Instant) {
        let core = self.id;
        let shared = Arc::clone(&self.shared);
        let Some(connection) = self.connection(key) else { return };
        let address = request.address();
        let facts =
            Arc::new(facts(connection, address.host.clone(), address.params.clone(), Some(request.wish())));
        let question = Question {
            ticket: Ticket { core, connection: key, request: request.id() },
            action: request.action(),
            stream: request.address().key.clone(),
            facts: Arc::clone(&facts),
        };
        let asked = Asked { since: now, facts, request };
        match shared.outside.admission.ask(question) {
            Some(verdict) => self.decide(key, asked, verdict, now),
            None => connection.asked = Some(Box::new(asked)),
        }
    }

    /// An answer has come. One for a connection or a request that has gone is dropped.
    pub(crate) fn on_verdict(&mut self, ticket: Ticket, verdict: Verdict) {
        let now = self.now();
        let Some(connection) = self.connection(ticket.connection) else { return };
        // One that was answered before and waits for something else is not answered again.
        let asked = connection.asked.take_if(|asked| {
            asked.request.id() == ticket.request && !matches!(asked.request, Request::Claim(_))
        });
        let Some(asked) = asked.filter(|_| connection.is_open()) else { return };
        self.decide(ticket.connection, *asked, verdict, now);
        if let Some(connection) = self.connection(ticket.connection) {
            // The reader drives the session on, or takes it home.
            connection.resume_reading.raise();
        }
    }

    /// Refuses what has waited too long.
    pub(crate) fn give_up_asking(&mut self, key: ConnectionKey, now: Instant) {
        let Some(connection) = self.connection(key) else { return };
        let is_due = |asked: &mut Box<Asked>| asked.is_overdue(now);
        let Some(asked) = connection.asked.take_if(is_due) else { return };
        if let Request::Claim(admitted) = &asked.request {
            self.hub.withdraw(&admitted.request.address.key, key.into());
        }
        let description = "the server could not find out in time whether this is allowed: try again".into();
        let denial = Denial { label: "no_answer", description };
        self.decide(key, *asked, Verdict::Deny(denial), now);
        if let Some(connection) = self.connection(key) {
            connection.resume_reading.raise();
        }
    }

    fn decide(&mut self, key: ConnectionKey, asked: Asked, verdict: Verdict, now: Instant) {
        let Asked { facts, request, .. } = asked;
        let (grant, seat) = match verdict {
            // What does not come from the outside joins here: publishers, dry runs and players all go on with this grant.
            Verdict::Allow(mut grant) => {
                grant.dry_run |= params::asks_for_dry_run(&request.address().params);
                match self.seat(&mut grant, &request) {
                    Ok(seat) => (Arc::new(grant), seat),
                    Err(full) => {
                        let denial = Denial { label: full.label(), description: full.to_string() };
                        return self.deny(key, &request, &denial, now);
                    }
                }
            }
            Verdict::Deny(denial) => return self.deny(key, &request, &denial, now),
        };
        match request {
            Request::Publish(mut request) => {
                if let Some(stream) = &grant.stream {
                    request.address.key = stream.clone();
                }
                self.bring_home(key, Box::new(Admitted { request, facts, grant, seat }), now);
            }
            // It comes with a denial only, of one that has waited too long.
            Request::Claim(admitted) => self.bring_home(key, admitted, now),
            Request::Play(mut request) => {
                if let Some(stream) = &grant.stream {
                    request.address.key = stream.clone();
                }
                self.play(key, &request, facts, grant, seat, now);
            }
        }
    }

    /// Holds what was granted to what its app allows, and takes a seat among those whom that has room for.
    fn seat(&self, grant: &mut Grant, request: &Request) -> Result<Seat, Full> {
        let stream = grant.stream.as_ref().unwrap_or(&request.address().key);
        let mut limits = QuotaLimits { identity_streams: grant.streams_max, ..QuotaLimits::default() };
        if let Some(app) = self.app(stream.app()) {
            grant.limits = grant.limits.stricter(&app.limits);
            limits.app_streams = app.streams_max;
            limits.app_connections = app.connections_max;
        }
        let publishes = matches!(request.action(), Action::Publish) && !grant.dry_run;
        self.shared.quotas.take(stream, grant.identity.as_ref(), publishes, limits)
    }

    fn deny(&mut self, key: ConnectionKey, request: &Request, denial: &Denial, now: Instant) {
        self.count("denied", denial.label);
        let shared = Arc::clone(&self.shared);
        let Some(connection) = self.connection(key) else { return };
        let stream = &request.address().key;
        info!(
            parent: &connection.span,
            app = stream.app(),
            stream = shared.names.hash(stream.name()),
            why = denial.label,
            "denied"
        );
        let rejection = match request {
            Request::Publish(_) | Request::Claim(_) => Rejection::publish_denied(&denial.description),
            Request::Play(_) => Rejection::play_denied(&denial.description),
        };
        if let Some(session) = connection.session.server_mut() {
            session.reject(now, request.id(), rejection);
        }
    }

    /// Tells who has connected, where somebody hears it.
    pub(crate) fn tell_who_connected(&mut self, key: ConnectionKey) {
        let shared = Arc::clone(&self.shared);
        let notify = &shared.outside.notify;
        if !notify.hears_who_connects() {
            return;
        }
        let Some(connection) = self.connection(key) else { return };
        let host = connection.session.connect_info().and_then(|info| host_of(&info.tc_url));
        let facts = Arc::new(facts(connection, host, String::new(), None));
        notify.notify(News::Connected { facts });
    }
}

impl Asked {
    /// Whether nobody will answer it any more.
    pub(crate) fn is_overdue(&self, now: Instant) -> bool {
        now - self.since >= ANSWER_TIME_MAX
    }
}

fn facts(connection: &Connection, host: Option<String>, params: String, wish: Option<Wish>) -> Facts {
    let info = connection.session.connect_info();
    Facts {
        connection: connection.id,
        peer: connection.peer,
        tls: connection.tls().is_some(),
        server_name: connection.tls().and_then(|tls| tls.info()?.server_name.clone()),
        host,
        tc_url: info.map(|info| info.tc_url.clone()).unwrap_or_default(),
        flash_ver: info.map(|info| info.flash_ver.clone()).unwrap_or_default(),
        swf_url: info.map(|info| info.swf_url.clone()).unwrap_or_default(),
        page_url: info.map(|info| info.page_url.clone()).unwrap_or_default(),
        params,
        wish,
    }
}
