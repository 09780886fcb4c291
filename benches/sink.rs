//! The floor to measure the engine against: an RTMP server on bare tokio-uring that accepts every publisher, reads, and throws away.
//!
//! ```text
//! cargo bench --bench sink -- --listen 127.0.0.1:1936                 # wakes for each receive
//! cargo bench --bench sink -- --listen 127.0.0.1:1936 --poll-ms 10    # visits each socket every 10 ms
//! ```
//!
//! The library's session answers until `publish` is accepted; from then on the bytes are not looked at. So what is left is what the
//! kernel, io_uring and tokio-uring cost for receiving, and an engine's ratio to it is what the engine adds. It runs until it is killed,
//! on one thread or on `--threads`, each with a listener of its own and tied to a CPU, as the engine's cores are. Without `--listen` it
//! ends at once, so that `cargo bench` and `cargo test --benches` can run it among the others.
//!
//! # Modes
//! - **Wake**: one task and one armed receive a connection.
//! - **Polled**: one task visits all publishers on a tick. It submits a receive with `MSG_DONTWAIT` for each as one batch, then awaits
//!   them in order; those that filled their buffer are visited again in the same tick. A polled socket carries the largest
//!   `SO_RCVLOWAT`, as the engine's do, so that the kernel acknowledges at once.
//!
//! # Bounds
//! One buffer of `--buffer-bytes` a connection, and until the publish what the session's limits allow. It is for trusted load
//! generators: there are no deadlines.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clap::Parser;
use inrush::rtmp::handshake::Entropy;
use inrush::session::{Event, Instant, Output, Rejection, ServerSession, ServerSettings};
use io_uring::{cqueue, opcode, squeue, types};
use socket2::{Domain, SockRef, Socket, Type};
use tokio::time::MissedTickBehavior;
use tokio_uring::{OneshotOutputTransform, UnsubmittedOneshot};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// As the engine's rings.
const RING_ENTRIES: u32 = 1024;
const RING_COMPLETIONS: u32 = 8192;

/// Buffer until the publish is accepted, bytes.
const HELLO_BYTES: usize = 4096;

/// Accepts every RTMP publisher, reads what it sends, and throws it away.
#[derive(Clone, Parser)]
#[command(name = "sink")]
struct Options {
    /// Address to listen on; port 0 lets the kernel choose one, which is printed.
    #[arg(long)]
    listen: SocketAddr,
    /// Visits each publisher once in this many milliseconds; without it each receive wakes the sink.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    poll_ms: Option<u64>,
    /// Buffer of one publisher, bytes.
    #[arg(long, default_value_t = 16 * 1024, value_parser = clap::value_parser!(u32).range(1..))]
    buffer_bytes: u32,
    /// Threads, each on one of the CPUs that there are; the kernel spreads connections over them.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: u16,
    /// Leaves `SO_RCVLOWAT` of polled sockets at 1.
    #[arg(long)]
    no_mark: bool,
    /// What `cargo bench` adds.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let is_wanted = |argument: String| argument == "--listen" || argument.starts_with("--listen=");
    if !std::env::args().any(is_wanted) {
        return ExitCode::SUCCESS;
    }
    match serve(Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sink: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(options: Options) -> io::Result<()> {
    raise_file_limit();
    let is_shared = options.threads > 1;
    let listener = listen(options.listen, is_shared)?;
    let address = listener.local_addr()?;
    // All of them listen before anybody is told where.
    let others = (1..options.threads).map(|_| listen(address, is_shared)).collect::<io::Result<Vec<_>>>()?;
    let mode = options.poll_ms.map_or("one receive a wake-up".into(), |ms| format!("polled every {ms} ms"));
    println!("sink: rtmp://{address}, {mode}");
    let threads: Vec<_> = [listener]
        .into_iter()
        .chain(others)
        .enumerate()
        .map(|(number, listener)| {
            let options = options.clone();
            std::thread::spawn(move || {
                // Half a sink would be measured as a whole one, so however a thread ends, all do.
                let served = AssertUnwindSafe(|| stay_on(number).and_then(|()| serve_on(listener, options)));
                match catch_unwind(served) {
                    Ok(Err(error)) => eprintln!("sink: {error}"),
                    Ok(Ok(())) | Err(_) => eprintln!("sink: a thread ended"),
                }
                std::process::exit(1);
            })
        })
        .collect();
    threads
        .into_iter()
        .try_for_each(|thread| thread.join().map_err(|_| io::Error::other("a thread panicked")))
}

fn serve_on(listener: TcpListener, options: Options) -> io::Result<()> {
    let mut ring = tokio_uring::uring_builder();
    ring.setup_cqsize(RING_COMPLETIONS).setup_coop_taskrun().setup_single_issuer();
    let mut builder = tokio_uring::builder();
    builder.entries(RING_ENTRIES).uring_builder(&ring);
    tokio_uring::Runtime::new(&builder)?.block_on(accept_all(Rc::new(listener.into()), Rc::new(options)))
}

/// Several threads share one address; else a second sink is told that it is in use.
fn listen(address: SocketAddr, is_shared: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.cloexec(), None)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(is_shared)?;
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    Ok(socket.into())
}

/// Ties the calling thread to one of the CPUs that this process may use; with more threads than CPUs, in turn.
fn stay_on(number: usize) -> io::Result<()> {
    // SAFETY: a CPU set is plain bits, all zero is the empty one; it outlives the calls, and every number is below its size.
    let result = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        if libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) != 0 {
            return Err(io::Error::last_os_error());
        }
        let cpus: Vec<_> =
            (0..libc::CPU_SETSIZE as usize).filter(|cpu| libc::CPU_ISSET(*cpu, &set)).collect();
        libc::CPU_ZERO(&mut set);
        libc::CPU_SET(cpus[number % cpus.len()], &mut set);
        libc::sched_setaffinity(0, size_of_val(&set), &raw const set)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// One descriptor a publisher: as many as the host allows.
fn raise_file_limit() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls read or write one `rlimit` that lives across them.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}

