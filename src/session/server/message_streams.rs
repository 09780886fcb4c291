//! The message streams of one session, and what each is used for.
//!
//! # Invariant
//! At most one publishes. Ids are unique; 0, the control stream, is only there when a peer publishes or plays on it.
//! # Bounds
//! At most `message_streams_max`, each with one key.

use smallvec::SmallVec;

use crate::rtmp::PeerMisbehaved;
use crate::session::StreamKey;

/// What a message stream is used for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Idle,
    Publishing(StreamKey),
    Playing,
}

#[derive(Clone, Debug)]
pub(super) struct MessageStreams {
    streams: SmallVec<[(u32, Use); 1]>,
    max: usize,
}

impl MessageStreams {
    pub(super) fn new(max: usize) -> Self {
        Self { streams: SmallVec::new(), max }
    }

    /// Gives out the lowest free id from 1 on: the first is 1, for which frames have their wire form ready.
    pub(super) fn create(&mut self) -> Result<u32, PeerMisbehaved> {
        // Of max + 1 ids, one is free.
        let free = (1..=self.max as u32 + 1).find(|id| !self.exists(*id)).unwrap_or(1);
        self.add(free).map(|()| free)
    }

    /// Adds a stream that the peer named itself.
    pub(super) fn add(&mut self, id: u32) -> Result<(), PeerMisbehaved> {
        if self.streams.len() >= self.max {
            return Err(PeerMisbehaved::TooManyMessageStreams);
        }
        self.streams.push((id, Use::Idle));
        Ok(())
    }

    pub(super) fn exists(&self, id: u32) -> bool {
        self.streams.iter().any(|(other, _)| *other == id)
    }

    /// What stream `id` is used for; one that does not exist is idle.
    pub(super) fn usage(&self, id: u32) -> &Use {
        self.streams.iter().find(|(other, _)| *other == id).map_or(&Use::Idle, |(_, usage)| usage)
    }

    /// Changes the use of an existing stream and gives what it was before.
    pub(super) fn set(&mut self, id: u32, to: Use) -> Use {
        match self.streams.iter_mut().find(|(other, _)| *other == id) {
            Some((_, usage)) => core::mem::replace(usage, to),
            None => Use::Idle,
        }
    }

    /// Forgets the stream and gives what it was used for.
    pub(super) fn delete(&mut self, id: u32) -> Use {
        match self.streams.iter().position(|(other, _)| *other == id) {
            Some(at) => self.streams.swap_remove(at).1,
            None => Use::Idle,
        }
    }

    /// The stream that publishes, and its key.
    pub(super) fn publishing(&self) -> Option<(u32, &StreamKey)> {
        self.streams.iter().find_map(|(id, usage)| match usage {
            Use::Publishing(key) => Some((*id, key)),
            _ => None,
        })
    }

    /// The first stream that plays.
    pub(super) fn playing(&self) -> Option<u32> {
        self.streams.iter().find_map(|(id, usage)| (*usage == Use::Playing).then_some(*id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_start_at_one_and_come_back_when_deleted() {
        let mut streams = MessageStreams::new(3);
        assert_eq!([streams.create(), streams.create(), streams.create()], [Ok(1), Ok(2), Ok(3)]);
        assert_eq!(streams.create(), Err(PeerMisbehaved::TooManyMessageStreams));
        assert_eq!(streams.delete(2), Use::Idle);
        assert_eq!(streams.create(), Ok(2));
    }

    #[test]
    fn a_stream_that_the_peer_named_is_not_given_out_again() {
        let mut streams = MessageStreams::new(3);
        streams.add(1).unwrap();
        streams.add(0).unwrap();
        assert_eq!(streams.create(), Ok(2));
        assert_eq!(streams.add(9), Err(PeerMisbehaved::TooManyMessageStreams));
    }

    #[test]
    fn the_publishing_stream_is_found_until_its_use_changes() {
        let mut streams = MessageStreams::new(3);
        let key = StreamKey::new("live", "key");
        let (one, two) = (streams.create().unwrap(), streams.create().unwrap());
        streams.set(one, Use::Playing);
        streams.set(two, Use::Publishing(key.clone()));
        assert_eq!(streams.publishing(), Some((two, &key)));
        assert_eq!(streams.playing(), Some(one));
        assert_eq!(streams.set(two, Use::Idle), Use::Publishing(key));
        assert_eq!(streams.publishing(), None);
        assert_eq!(streams.set(99, Use::Playing), Use::Idle);
        assert_eq!(*streams.usage(99), Use::Idle);
    }
}
