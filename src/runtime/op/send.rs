//! Send: a batch of slices as one message, which the kernel finishes.
//!
//! With `MSG_WAITALL` the kernel carries on after a partial write, so a completion is the whole batch or the end of the socket. The
//! batch keeps what it points into, and its arrays are used again, so a subscriber costs one reference a frame and no allocation.

use std::future::Future;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use io_uring::{cqueue, opcode, types};
use smallvec::SmallVec;
use tokio_uring::{InFlightOneshot, OneshotOutputTransform, UnsubmittedOneshot};

use super::InFlight;
use crate::hub::LocalFrame;
use crate::media::Form;
use crate::rtmp::chunk::WireHeaders;
use crate::runtime::tls::records::PLAIN_BYTES_MAX;
use crate::runtime::tls::{self, Tls};
use crate::session::Instant;

/// Slices in one message (`IOV_MAX`); the kernel refuses more with EINVAL.
pub(crate) const SLICES_MAX: usize = 1024;

/// Arrays longer than this are given back once their batch is written: a join burst must not stay with an idle player.
const SLICES_KEPT: usize = 64;

/// The message stream that a frame's shared wire form is made for.
const SHARED_STREAM_ID: u32 = 1;

/// What one send writes, in order, and the arrays that describe it to the kernel.
///
/// Where TLS is spoken a send writes records. What does not go into them yet stays here for the sends after it, shared with others as
/// before.
pub(crate) struct SendBatch {
    items: Vec<Item>,
    /// How much of the first item is in records already, bytes.
    sealed_bytes: usize,
    /// What is written instead of the items, if there are any.
    records: Records,
    bytes: usize,
    oldest_live: Option<Instant>,
    framed: Option<Instant>,
    slices: Vec<libc::iovec>,
    header: libc::msghdr,
}

enum Item {
    Bytes(Bytes),
    Frame(LocalFrame, Form),
    /// A frame for a message stream other than the shared form's: its headers made anew.
    Readdressed(WireHeaders, LocalFrame, Form),
}

impl Item {
    fn for_each_slice<'a>(&'a self, mut visit: impl FnMut(&'a [u8])) {
        match self {
            Self::Bytes(bytes) => visit(bytes),
            Self::Frame(frame, form) => {
                let (payload, wire) = frame.in_form(*form);
                wire.for_each_slice(payload, visit);
            }
            Self::Readdressed(wire, frame, form) => wire.for_each_slice(frame.in_form(*form).0, visit),
        }
    }
}

impl SendBatch {
    /// An empty batch; allocates when something is pushed.
    pub(crate) fn new() -> Box<Self> {
        // SAFETY: all zeroes is a valid `msghdr`: no name, no slices, no control data.
        let header = unsafe { std::mem::zeroed() };
        Box::new(Self {
            items: Vec::new(),
            sealed_bytes: 0,
            records: SmallVec::new(),
            bytes: 0,
            oldest_live: None,
            framed: None,
            slices: Vec::new(),
            header,
        })
    }