/// An accepted publisher and the buffer that its bytes are read into, over and over.
struct Publisher {
    socket: Rc<OwnedFd>,
    buffer: Vec<u8>,
}

/// The publishers that the tick visits.
type Polled = Rc<RefCell<Vec<Publisher>>>;

async fn accept_all(listener: Rc<OwnedFd>, options: Rc<Options>) -> io::Result<()> {
    let polled = Polled::default();
    if let Some(ms) = options.poll_ms {
        tokio_uring::spawn(poll_all(polled.clone(), Duration::from_millis(ms)));
    }
    loop {
        let socket = Rc::new(accept(listener.clone()).await?);
        let (options, polled) = (options.clone(), polled.clone());
        tokio_uring::spawn(async move {
            // Whoever does not get as far as a publish has gone, and that is all there is to it.
            let Ok(true) = greet(&socket).await else { return };
            let publisher = Publisher { socket, buffer: vec![0; options.buffer_bytes as usize] };
            if options.poll_ms.is_none() {
                read_all(publisher).await;
            } else {
                if !options.no_mark {
                    set_largest_mark(&publisher.socket);
                }
                polled.borrow_mut().push(publisher);
            }
        });
    }
}

/// Lets the session answer until the peer's publish is accepted. False when the peer ends before.
async fn greet(socket: &Rc<OwnedFd>) -> io::Result<bool> {
    SockRef::from(socket).set_tcp_nodelay(true)?;
    let now = Instant::default();
    let entropy = Box::new(Entropy { time_ms: 0, random: [0x5a; 1528] });
    let mut session = ServerSession::new(now, Arc::new(ServerSettings::default()), entropy);
    let mut buffer = vec![0; HELLO_BYTES];
    while !session.is_publishing() {
        let (received, filled) = receive(socket.clone(), buffer, 0).await;
        buffer = filled;
        match received? {
            0 => return Ok(false),
            received => session.handle_bytes(now, Bytes::copy_from_slice(&buffer[..received])),
        }
        while let Some(output) = session.poll_output() {
            match output {
                Output::Send(bytes) => send_all(socket, &bytes).await?,
                Output::Event(Event::PublishRequested(publish)) => {
                    session.accept_publish(now, publish.request)
                }
                Output::Event(Event::PlayRequested(play)) => {
                    session.reject(now, play.request, Rejection::play_denied("a sink plays nothing"));
                }
                Output::Event(Event::Closed { .. }) => return Ok(false),
                _ => {}
            }
        }
    }
    Ok(true)
}

