//! A publisher: writes what its schedule says is due, as far as the socket takes it.
//!
//! Nothing is queued: a message's bytes are made anew from shared media whenever there is something to write, and behind
//! a full socket the publisher stays where it is in its schedule. What it writes late carries the time at which it was due.

use std::io::IoSlice;

use inrush::rtmp::Payload;
use smallvec::SmallVec;

use crate::clock::now_us;
use crate::connection::{Connection, Failure};
use crate::media::stamp::Stamp;
use crate::plan::Plan;
use crate::report::{Recorder, Stage};
use crate::schedule::Schedule;

/// Slices a write takes at most.
const SLICES: usize = 64;
/// How long after a full socket it is tried again. Until the kernel has room, trying costs no system call.
const RETRY_US: u64 = 1_000;

/// One publisher whose publish was accepted.
pub struct Publisher {
    connection: Connection,
    schedule: Schedule,
    stream: u32,
    /// The message that is being sent.
    index: u64,
    /// Bytes of it, headers included, that are written.
    offset: usize,
    /// The socket was full, and what is due has not been written since.
    behind: bool,
}

impl Publisher {
    /// Says the sequence headers; media follows the schedule.
    pub fn new(
        mut connection: Connection,
        schedule: Schedule,
        stream: u32,
        plan: &Plan,
    ) -> Result<Self, Failure> {
        let now = inrush::session::Instant::from_micros(now_us());
        for header in &plan.table.media().headers {
            let payload: Payload = [header.head.clone(), header.body.clone()].into_iter().collect();
            connection
                .session()
                .send_media_type(now, header.type_id, plan.timestamp_start_ms, &payload)
                .map_err(|error| misuse(&error))?;
        }
        let mut publisher = Self { connection, schedule, stream, index: 0, offset: 0, behind: false };
        publisher.drain()?;
        Ok(publisher)
    }

    /// When there is something to do first.
    pub fn first_due_us(&self) -> u64 {
        self.schedule.next_due_us(0, 0)
    }

    /// Reads what the server says, which is little.
    pub fn read(&mut self, buffer: &mut bytes::BytesMut, recorder: &mut Recorder) -> Result<(), Failure> {
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

    /// Writes what is due; when to come again. `None` when the plan's end is reached.
    pub fn write(&mut self, plan: &Plan, recorder: &mut Recorder) -> Result<Option<u64>, Failure> {
        loop {
            let due_us = self.schedule.due_us(self.index);
            if self.offset == 0 {
                if due_us >= plan.until_us {
                    return Ok(None);
                }
                if self.connection.unsent() > 0 && !self.connection.flush()? {
                    self.behind = true;
                    return Ok(Some(now_us() + RETRY_US));
                }
            }
            let now = now_us();
            let part =
                if now >= due_us { None } else { Some(self.schedule.part_due(self.index, now).unwrap_or(0)) };
            match self.write_part(part, due_us, plan)? {
                Wrote::NotDue => {
                    self.behind = false;
                    return Ok(Some(self.schedule.next_due_us(self.index, self.offset)));
                }
                Wrote::Full => {
                    self.behind = true;
                    return Ok(Some(now + RETRY_US));
                }
                Wrote::Some { bytes, whole } => {
                    recorder.bytes_in += bytes as u64;
                    if whole {
                        if plan.is_measured(due_us) {
                            recorder.counts.due += 1;
                            recorder.counts.sent += 1;
                            if !self.behind {
                                recorder.generator_late(now.saturating_sub(due_us));
                            }
                        }
                        (self.index, self.offset) = (self.index + 1, 0);
                        plan.sent[self.stream as usize]
                            .store(self.index, std::sync::atomic::Ordering::Relaxed);
                    }
                }
            }
        }
    }

    /// Writes the message up to `part` bytes, or to its end.
    fn write_part(&mut self, part: Option<usize>, due_us: u64, plan: &Plan) -> Result<Wrote, Failure> {
        if part.is_some_and(|part| part <= self.offset) {
            return Ok(Wrote::NotDue);
        }
        let message = self.schedule.message(self.index);
        let stamp = Stamp { machine: plan.machine, stream: self.stream, sequence: self.index, due_us };
        let head = match message.carrier {
            Some(carrier) => stamp.behind(&message.head, carrier),
            None => message.head.clone(),
        };
        let payload: Payload = [head, message.body.clone()].into_iter().collect();
        let timestamp = plan.timestamp_start_ms.wrapping_add(self.schedule.media_ms(self.index) as u32);
        let type_id = message.type_id;
        let headers = self
            .connection
            .session()
            .wire_headers(type_id, timestamp, payload.len())
            .map_err(|error| misuse(&error))?;
        let length = headers.wire_len();
        let end = part.map_or(length, |part| part.min(length));
        if end <= self.offset {
            return Ok(Wrote::NotDue);
        }
        let mut slices = SmallVec::<[IoSlice<'_>; SLICES]>::new();
        let (mut skip, mut left) = (self.offset, end - self.offset);
        headers.for_each_slice(&payload, |slice| {
            let skipped = skip.min(slice.len());
            skip -= skipped;
            let wanted = left.min(slice.len() - skipped);
            if wanted > 0 && slices.len() < SLICES {
                slices.push(IoSlice::new(&slice[skipped..skipped + wanted]));
                left -= wanted;
            }
        });
        match self.connection.socket().try_write_vectored(&slices) {
            Ok(bytes) => {
                self.offset += bytes;
                Ok(Wrote::Some { bytes, whole: self.offset == length })
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(Wrote::Full),
            Err(error) => {
                Err(Failure { stage: Stage::Media, kind: error.kind().to_string(), refused: false })
            }
        }
    }

    /// Counts what was due and will not be sent any more.
    pub fn count_unsent(&self, plan: &Plan, recorder: &mut Recorder) {
        let now = now_us();
        let due = (self.index..)
            .map(|index| self.schedule.due_us(index))
            .take_while(|due_us| *due_us < plan.until_us && *due_us <= now)
            .filter(|due_us| plan.is_measured(*due_us))
            .count();
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

    /// The connection.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }
}

enum Wrote {
    NotDue,
    Full,
    Some { bytes: usize, whole: bool },
}

/// The session was closed meanwhile.
fn misuse(error: &inrush::rtmp::ApiMisuse) -> Failure {
    Failure { stage: Stage::Media, kind: error.to_string(), refused: false }
}
