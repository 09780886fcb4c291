//! A publisher: writes what its schedule says is due, as far as the socket takes it.
//!
//! Nothing is queued: a message's bytes are made anew from shared media whenever there is something to write, and behind
//! a full socket the publisher stays where it is in its schedule. What it writes late carries the time at which it was due.
//!
//! What is written at once is gathered in one buffer, the thread's. Where messages are small, and many, that costs less than to have
//! the kernel walk a list of slices; where they have tens of kB it costs a little more, and there is time.

use std::sync::atomic::Ordering;

use bytes::BytesMut;
use inrush::rtmp::Payload;
use inrush::rtmp::chunk::WireHeaders;
use smallvec::SmallVec;

use crate::clock::now_us;
use crate::connection::{Connection, Failure, Flushed};
use crate::media::stamp::Stamp;
use crate::plan::{Part, Plan};
use crate::report::{Recorder, Stage};
use crate::schedule::Schedule;

/// A write takes no further message when it has so many, or so many bytes.
const BATCH: usize = 32;
const BATCH_BYTES: usize = 256 * 1024;
/// How long after a full socket it is tried again. Until the kernel has room, trying costs no system call.
const RETRY_US: u64 = 1_000;

/// One publisher whose publish was accepted.
pub struct Publisher {
    connection: Connection,
    schedule: Schedule,
    stream: u32,
    /// Number of the persona.
    persona: usize,
    /// Sequence number of the schedule's first stamp in each lane: a publisher that came back goes on counting.
    first: SmallVec<[u64; 1]>,
    /// The message that is being sent.
    index: u64,
    /// Bytes of it, headers included, that are written.
    offset: usize,
    /// All of it waits in the connection, whose link is narrow.
    staged: bool,
    /// The socket was full, or the link, and what is due has not been written since.
    behind: bool,
    /// It has reached the plan's end.
    done: bool,
}

impl Publisher {
    /// Says the sequence headers; media follows the schedule.
    pub fn new(
        mut connection: Connection,
        schedule: Schedule,
        part: &Part,
        plan: &Plan,
    ) -> Result<Self, Failure> {
        let now = inrush::session::Instant::from_micros(now_us());
        for header in &plan.table(part.stream).media().headers {
            let slices = header.parts.iter().flat_map(|part| [part.head.clone(), part.body.clone()]);
            let payload: Payload = slices.collect();
            connection
                .session()
                .send_media_type(now, header.type_id, plan.timestamp_start_ms, &payload)
                .map_err(|error| misuse(&error))?;
        }
        let mut publisher = Self {
            connection,
            schedule,
            stream: part.stream,
            persona: part.casting.persona,
            first: plan.sent[part.stream as usize]
                .iter()
                .map(|lane| lane.sent.load(Ordering::Relaxed))
                .collect(),
            index: 0,
            offset: 0,
            staged: false,
            behind: false,
            done: false,
        };
        publisher.drain()?;
        Ok(publisher)
    }

    /// When there is something to do first.
    pub fn first_due_us(&self) -> u64 {
        self.schedule.next_due_us(0, 0)
    }

    /// Reads what the server says, which is little.
    pub fn read(&mut self, buffer: &mut BytesMut, recorder: &mut Recorder) -> Result<(), Failure> {
        recorder.bytes_out += self.connection.read(buffer)? as u64;
        self.drain()
    }

    /// Lets the session say what it has to, if no message is half written.
    fn drain(&mut self) -> Result<(), Failure> {
        while self.connection.next_event()?.is_some() {}
        if self.offset == 0 {
            self.connection.flush()?;
        }
        Ok(())
    }

    /// Writes what is due, as `now` and while it writes; when to come again. `None` when the plan's end is reached. What `outgoing`
    /// holds does not matter.
    pub fn write(
        &mut self,
        now: u64,
        plan: &Plan,
        recorder: &mut Recorder,
        outgoing: &mut BytesMut,
    ) -> Result<Option<u64>, Failure> {
        let next_us = if self.connection.link().writes_freely() {
            self.write_freely(now, plan, recorder, outgoing)?
        } else {
            self.write_narrowly(plan, recorder)?
        };
        self.done = next_us.is_none();
        Ok(next_us)
    }

    /// Whether [`Self::write`] has nothing to do any more.
    pub fn is_done(&self) -> bool {
        self.done
    }

