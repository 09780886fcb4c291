//! What each kind of work costs that a peer can make a session do: the ratios behind the weights in `session/work.rs`.
//!
//! One element is one message, or one tiny chunk. Session and hub are measured together, for a stream without players; what the kernel
//! and the runtime add to an answer (a system call) is not here.

use std::{hint::black_box, sync::Arc, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use inrush::hub::{AppSettings, ConnectionRef, CoreId, Hub, HubSettings, PublisherKey};
use inrush::rtmp::amf::{Value, amf0};
use inrush::rtmp::chunk::{ChunkStreamId, ChunkWriter};
use inrush::rtmp::command::{PublishKind, write};
use inrush::rtmp::handshake::{Entropy, PACKET_BYTES};
use inrush::rtmp::message::type_id;
use inrush::rtmp::{Control, Message, MessageHeader, Payload, UserControl};
use inrush::session::{Event, Instant, Output, ServerSession, ServerSettings, StreamKey};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const MESSAGES: usize = 1000;

/// What one receive brings at most here, bytes.
const READ_BYTES: usize = 16 * 1024;

/// A session that publishes, the hub behind it, and its peer's way of writing.
struct Publishing {
    session: ServerSession,
    hub: Hub,
    publisher: PublisherKey,
    writer: ChunkWriter,
}

impl Publishing {
    fn new(chunk_size: u32) -> Self {
        let now = Instant::default();
        let mut settings = ServerSettings::default();
        settings.limits.work_per_second_max = u32::MAX;
        let entropy = Box::new(Entropy { time_ms: 0, random: [7; PACKET_BYTES - 8] });
        let mut app = AppSettings::default();
        app.gop.enabled = false;
        let mut hub = Hub::new(HubSettings { core: CoreId(0), cores: 1 });
        let key = StreamKey::new("live", "s");
        let entry = hub.publish(now, &key, ConnectionRef(0).into(), &app).expect("nobody else publishes");
        let publisher = entry.publisher().expect("nobody is to be waited for");
        let session = ServerSession::new(now, Arc::new(settings), entropy);
        let mut this = Self { session, hub, publisher, writer: ChunkWriter::new(128) };
        let mut hello = vec![0; 1 + 2 * PACKET_BYTES];
        hello[0] = 3;
        this.receive(hello.into());
        let start = [
            write::connect(Value::object([("app", "live".into())])),
            write::publish(1, 5.0, "s", PublishKind::Live),
            Control::SetChunkSize(chunk_size).to_message(),
        ];
        for message in start {
            let bytes = this.wire(ChunkStreamId::COMMAND, &message);
            this.receive(bytes);
        }
        this.writer.set_chunk_size(chunk_size);
        this
    }

    fn wire(&mut self, chunk_stream: ChunkStreamId, message: &Message) -> Bytes {
        let mut out = BytesMut::new();
        self.writer.write(chunk_stream, message, &mut out);
        out.freeze()
    }

    /// As the engine does: reads, outputs, and the hub for media.
    fn receive(&mut self, mut bytes: Bytes) {
        let now = Instant::default();
        while !bytes.is_empty() {
            self.session.handle_bytes(now, bytes.split_to(bytes.len().min(READ_BYTES)));
            while let Some(output) = self.session.poll_output() {
                match output {
                    Output::Event(Event::Media(message)) => self.hub.ingest(now, self.publisher, message),
                    Output::Event(Event::PublishRequested(request)) => {
                        self.session.accept_publish(now, request.request);
                    }
                    Output::Event(Event::Closed { reason, .. }) => panic!("{reason}"),
                    other => drop(black_box(other)),
                }
            }
        }
        while let Some(event) = self.hub.poll_event() {
            black_box(event);
        }
    }
}

fn message(type_id: u8, body: impl Into<Bytes>) -> Message {
    Message::new(MessageHeader { timestamp: 0, type_id, stream_id: 1 }, Payload::from(body.into()))
}

fn amf(values: &[Value]) -> Vec<u8> {
    let mut out = BytesMut::new();
    values.iter().for_each(|value| amf0::write(value, &mut out).expect("a value of AMF0"));
    out.to_vec()
}

/// `onMetaData` with an object of 30 properties, and references to it: 4,000 values out of some 700 bytes.
fn references(nth: usize) -> Vec<u8> {
    let mut out = amf(&["onMetaData".into()]);
    out.extend([10, 0, 0, 0, 131]); // a strict array: one object, 130 references
    out.push(3);
    out.extend((0..30).flat_map(|n| [0, 1, b'a' + n % 26, 5]));
    out.extend([0, 0, 9]);
    out.extend([7, 0, 1].repeat(130));
    out.extend(amf(&[(nth as f64).into()]));
    out
}

fn metadata(nth: usize) -> Vec<u8> {
    let numbers = ["width", "height", "videodatarate", "framerate", "audiodatarate", "audiosamplerate"];
    let mut properties: Vec<(String, Value)> =
        numbers.iter().map(|name| ((*name).into(), (nth as f64).into())).collect();
    properties.extend((0..14).map(|n| (format!("property{n}"), Value::from(n as f64))));
    amf(&["@setDataFrame".into(), "onMetaData".into(), Value::EcmaArray(properties)])
}

fn aggregate(parts: usize) -> Vec<u8> {
    let mut body = Vec::new();
    for _ in 0..parts {
        body.extend([type_id::VIDEO, 0, 0, 5, 0, 0, 0, 0, 0, 0, 1, 0x27, 1, 0, 0, 0]);
        body.put_u32(16);
    }
    body
}

fn work(criterion: &mut Criterion) {
    type Make = fn(usize) -> Message;
    let kinds: [(&str, ChunkStreamId, usize, Make); 15] = [
        ("video 1500", ChunkStreamId::VIDEO, 1, |_| message(type_id::VIDEO, vec![0x27; 1500])),
        ("audio 10", ChunkStreamId::AUDIO, 1, |_| {
            message(type_id::AUDIO, vec![0xaf, 1, 2, 3, 4, 5, 6, 7, 8, 9])
        }),
        ("video empty", ChunkStreamId::VIDEO, 1, |_| message(type_id::VIDEO, Bytes::new())),
        ("aggregate part", ChunkStreamId::VIDEO, 100, |_| message(type_id::AGGREGATE, aggregate(100))),
        ("data text", ChunkStreamId::DATA, 1, |_| {
            message(type_id::DATA_AMF0, amf(&["onTextData".into(), "hello".into()]))
        }),
        ("data metadata", ChunkStreamId::DATA, 1, |nth| message(type_id::DATA_AMF0, metadata(nth))),
        ("data references", ChunkStreamId::DATA, 1, |nth| message(type_id::DATA_AMF0, references(nth))),
        ("acknowledgement", ChunkStreamId::CONTROL, 1, |_| Control::Acknowledgement(1).to_message()),
        ("window", ChunkStreamId::CONTROL, 1, |_| Control::WindowAckSize(2_500_000).to_message()),
        ("window tiny", ChunkStreamId::CONTROL, 1, |_| Control::WindowAckSize(1).to_message()),
        ("chunk size", ChunkStreamId::CONTROL, 1, |_| Control::SetChunkSize(65_536).to_message()),
        ("ping", ChunkStreamId::CONTROL, 1, |_| Control::User(UserControl::PingRequest(1)).to_message()),
        ("unknown type", ChunkStreamId::COMMAND, 1, |_| message(99, vec![0; 20])),
        ("command", ChunkStreamId::COMMAND, 1, |_| write::call(0, "x", 1.0, &["y".into()])),
        ("command FCPublish", ChunkStreamId::COMMAND, 1, |_| write::fc_publish(1.0, "some-stream-name")),
    ];
    let mut group = criterion.benchmark_group("work");
    group.throughput(Throughput::Elements(MESSAGES as u64));
    for (name, chunk_stream, parts, make) in kinds {
        let mut publishing = Publishing::new(65_536);
        let mut wire = BytesMut::new();
        for nth in 0..MESSAGES / parts {
            wire.extend_from_slice(&publishing.wire(chunk_stream, &make(nth)));
        }
        let wire = wire.freeze();
        group.bench_function(name, |bencher| bencher.iter(|| publishing.receive(wire.clone())));
    }
    for bytes in [1_u32, 15] {
        let mut publishing = Publishing::new(bytes);
        let wire = publishing
            .wire(ChunkStreamId::VIDEO, &message(type_id::VIDEO, vec![0x27; MESSAGES * bytes as usize]));
        group.bench_function(format!("chunk of {bytes}"), |bencher| {
            bencher.iter(|| publishing.receive(wire.clone()));
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_secs(1));
    targets = work
}
criterion_main!(benches);
