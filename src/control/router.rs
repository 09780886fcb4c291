//! Paths and who answers them.

use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::http::HeaderMap;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{delete, get, post};
use tokio::sync::{Semaphore, mpsc};

use super::cores::Cores;
use super::dashboard::events::{Listeners, events};
use super::dashboard::{PAGES, page};
use super::far_ends::Forwards;
use super::metrics::Exhibitor;
use super::refusal::Refusal;
use super::token::Door;
use super::{api, drain, forwards, guard, health, metrics, openapi, pulls, reload, stat, token};

/// What all answers share.
pub(super) struct Control<C> {
    /// The engine, once it runs.
    pub(super) cores: OnceLock<C>,
    /// Who forwards, once it does.
    pub(super) forwards: OnceLock<Arc<dyn Forwards>>,
    /// Who pulls, once it does: of the same shape, the other way round.
    pub(super) pulls: OnceLock<Arc<dyn Forwards>>,
    /// Who reads the configuration again, once somebody does.
    pub(super) reloads: OnceLock<mpsc::Sender<reload::Asked>>,
    /// Others who have something to show in `/metrics`.
    pub(super) exhibitors: Mutex<Vec<Arc<dyn Exhibitor>>>,
    /// Questions that the cores may be asked at a time.
    pub(super) queries: Semaphore,
    /// Who is told once a second how the node is.
    pub(super) listeners: Listeners,
    /// Who is let in, from now on.
    pub(super) door: RwLock<Door>,
    /// Of how many streams `/metrics` has series.
    pub(super) top_streams: AtomicUsize,
    /// How long a body may take.
    pub(super) body_max: Duration,
    /// Whether only this machine can reach us.
    pub(super) is_loopback: bool,
    /// When the process began.
    pub(super) started: SystemTime,
    /// Connections turned away because there were too many.
    pub(super) connections_refused: AtomicU64,
    /// Requests turned away for want of the token.
    pub(super) unauthorized: AtomicU64,
}

impl<C: Cores> Control<C> {
    pub(super) fn new(is_loopback: bool, door: Door, top_streams: usize, body_max: Duration) -> Self {
        Self {
            cores: OnceLock::new(),
            forwards: OnceLock::new(),
            pulls: OnceLock::new(),
            reloads: OnceLock::new(),
            exhibitors: Mutex::default(),
            queries: Semaphore::new(api::QUERIES_MAX),
            listeners: Listeners::default(),
            door: RwLock::new(door),
            top_streams: AtomicUsize::new(top_streams),
            body_max,
            is_loopback,
            started: SystemTime::now(),
            connections_refused: AtomicU64::new(0),
            unauthorized: AtomicU64::new(0),
        }
    }

    /// Whether who says this may be told names.
    pub(super) fn trust(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        self.door.read().unwrap_or_else(PoisonError::into_inner).trust(headers)
    }

    pub(super) fn running(&self) -> Result<&C, Refusal> {
        self.cores.get().ok_or(Refusal::Starting)
    }
}

pub(super) fn router<C: Cores>(control: &Arc<Control<C>>) -> Router {
    let origins = from_fn_with_state(Arc::clone(control), guard::refuse_other_origins::<C>);
    let api = Router::new()
        .route("/streams", get(api::streams::<C>))
        .route("/streams/{*path}", get(api::stream::<C>))
        .route("/connections", get(api::connections::<C>))
        .route("/forwards", get(forwards::forwards::<C>))
        .route("/openapi.json", get(openapi::openapi))
        .route("/drain", get(drain::progress::<C>).post(drain::begin::<C>))
        .route("/pulls", get(pulls::pulls::<C>))
        .route("/events", get(events::<C>))
        .route("/connections/{id}", delete(api::kick::<C>))
        .route("/reload", post(reload::reload::<C>))
        .layer(origins.clone());
    let pages = PAGES.into_iter().fold(Router::new(), |pages, path| pages.route(path, get(page)));
    Router::new()
        .merge(pages)
        .route("/healthz", get(health::healthz::<C>))
        .route("/readyz", get(health::readyz::<C>))
        // It names streams, as the API does.
        .route("/metrics", get(metrics::metrics::<C>).layer(origins.clone()))
        .route("/stat", get(stat::stat::<C>).layer(origins.clone()))
        .nest("/api/v1", api)
        .fallback(|| async { Refusal::NoRoute })
        .method_not_allowed_fallback(|| async { Refusal::NoMethod })
        .layer(from_fn(guard::refuse_long_bodies))
        // The outermost: it stands before unknown paths and methods as well.
        .layer(from_fn_with_state(Arc::clone(control), token::admit::<C>))
        .with_state(Arc::clone(control))
}