    fn write_freely(
        &mut self,
        mut now: u64,
        plan: &Plan,
        recorder: &mut Recorder,
        outgoing: &mut BytesMut,
    ) -> Result<Option<u64>, Failure> {
        if self.behind && !self.connection.has_room() {
            return Ok(Some(now + RETRY_US));
        }
        loop {
            if !self.connection.finish_sending()? {
                self.behind = true;
                return Ok(Some(now + RETRY_US));
            }
            let due_us = self.schedule.due_us(self.index);
            if self.offset == 0 {
                if due_us >= plan.until_us {
                    return Ok(None);
                }
                if self.connection.unsent() > 0 && self.connection.flush()? != Flushed::All {
                    self.behind = true;
                    return Ok(Some(now + RETRY_US));
                }
            }
            let wrote = if now >= due_us {
                self.write_due(now, plan, recorder, outgoing)?
            } else {
                let part = self.schedule.part_due(self.index, now).unwrap_or(0);
                self.write_part(part, due_us, plan, recorder, outgoing)?
            };
            match wrote {
                Wrote::NotDue => {
                    self.behind = false;
                    return Ok(Some(self.schedule.next_due_us(self.index, self.offset)));
                }
                Wrote::Full => {
                    self.behind = true;
                    return Ok(Some(now + RETRY_US));
                }
                Wrote::Some => now = now_us(),
            }
        }
    }

    /// Writes as much of what is due as the socket takes at once, several messages if they are late or come in bursts.
    fn write_due(
        &mut self,
        now: u64,
        plan: &Plan,
        recorder: &mut Recorder,
        outgoing: &mut BytesMut,
    ) -> Result<Wrote, Failure> {
        outgoing.clear();
        let mut batch = SmallVec::<[Outgoing; 2]>::new();
        for index in self.index.. {
            let due_us = self.schedule.due_us(index);
            let due = due_us <= now && due_us < plan.until_us;
            // The first is due, and may be of a message that was begun.
            let full = batch.len() == BATCH || outgoing.len() >= BATCH_BYTES;
            if !batch.is_empty() && (full || !due) {
                break;
            }
            let framed = self.frame(index, due_us, plan)?;
            framed.headers.write_to(&framed.payload, outgoing);
            batch.push(Outgoing { due_us, end: outgoing.len() });
        }
        let Some(bytes) = self.connection.send(&outgoing[self.offset..], self.behind)? else {
            return Ok(Wrote::Full);
        };
        recorder.bytes_in += bytes as u64;
        let (end, mut begin) = (self.offset + bytes, 0);
        for message in &batch {
            if end < message.end {
                self.offset = end - begin;
                break;
            }
            self.on_sent(message.due_us, now, plan, recorder);
            begin = message.end;
        }
        Ok(Wrote::Some)
    }

    /// Writes the message up to `part` bytes.
    fn write_part(
        &mut self,
        part: usize,
        due_us: u64,
        plan: &Plan,
        recorder: &mut Recorder,
        outgoing: &mut BytesMut,
    ) -> Result<Wrote, Failure> {
        if part <= self.offset {
            return Ok(Wrote::NotDue);
        }
        outgoing.clear();
        let framed = self.frame(self.index, due_us, plan)?;
        framed.headers.write_to(&framed.payload, outgoing);
        let end = part.min(outgoing.len());
        if end <= self.offset {
            return Ok(Wrote::NotDue);
        }
        let Some(bytes) = self.connection.send(&outgoing[self.offset..end], self.behind)? else {
            return Ok(Wrote::Full);
        };
        recorder.bytes_in += bytes as u64;
        self.offset += bytes;
        if self.offset == outgoing.len() {
            self.on_sent(due_us, due_us, plan, recorder);
        }
        Ok(Wrote::Some)
    }

    /// Writes through a link that takes less than a socket, message by message.
    fn write_narrowly(&mut self, plan: &Plan, recorder: &mut Recorder) -> Result<Option<u64>, Failure> {
        loop {
            let before = self.connection.unsent();
            let flushed = self.connection.flush()?;
            recorder.bytes_in += (before - self.connection.unsent()) as u64;
            let now = now_us();
            match flushed {
                Flushed::All => {}
                Flushed::Full => {
                    self.behind = true;
                    return Ok(Some(now + RETRY_US));
                }
                Flushed::Until(at_us) => {
                    // A slow link is late by itself, and has no end when the others have.
                    self.behind |= at_us > now;
                    return Ok((at_us <= now || now < plan.until_us).then_some(at_us));
                }
            }
            if self.staged {
                self.staged = false;
                self.count_sent(plan, recorder, self.schedule.due_us(self.index));
                self.index += 1;
            }
            let due_us = self.schedule.due_us(self.index);
            if due_us >= plan.until_us {
                return Ok(None);
            }
            if now < due_us {
                self.behind = false;
                return Ok(Some(due_us));
            }
            if plan.is_measured(due_us) && !self.behind {
                recorder.generator_late(now - due_us);
            }
            let framed = self.frame(self.index, due_us, plan)?;
            let now = inrush::session::Instant::from_micros(now);
            self.connection
                .session()
                .send_media_type(now, framed.type_id, framed.timestamp, &framed.payload)
                .map_err(|error| misuse(&error))?;
            while self.connection.next_event()?.is_some() {}
            self.staged = true;
        }
    }

