//! A reader that goes on where another one stood.

use proptest::prelude::*;

use super::round_trip::{carry_out, plan};
use super::*;

/// Bytes of a payload that no state keeps are zeros.
fn with_zeros(payload: &Payload, count: usize) -> Payload {
    let mut bytes = payload.to_vec();
    let count = count.min(bytes.len());
    bytes[..count].fill(0);
    Bytes::from(bytes).into()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Wherever a session is cut: what a resumed reader reads is what the first one would have read, but for the beginnings of messages
    /// that had begun before.
    #[test]
    fn a_resumed_reader_reads_the_rest(plan in plan(), cut in any::<prop::sample::Index>()) {
        let (bytes, _) = carry_out(&plan);
        let cut = cut.index(bytes.len() + 1);
        let mut first = reader();
        feed(&mut first, &bytes[..cut]).unwrap();
        let Some(state) = first.state() else {
            // A message that says how to read on is unfinished; it has four bytes, so that cannot last.
            return Ok(());
        };
        let mut resumed = ChunkReader::resume(&Limits::default(), &state).unwrap();
        prop_assert_eq!(resumed.state(), Some(state.clone()), "nothing is lost by resuming");

        let expected = feed(&mut first, &bytes[cut..]).unwrap();
        let read = feed(&mut resumed, &bytes[cut..]).unwrap();
        prop_assert_eq!(read.len(), expected.len());
        let mut begun: Vec<_> = state.streams.iter().filter(|stream| stream.arrived.is_some()).collect();
        for (read, expected) in read.into_iter().zip(expected) {
            prop_assert_eq!(read.header, expected.header);
            // Of messages alike it is the first on its chunk stream that had begun.
            let had_begun = begun.iter().position(|stream| {
                (stream.header, stream.length as usize) == (expected.header, expected.payload.len())
                    && read.payload == with_zeros(&expected.payload, stream.arrived.unwrap_or(0) as usize)
            });
            match had_begun {
                Some(at) => drop(begun.remove(at)),
                None => prop_assert_eq!(read.payload, expected.payload),
            }
        }
    }
}

/// A state that no reader has, as a file may hold one, is refused or comes to something harmless.
#[test]
fn a_state_that_cannot_be_is_harmless() {
    let stream = |id: u32, length, arrived| StreamState {
        id: ChunkStreamId::new(id).unwrap(),
        header: header(0, 9, 1),
        length,
        delta: 0,
        extended: None,
        repeats_extended: None,
        arrived,
    };
    let state = |chunk_size, streams, open| ReaderState { chunk_size, streams, open, unparsed: Bytes::new() };
    let limits = Limits::default();
    let resume = |state: ReaderState| ChunkReader::resume(&limits, &state);
    let id = |id| ChunkStreamId::new(id).unwrap();

    let too_long = state(128, vec![stream(3, 0xff_ffff, Some(5))], None);
    assert_eq!(resume(too_long).unwrap_err(), PeerMisbehaved::MessageTooLong(0xff_ffff));
    let too_many = state(128, (3..100).map(|id| stream(id, 1, None)).collect(), None);
    assert_eq!(resume(too_many).unwrap_err(), PeerMisbehaved::TooManyChunkStreams);
    let too_much = state(128, (3..9).map(|id| stream(id, 8 << 20, Some(8 << 20))).collect(), None);
    assert!(matches!(resume(too_much).unwrap_err(), PeerMisbehaved::ReassemblyBytes(_)));

    for (chunk_size, arrived, open) in [
        (0, Some(7), Some((id(3), 100))),
        (128, Some(10), Some((id(3), 1))),
        (128, None, Some((id(3), 1))),
        (128, Some(0), Some((id(4), 1))),
    ] {
        let mut reader = resume(state(chunk_size, vec![stream(3, 7, arrived)], open)).unwrap();
        assert!(reader.missing_bytes() > 0);
        let _ = feed(&mut reader, &[0xc3; 200]);
    }
}
