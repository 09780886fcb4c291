//! What was seen of one publisher's messages, by kind of oddity: counted, never fatal.

/// Defines the counters with the labels that metrics show them under.
macro_rules! ingest_counters {
    ($( $(#[doc = $doc:literal])* $name:ident; )*) => {
        /// What was seen of one publisher's messages. Plain integers that only grow.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct IngestCounters { $( $(#[doc = $doc])* pub $name: u64, )* }

        impl IngestCounters {
            /// Calls `f` with the label and the value of each counter; labels are stable and in snake case.
            pub fn for_each(&self, mut f: impl FnMut(&'static str, u64)) {
                $( f(stringify!($name), self.$name); )*
            }
        }
    };
}

ingest_counters! {
    /// Frames handed on.
    frames;
    /// Sequence headers, repeated ones included.
    sequence_headers;
    /// Sequence headers that were the same as the track's last one.
    sequence_headers_repeated;
    /// Messages with nothing in them: dropped.
    messages_empty;
    /// Audio and video messages that end within their header: dropped.
    tags_malformed;
    /// Audio and video messages of a packet type or track layout that we do not know: forwarded.
    packets_unknown;
    /// Audio and video messages of a codec that we do not know: forwarded.
    codecs_unknown;
    /// Configuration records without a byte: forwarded.
    configs_empty;
    /// Configuration records that are malformed, wholly or in part: forwarded.
    configs_malformed;
    /// Sequence headers, track info and metadata too long to be kept for late joiners: forwarded.
    headers_oversized;
    /// Audio and video messages of more tracks than are told apart: forwarded.
    tracks_too_many;
    /// Data messages in AMF3 that became AMF0.
    data_amf3;
    /// Data messages without a name that can be read: forwarded.
    data_unnamed;
    /// Values before the name of a data message: taken off.
    data_stray_values;
    /// `@clearDataFrame`: dropped.
    data_cleared;
    /// `onMetaData` that cannot be read: forwarded.
    metadata_malformed;
}