    /// A message with its stamp and its headers.
    fn frame(&mut self, index: u64, due_us: u64, plan: &Plan) -> Result<Framed, Failure> {
        let message = self.schedule.message(index);
        let mut payload = Payload::new();
        for part in &message.parts {
            let head = match (part.carrier, self.schedule.stamp_number(index, part)) {
                (Some(carrier), Some((lane, number))) => {
                    let sequence = self.first[lane] + number;
                    let (machine, stream, lane) = (plan.machine, self.stream, part.lane);
                    Stamp { machine, stream, lane, sequence, due_us }.behind(&part.head, carrier)
                }
                _ => part.head.clone(),
            };
            payload.push(head);
            payload.push(part.body.clone());
        }
        let timestamp = plan.timestamp_start_ms.wrapping_add(self.schedule.media_ms(index) as u32);
        let type_id = message.type_id;
        let headers = self
            .connection
            .session()
            .wire_headers(type_id, timestamp, payload.len())
            .map_err(|error| misuse(&error))?;
        Ok(Framed { type_id, timestamp, headers, payload })
    }

    /// The last byte of the message was written.
    fn on_sent(&mut self, due_us: u64, now: u64, plan: &Plan, recorder: &mut Recorder) {
        self.count_sent(plan, recorder, due_us);
        if plan.is_measured(due_us) && !self.behind {
            recorder.generator_late(now.saturating_sub(due_us));
        }
        (self.index, self.offset) = (self.index + 1, 0);
    }

    fn count_sent(&self, plan: &Plan, recorder: &mut Recorder, due_us: u64) {
        let message = self.schedule.message(self.index);
        let is_measured = plan.is_measured(due_us);
        if is_measured {
            let parts = message.parts.len() as u64;
            recorder.counts.due += parts;
            recorder.counts.sent += parts;
            recorder.persona(self.persona).counts.sent += parts;
        }
        for part in &message.parts {
            let Some((lane, number)) = self.schedule.stamp_number(self.index, part) else { continue };
            let (number, counts) = (self.first[lane] + number, &plan.sent[self.stream as usize][lane]);
            if is_measured {
                counts.measured_from.fetch_min(number, Ordering::Relaxed);
            }
            counts.sent.store(number + 1, Ordering::Relaxed);
        }
    }

    /// Counts what was due and will not be sent any more.
    pub fn count_unsent(&self, plan: &Plan, recorder: &mut Recorder) {
        let now = now_us();
        let due: usize = (self.index..)
            .map(|index| (self.schedule.due_us(index), index))
            .take_while(|(due_us, _)| *due_us < plan.until_us && *due_us <= now)
            .filter(|(due_us, _)| plan.is_measured(*due_us))
            .map(|(_, index)| self.schedule.message(index).parts.len())
            .sum();
        recorder.counts.due += due as u64;
    }

    /// Says goodbye, as far as the socket takes it.
    pub fn stop(&mut self) {
        self.connection.session().stop(inrush::session::Instant::from_micros(now_us()));
        // The connection closes next, whatever comes of this.
        let _ = self.drain();
        if self.offset == 0 {
            let _ = self.connection.flush();
        }
    }

    /// The connection, for a goodbye; `None` in the middle of a message, where none can be said.
    pub fn into_connection(self) -> Option<Connection> {
        (self.offset == 0).then_some(self.connection)
    }

    /// The connection.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }
}

/// A message as it is sent.
struct Framed {
    type_id: u8,
    timestamp: u32,
    headers: WireHeaders,
    payload: Payload,
}

/// A message among those that are written at once.
struct Outgoing {
    due_us: u64,
    /// Of its bytes in the buffer.
    end: usize,
}

enum Wrote {
    NotDue,
    Full,
    Some,
}

/// The session was closed meanwhile.
fn misuse(error: &inrush::rtmp::ApiMisuse) -> Failure {
    Failure { stage: Stage::Media, kind: error.to_string(), refused: false }
}