    /// Whether there is nothing to write.
    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty() && self.records.is_empty()
    }

    /// When the oldest live frame in it was received.
    pub(crate) fn oldest_live(&self) -> Option<Instant> {
        self.oldest_live
    }

    /// A live frame in it was received then.
    pub(crate) fn note_live(&mut self, arrived: Instant) {
        self.oldest_live = Some(self.oldest_live.map_or(arrived, |oldest| oldest.min(arrived)));
    }

    /// When the first frame of the turn that it is written in was framed, if it is the fan-out's.
    pub(crate) fn framed(&self) -> Option<Instant> {
        self.framed
    }

    /// See [`Self::framed`].
    pub(crate) fn note_framed(&mut self, at: Instant) {
        self.framed = Some(at);
    }

    /// Bytes that the next send writes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether something in it is in no TLS record.
    pub(crate) fn has_plain(&self) -> bool {
        !self.items.is_empty()
    }

    /// How many of them are TLS records.
    pub(crate) fn record_bytes(&self) -> usize {
        self.records.iter().map(Vec::len).sum()
    }

    /// Appends bytes as they are.
    pub(crate) fn push_bytes(&mut self, bytes: Bytes) {
        self.bytes += bytes.len();
        self.items.push(Item::Bytes(bytes));
    }

    /// Appends a frame in this wire form, for this message stream.
    pub(crate) fn push_frame(&mut self, frame: LocalFrame, form: Form, stream_id: u32) {
        let (_, wire) = frame.in_form(form);
        self.bytes += wire.wire_len();
        self.items.push(if stream_id == SHARED_STREAM_ID {
            Item::Frame(frame, form)
        } else {
            Item::Readdressed(wire.with_stream_id(stream_id), frame, form)
        });
    }

    /// Appends a frame as one slice, copied: for one that alone has more slices than a message may have.
    pub(crate) fn push_gathered(&mut self, frame: &LocalFrame, form: Form, stream_id: u32) {
        let mut bytes = BytesMut::new();
        let (payload, wire) = frame.in_form(form);
        wire.with_stream_id(stream_id).write_to(payload, &mut bytes);
        self.push_bytes(bytes.freeze());
    }

    /// Appends TLS records; what is not in records yet is written after them.
    pub(crate) fn push_records(&mut self, records: Vec<u8>) {
        self.records.push(records);
        self.bytes = self.record_bytes();
    }

    /// Makes TLS records of up to so many bytes that are in none yet, and lets go of what is in them whole.
    ///
    /// This copies once, into memory of the records' own: what is in the batch is shared with others, and must stay plain for them.
    pub(crate) fn seal(&mut self, tls: &mut Tls, bytes_max: usize) -> Result<(), tls::Failure> {
        let (mut plain, mut room) = (SmallVec::new(), bytes_max);
        let mut whole = 0;
        for item in &self.items {
            let (mut skip, mut rest) = (self.sealed_bytes, 0);
            item.for_each_slice(|slice| {
                let (skipped, slice) = slice.split_at(skip.min(slice.len()));
                skip -= skipped.len();
                let (taken, left) = slice.split_at(room.min(slice.len()));
                room -= taken.len();
                rest += left.len();
                self.sealed_bytes += taken.len();
                if !taken.is_empty() {
                    plain.push(taken);
                }
            });
            if rest > 0 {
                break;
            }
            self.sealed_bytes = 0;
            whole += 1;
        }
        seal(plain, tls, &mut self.records)?;
        self.items.drain(..whole);
        self.bytes = self.record_bytes();
        Ok(())
    }

    /// Lets go of what was written, and of arrays that a burst made large. What is in no record yet stays.
    pub(crate) fn on_written(&mut self) {
        if self.records.is_empty() {
            self.items.clear();
        }
        self.records.clear();
        self.slices.clear();
        self.bytes = 0;
        if self.items.is_empty() {
            self.oldest_live = None;
        }
        self.framed = None;
        self.items.shrink_to(SLICES_KEPT);
        self.slices.shrink_to(SLICES_KEPT);
    }

    /// Lets go of everything.
    pub(crate) fn clear(&mut self) {
        self.records.clear();
        self.sealed_bytes = 0;
        self.on_written();
    }

    /// What would be written.
    #[cfg(test)]
    pub(crate) fn to_vec(&self) -> Vec<u8> {
        let mut all = Vec::new();
        if self.records.is_empty() {
            self.items.iter().for_each(|item| item.for_each_slice(|slice| all.extend_from_slice(slice)));
        } else {
            self.records.iter().for_each(|record| all.extend_from_slice(record));
        }
        all
    }

    /// Describes the items to the kernel. From here until completion the items must not change: the slices point into them.
    fn describe(&mut self) {
        self.slices.clear();
        let slices = &mut self.slices;
        let mut push = |slice: &[u8]| {
            slices.push(libc::iovec { iov_base: slice.as_ptr().cast_mut().cast(), iov_len: slice.len() });
        };
        if self.records.is_empty() {
            self.items.iter().for_each(|item| item.for_each_slice(&mut push));
        } else {
            self.records.iter().for_each(|record| push(record));
        }
        debug_assert!(self.slices.len() <= SLICES_MAX, "more slices than IOV_MAX");
        self.header.msg_iov = self.slices.as_mut_ptr();
        self.header.msg_iovlen = self.slices.len();
    }
}

