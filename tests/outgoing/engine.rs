//! The engine inside the test's process, with a test in floor 5's place: it makes connections, hands them over, and hears what happens.

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use inrush::hub::{CoreId, QueueSettings};
use inrush::runtime::observe::{ConnectionId, ConnectionInfo};
use inrush::runtime::outside::{Admission, News, Notify, Outside, Question, Totals, Verdict};
use inrush::runtime::tls::Tls;
use inrush::runtime::{
    self, CoreAnswer, Dialed, Handle, NameHasher, OutgoingEnd, OutgoingEvent, OutgoingId, OutgoingInfo,
    Report, RuntimeSettings, Start, Task,
};
use inrush::session::{ClientSettings, ClientUrl, Role, StreamKey};

use super::support::PATIENCE;

/// Lets everybody do everything, and hands all news to the test.
struct Ear(Mutex<Sender<News>>);

impl Notify for Ear {
    fn notify(&self, news: News) {
        // A test that has ended listens no more.
        let _ = self.0.lock().unwrap().send(news);
    }
}

struct Open;

impl Admission for Open {
    fn ask(&self, _: Question) -> Option<Verdict> {
        Some(Verdict::default())
    }
}

/// A running engine of two cores.
pub struct Engine {
    engine: Option<runtime::Engine>,
    handle: Handle,
    news: Receiver<News>,
    /// What has come and nobody has waited for yet.
    heard: VecDeque<News>,
    next_id: u64,
    runtime: tokio::runtime::Runtime,
}

/// How a connection is to be made; see [`Engine::dial`].
pub struct Dial {
    pub stream: StreamKey,
    pub home: CoreId,
    pub settings: ClientSettings,
    pub task: Task,
    pub tls: Option<Tls>,
    pub received: BytesMut,
}

impl Dial {
    /// A forward from the GOP on.
    pub fn forward(stream: &StreamKey, home: CoreId, url: &str) -> Self {
        let task = Task::Forward { from: Start::Gop, queue: QueueSettings::default() };
        Self::new(stream, home, url, task)
    }

    /// A pull.
    pub fn pull(stream: &StreamKey, home: CoreId, url: &str) -> Self {
        Self::new(stream, home, url, Task::Pull)
    }

    fn new(stream: &StreamKey, home: CoreId, url: &str, task: Task) -> Self {
        // The role is the core's to choose.
        let settings = ClientSettings::new(ClientUrl::parse(url).expect("a URL"), Role::Publish);
        Self { stream: stream.clone(), home, settings, task, tls: None, received: BytesMut::new() }
    }

    /// Begins there.
    pub fn from(mut self, start: Start) -> Self {
        if let Task::Forward { from, .. } = &mut self.task {
            *from = start;
        }
        self
    }

    /// With these bounds.
    pub fn queue(mut self, settings: QueueSettings) -> Self {
        if let Task::Forward { queue, .. } = &mut self.task {
            *queue = settings;
        }
        self
    }

    /// Gives up when the far end has not said yes by then.
    pub fn ready_within(mut self, deadline: Duration) -> Self {
        self.settings.ready_deadline = deadline;
        self
    }
}

impl Engine {
    /// On a free port.
    pub fn start() -> Self {
        Self::start_with(RuntimeSettings::default())
    }

