//! What peers do that the protocol does not foresee, and that we let pass: counted by kind, never an error.

macro_rules! oddities {
    ($( $(#[doc = $doc:literal])* $variant:ident => $label:literal; )*) => {
        /// Something odd that was tolerated.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Oddity { $( $(#[doc = $doc])* $variant, )* }

        impl Oddity {
            /// Every kind, in order.
            pub const ALL: &'static [Self] = &[ $( Self::$variant, )* ];

            /// Metric label: stable, snake case, from a bounded set.
            pub fn label(self) -> &'static str {
                match self { $( Self::$variant => $label, )* }
            }
        }
    };
}

oddities! {
    /// Audio, video or data while nothing is published here: dropped.
    ///
    /// The tail of a stream that was just unpublished comes this way; so does an encoder that does not wait.
    StrayMedia => "stray_media";
    /// Media on another message stream than the one that publishes: taken as the publisher's.
    MediaOnOtherStream => "media_on_other_stream";
    /// `publish` or `play` on a message stream that `createStream` never gave out: it exists from now on.
    StreamNotCreated => "stream_not_created";
    /// `publish` of the key that this stream publishes already (Wirecast): answered, and nothing changes.
    RepeatedPublish => "repeated_publish";
    /// A newer `publish` of the same session took the place of the one before.
    PublishReplaced => "publish_replaced";
    /// A command that we do not know: answered harmlessly.
    UnknownCommand => "unknown_command";
    /// A result, error or status that a client has no reason to send: ignored.
    UnaskedAnswer => "unasked_answer";
    /// A user control event that we do not know: ignored.
    UnknownUserControl => "unknown_user_control";
    /// A message type that we do not know: ignored.
    UnknownMessageType => "unknown_message_type";
    /// A shared object message: ignored, there are none here.
    SharedObject => "shared_object";
    /// A chunk stream began with a header that refers to one before it: dropped as a message of no length.
    HeaderlessStart => "headerless_start";
    /// A command on a message stream where nothing plays or publishes: ignored.
    CommandOnIdleStream => "command_on_idle_stream";
    /// An acknowledgement window so small that it would cost a message for each read: we acknowledge less often.
    TinyWindow => "tiny_window";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_unique_and_snake_case() {
        let mut labels: Vec<_> = Oddity::ALL.iter().map(|oddity| oddity.label()).collect();
        assert!(labels.iter().all(|l| l.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')));
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), Oddity::ALL.len());
    }
}