/// Wake mode: one armed receive after the other.
async fn read_all(Publisher { socket, mut buffer }: Publisher) {
    loop {
        let (received, filled) = receive(socket.clone(), buffer, 0).await;
        buffer = filled;
        match received {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// Polled mode: every publisher, every tick.
async fn poll_all(polled: Polled, period: Duration) {
    let mut tick = tokio::time::interval(period);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut resting = Vec::new();
    loop {
        tick.tick().await;
        let mut due = std::mem::take(&mut *polled.borrow_mut());
        while !due.is_empty() {
            // All of them are submitted before the first is awaited: the thread parks once, with one batch.
            let visits: Vec<_> = due.drain(..).map(visit).collect();
            for visit in visits {
                let (publisher, outcome) = visit.await;
                match outcome {
                    Visit::Filled => due.push(publisher),
                    Visit::Emptied => resting.push(publisher),
                    Visit::Ended => {}
                }
            }
        }
        polled.borrow_mut().append(&mut resting);
    }
}

/// What a visit has come to.
enum Visit {
    /// The buffer is full: there may be more.
    Filled,
    /// There is nothing more for now.
    Emptied,
    /// The connection has ended.
    Ended,
}

/// Submits one receive that does not wait.
fn visit(Publisher { socket, buffer }: Publisher) -> impl Future<Output = (Publisher, Visit)> {
    let receive = receive(socket.clone(), buffer, libc::MSG_DONTWAIT);
    async move {
        let (received, buffer) = receive.await;
        let outcome = match received {
            Ok(0) => Visit::Ended,
            Ok(received) if received == buffer.len() => Visit::Filled,
            Ok(_) => Visit::Emptied,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Visit::Emptied,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Visit::Emptied,
            Err(_) => Visit::Ended,
        };
        (Publisher { socket, buffer }, outcome)
    }
}

/// Half the receive buffer, the most that the kernel takes. Nobody waits on a polled socket, and the kernel acknowledges at once what
/// stays below its mark, instead of at the next visit.
fn set_largest_mark(socket: &OwnedFd) {
    let Ok(bytes) = SockRef::from(socket).recv_buffer_size() else { return };
    let mark = libc::c_int::try_from(bytes / 2).unwrap_or(libc::c_int::MAX);
    // SAFETY: the descriptor is open; the value is an int that lives across the call, and its size is given. A refusal leaves the
    // mark as it was, which costs some acknowledgements.
    unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVLOWAT,
            (&raw const mark).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        );
    }
}

/// What an operation owns until its completion: the kernel resolves the descriptor's number late, and uses the buffer meanwhile.
struct Owned {
    _socket: Rc<OwnedFd>,
    buffer: Vec<u8>,
}

struct Completed;

impl OneshotOutputTransform for Completed {
    type Output = (io::Result<usize>, Vec<u8>);
    type StoredData = Owned;

    fn transform_oneshot_output(self, owned: Owned, entry: cqueue::Entry) -> Self::Output {
        let result = entry.result();
        let result = usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result));
        (result, owned.buffer)
    }
}

/// Submits an operation on this socket, and on this buffer if on any.
fn submit(
    socket: Rc<OwnedFd>,
    buffer: Vec<u8>,
    entry: squeue::Entry,
) -> impl Future<Output = (io::Result<usize>, Vec<u8>)> {
    UnsubmittedOneshot::new(Owned { _socket: socket, buffer }, Completed, entry).submit()
}

/// Receives at the start of the buffer.
fn receive(
    socket: Rc<OwnedFd>,
    mut buffer: Vec<u8>,
    flags: libc::c_int,
) -> impl Future<Output = (io::Result<usize>, Vec<u8>)> {
    let len = u32::try_from(buffer.len()).unwrap_or(u32::MAX);
    let fd = types::Fd(socket.as_raw_fd());
    let entry = opcode::Recv::new(fd, buffer.as_mut_ptr(), len).flags(flags).build();
    submit(socket, buffer, entry)
}

/// Sends all of it; the kernel finishes a partial write.
async fn send_all(socket: &Rc<OwnedFd>, bytes: &[u8]) -> io::Result<()> {
    let buffer = bytes.to_vec();
    let len = u32::try_from(buffer.len()).map_err(io::Error::other)?;
    let fd = types::Fd(socket.as_raw_fd());
    let flags = libc::MSG_WAITALL | libc::MSG_NOSIGNAL;
    let entry = opcode::Send::new(fd, buffer.as_ptr(), len).flags(flags).build();
    submit(socket.clone(), buffer, entry).await.0.map(drop)
}

/// Accepts one connection.
async fn accept(listener: Rc<OwnedFd>) -> io::Result<OwnedFd> {
    let fd = types::Fd(listener.as_raw_fd());
    let entry = opcode::Accept::new(fd, std::ptr::null_mut(), std::ptr::null_mut());
    let (accepted, _) = submit(listener, Vec::new(), entry.flags(libc::SOCK_CLOEXEC).build()).await;
    let number = RawFd::try_from(accepted?).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor for us; nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