    pub fn start_with(settings: RuntimeSettings) -> Self {
        let (sender, news) = channel();
        let outside = Outside { admission: Arc::new(Open), notify: Arc::new(Ear(Mutex::new(sender))) };
        let settings =
            RuntimeSettings { listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))], cores: 2, ..settings };
        let engine = runtime::start(settings, NameHasher::random(), outside).expect("start the engine");
        let handle = engine.handle();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        Self { engine: Some(engine), handle, news, heard: VecDeque::new(), next_id: 0, runtime }
    }

    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Where it serves RTMP.
    pub fn rtmp(&self) -> SocketAddr {
        self.engine.as_ref().expect("it runs").addresses()[0]
    }

    /// Connects, and gives the connection to the stream's core.
    #[track_caller]
    pub fn dial(&mut self, dial: Dial) -> OutgoingId {
        let url = &dial.settings.url;
        let socket = TcpStream::connect((url.host.as_str(), url.port)).expect("connect");
        // As a readiness runtime leaves it.
        socket.set_nonblocking(true).expect("change the mode of a socket");
        self.hand_over(dial, socket)
    }

    /// Gives a connected socket to the stream's core.
    #[track_caller]
    pub fn hand_over(&mut self, dial: Dial, socket: TcpStream) -> OutgoingId {
        self.next_id += 1;
        let id = OutgoingId(self.next_id);
        let Dial { stream, home, settings: client, task, tls, received } = dial;
        let peer = socket.peer_addr().expect("a connected socket has a peer");
        let socket = socket.into();
        self.handle.take_over(Dialed { id, socket, peer, tls, received, stream, home, client, task });
        id
    }

    /// The first news, of those not waited for yet, that `choose` takes. The others stay.
    #[track_caller]
    pub fn wait_for<T>(&mut self, what: &str, mut choose: impl FnMut(&News) -> Option<T>) -> T {
        let start = Instant::now();
        let mut next = 0;
        loop {
            while let Some(news) = self.heard.get(next) {
                if let Some(value) = choose(news) {
                    self.heard.remove(next);
                    return value;
                }
                next += 1;
            }
            let left = PATIENCE.saturating_sub(start.elapsed());
            match self.news.recv_timeout(left) {
                Ok(news) => self.heard.push_back(news),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("waited in vain: {what}; heard {:?}", self.heard)
                }
            }
        }
    }

    /// Waits until the stream is there, and gives its home.
    #[track_caller]
    pub fn wait_for_stream(&mut self, wanted: &StreamKey) -> CoreId {
        self.wait_for("the stream begins", |news| match news {
            News::StreamBegan { stream, home, .. } if stream == wanted => Some(*home),
            _ => None,
        })
    }

    #[track_caller]
    pub fn wait_for_stream_end(&mut self, wanted: &StreamKey) {
        self.wait_for("the stream ends", |news| match news {
            News::StreamEnded { stream, .. } => (stream == wanted).then_some(()),
            _ => None,
        });
    }

    #[track_caller]
    fn wait_for_event<T>(
        &mut self,
        what: &str,
        wanted: OutgoingId,
        mut choose: impl FnMut(&OutgoingEvent) -> Option<T>,
    ) -> T {
        self.wait_for(what, |news| match news {
            News::Outgoing { id, event } if *id == wanted => choose(event),
            _ => None,
        })
    }

    /// Waits until the far end has said yes.
    #[track_caller]
    pub fn wait_for_ready(&mut self, id: OutgoingId) {
        self.wait_for_event("it is ready", id, |event| matches!(event, OutgoingEvent::Ready).then_some(()));
    }

    /// Waits until media flows.
    #[track_caller]
    pub fn wait_for_beginning(&mut self, id: OutgoingId) {
        self.wait_for_event("it begins", id, |event| matches!(event, OutgoingEvent::Began).then_some(()));
    }

    /// Waits for a request to connect again.
    #[track_caller]
    pub fn wait_for_reconnect(&mut self, id: OutgoingId) -> ClientUrl {
        self.wait_for_event("a request to connect again", id, |event| match event {
            OutgoingEvent::Reconnect { url } => Some(url.clone()),
            _ => None,
        })
    }

    /// Waits for the end.
    #[track_caller]
    pub fn wait_for_close(&mut self, id: OutgoingId) -> (OutgoingEnd, Totals) {
        self.wait_for_event("it is closed", id, |event| match event {
            OutgoingEvent::Closed { end, totals } => Some((end.clone(), *totals)),
            _ => None,
        })
    }

    /// All that has come of a connection, and nobody has waited for.
    pub fn unheard(&mut self, wanted: OutgoingId) -> Vec<OutgoingEvent> {
        self.heard.extend(self.news.try_iter());
        let of_it = self.heard.iter().filter_map(|news| match news {
            News::Outgoing { id, event } if *id == wanted => Some(event.clone()),
            _ => None,
        });
        of_it.collect()
    }

    /// What the cores say of the connections that were made.
    pub fn outgoing(&self) -> Vec<OutgoingInfo> {
        self.runtime.block_on(self.handle.outgoing(PATIENCE)).into_iter().flat_map(answer).collect()
    }

    /// How many of the news that nobody has waited for are such.
    pub fn count_unheard(&mut self, is_such: impl Fn(&News) -> bool) -> usize {
        self.heard.extend(self.news.try_iter());
        self.heard.iter().filter(|news| is_such(news)).count()
    }

    /// What they say of one.
    pub fn info(&self, id: OutgoingId) -> Option<OutgoingInfo> {
        self.outgoing().into_iter().find(|info| info.id == id)
    }

    /// What they say of all connections.
    pub fn connections(&self) -> Vec<ConnectionInfo> {
        self.runtime.block_on(self.handle.connections(PATIENCE)).into_iter().flat_map(answer).collect()
    }

    /// Closes a connection as the operator does; whether there was one.
    pub fn kick(&self, id: ConnectionId) -> bool {
        self.runtime.block_on(self.handle.kick(id, PATIENCE)).into_iter().any(answer)
    }

    /// Drains, waits for the end, and gives what was left.
    pub fn drain(&mut self) -> Report {
        self.handle.drain();
        self.join()
    }

    /// Stops at once, and gives what was left.
    pub fn stop_now(&mut self) -> Report {
        self.handle.stop_now();
        self.join()
    }

    fn join(&mut self) -> Report {
        self.engine.take().expect("it runs").join()
    }

    /// Stops it; nothing may be left.
    #[track_caller]
    pub fn end(mut self) {
        assert_eq!(self.stop_now(), Report::default());
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(engine) = self.engine.take() {
            self.handle.stop_now();
            engine.join();
        }
    }
}

#[track_caller]
fn answer<T>(answer: CoreAnswer<T>) -> T {
    match answer {
        CoreAnswer::Answer(answer) => answer,
        CoreAnswer::Stalled { core } => panic!("core {core} does not answer"),
    }
}