/// Slices of a batch that need no list on the heap while it is sealed.
const SLICES_INLINE: usize = 64;
/// Records of a batch likewise: those of a usual one.
const RECORDS_INLINE: usize = 8;

/// Slices of plain text.
type Plain<'a> = SmallVec<[&'a [u8]; SLICES_INLINE]>;
/// TLS records.
type Records = SmallVec<[Vec<u8>; RECORDS_INLINE]>;

/// Makes records of the slices, in order, each as full as the next one needs.
fn seal(mut plain: Plain<'_>, tls: &mut Tls, records: &mut Records) -> Result<(), tls::Failure> {
    let mut rest = plain.as_mut_slice();
    while !rest.is_empty() {
        let mut room = PLAIN_BYTES_MAX;
        let fits = |slice: &&mut &[u8]| {
            let fits = slice.len() <= room;
            room -= if fits { slice.len() } else { 0 };
            fits
        };
        let whole = rest.iter_mut().take_while(fits).count();
        // What does not fit whole is cut, and its tail begins the next record.
        let tail = rest.get_mut(whole).filter(|_| room > 0).map(|slice| {
            let (head, tail) = slice.split_at(room);
            *slice = head;
            tail
        });
        let record = tls.seal(&rest[..whole + usize::from(tail.is_some())])?;
        // New keys are announced with the old ones.
        if tls.is_ready() {
            records.push(tls.take_ready());
        }
        records.push(record);
        rest = &mut rest[whole..];
        if let (Some(tail), Some(first)) = (tail, rest.first_mut()) {
            *first = tail;
        }
    }
    Ok(())
}

/// A write that the kernel has, or will have when the thread parks. Gives the number of bytes written, fewer than
/// [`SendBatch::bytes`] only when the socket ended meanwhile, and the batch, still full.
pub(crate) struct Sending(InFlightOneshot<Owned, Sent>);

impl Sending {
    /// What came of it, if the kernel is through with it; nobody is woken later.
    pub(crate) fn outcome(&mut self) -> Option<(io::Result<usize>, Box<SendBatch>)> {
        super::outcome(self)
    }
}

impl Future for Sending {
    type Output = (io::Result<usize>, Box<SendBatch>);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context)
    }
}

struct Owned {
    _socket: Rc<OwnedFd>,
    batch: Box<SendBatch>,
    _in_flight: InFlight,
}

struct Sent;

impl OneshotOutputTransform for Sent {
    type Output = (io::Result<usize>, Box<SendBatch>);
    type StoredData = Owned;

    fn transform_oneshot_output(self, owned: Owned, entry: cqueue::Entry) -> Self::Output {
        (super::result(&entry), owned.batch)
    }
}

/// Writes the whole batch.
pub(crate) fn send(socket: Rc<OwnedFd>, mut batch: Box<SendBatch>) -> Sending {
    batch.describe();
    let entry = opcode::SendMsg::new(types::Fd(socket.as_raw_fd()), &raw const batch.header)
        .flags((libc::MSG_WAITALL | libc::MSG_NOSIGNAL).cast_unsigned())
        .build();
    let owned = Owned { _socket: socket, batch, _in_flight: InFlight::new() };
    Sending(UnsubmittedOneshot::new(owned, Sent, entry).submit())
}
