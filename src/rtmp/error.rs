//! Errors of the protocol core, named by blame.

use thiserror::Error;

/// Any error of floors 0 and 1, by who is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Error {
    /// The peer broke the protocol or one of our bounds.
    #[error(transparent)]
    PeerMisbehaved(#[from] PeerMisbehaved),
    /// The peer asks, rightfully, for what we do not do.
    #[error(transparent)]
    PeerUnsupported(#[from] PeerUnsupported),
    /// The calling program used the API against its contract.
    #[error(transparent)]
    ApiMisuse(#[from] ApiMisuse),
}

impl Error {
    /// Metric label: stable, snake case, from a bounded set.
    pub fn label(&self) -> &'static str {
        match self {
            Self::PeerMisbehaved(error) => error.label(),
            Self::PeerUnsupported(error) => error.label(),
            Self::ApiMisuse(error) => error.label(),
        }
    }
}

/// Defines an enum whose variants carry a message and a metric label, so that the two cannot drift apart.
macro_rules! labelled_errors {
    ($(#[$meta:meta])* $name:ident { $( $(#[doc = $doc:literal])* $variant:ident
        $( ( $($ty:ty),* ) )? $( { $( $(#[doc = $fdoc:literal])* $field:ident : $fty:ty ),* } )?
        => $label:literal, $message:literal; )* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
        pub enum $name {
            $( $(#[doc = $doc])* #[error($message)] $variant $( ( $($ty),* ) )? $( { $( $(#[doc = $fdoc])* $field : $fty ),* } )?, )*
        }

        impl $name {
            /// Every label that there is, for metrics that start at 0.
            pub const LABELS: &[&str] = &[ $( $label ),* ];

            /// Metric label: stable, snake case, from a bounded set.
            pub fn label(&self) -> &'static str {
                match self { $( Self::$variant { .. } => $label, )* }
            }
        }
    };
}

labelled_errors! {
    /// The peer broke the protocol or one of our bounds.
    PeerMisbehaved {
        /// C0/S0 is neither 3 nor a version that we can name.
        HandshakeVersion(u8) => "handshake_version", "handshake version {0} is not RTMP";
        /// Set Chunk Size of 0 or with the top bit set (RTMP 1.0 §5.4.1).
        ChunkSize(u32) => "chunk_size", "chunk size {0} is outside 1..=0x7fffffff";
        /// The declared length is over our bound.
        MessageTooLong(u32) => "message_too_long", "message of {0} bytes is longer than allowed";
        /// A chunk header changed the length of an unfinished message.
        MessageLengthChanged {
            /// Length declared first, bytes.
            was: u32,
            /// Length declared now, bytes.
            now: u32
        } => "message_length_changed", "message length changed from {was} to {now} in the middle of the message";
        /// More chunk streams in use than allowed.
        TooManyChunkStreams => "too_many_chunk_streams", "too many chunk streams";
        /// Unfinished messages hold more bytes than allowed.
        ReassemblyBytes(usize) => "reassembly_bytes", "unfinished messages hold {0} bytes";
        /// A protocol control message of the wrong size.
        ControlLength {
            /// Message type.
            type_id: u8,
            /// Its length, bytes.
            len: usize
        } => "control_length", "control message type {type_id} has {len} bytes";
        /// An aggregate's parts do not add up (RTMP 1.0 §7.1.6).
        AggregateMalformed => "aggregate_malformed", "aggregate message is malformed";
        /// The budget of work ran out at a chunk with next to no payload, or none.
        TooManyTinyChunks => "too_many_tiny_chunks", "too many tiny chunks";
        /// The budget of work ran out at a media or data message, or one that nobody knows.
        TooManyMessages => "too_many_messages", "too many messages";
        /// The budget of work ran out at a control message: a ping, a window, an acknowledgement.
        TooManyControlMessages => "too_many_control_messages", "too many control messages";
        /// An AMF value ends before its end.
        AmfTruncated => "amf_truncated", "AMF value is truncated";
        /// No such AMF marker.
        AmfMarker(u8) => "amf_marker", "AMF marker {0:#04x} is unknown";
        /// Nested too deeply.
        AmfDepth => "amf_depth", "AMF value is nested too deeply";
        /// Too many values or properties in one message.
        AmfEntries => "amf_entries", "AMF message has too many entries";
        /// Strings and bytes of one message are over the bound.
        AmfBytes => "amf_bytes", "AMF message holds too many bytes";
        /// A reference to what was not sent.
        AmfReference(u32) => "amf_reference", "AMF reference {0} points nowhere";
        /// A string that names a stream is not UTF-8; others are repaired.
        AmfUtf8 => "amf_utf8", "stream name is not UTF-8";
        /// A command without its name, transaction or required argument.
        CommandMalformed => "command_malformed", "command is malformed";
        /// A command that needs a connection came before `connect`.
        CommandBeforeConnect => "command_before_connect", "command came before connect";
        /// A second `connect`.
        ConnectTwice => "connect_twice", "connect was sent twice";
        /// The budget of work ran out at a command.
        TooManyCommands => "too_many_commands", "too many commands";
        /// More message streams than allowed.
        TooManyMessageStreams => "too_many_message_streams", "too many message streams";
        /// Neither app nor name says which stream is meant.
        NameEmpty => "name_empty", "stream name is empty";
        /// App, name or query longer than allowed.
        NameTooLong => "name_too_long", "stream name is too long";
        /// Media on a message stream that publishes nothing.
        MediaBeforePublish => "media_before_publish", "media before publish";
        /// Our answers pile up because the peer does not read them.
        NotReading => "not_reading", "peer does not read our answers";
        /// A PROXY header from an address that is not trusted to say where connections come from.
        ProxyUntrusted => "proxy_untrusted", "PROXY header from an address that proxy.trusted does not have";
        /// A trusted proxy's connection without a PROXY header.
        ProxyMissing => "proxy_missing", "trusted proxy sent no PROXY header";
        /// A PROXY header that does not keep to its form, or is too long.
        ProxyMalformed => "proxy_malformed", "PROXY header is malformed";
        /// Plain bytes where TLS is spoken; the first one.
        NotTls(u8) => "not_tls", "byte {0:#04x} where TLS was expected";
        /// A TLS handshake that is malformed, out of order or too long.
        TlsHandshake => "tls_handshake", "TLS handshake is malformed";
        /// The peer ended TLS with an alert: mostly a client that does not trust our certificate.
        TlsAlert(u8) => "tls_alert", "peer ended TLS with alert {0}";
        /// A server's certificate that is not to be trusted, or is for another name.
        TlsCertificate => "tls_certificate", "the server's certificate is not to be trusted";
        /// A TLS record that is malformed, too long, out of place, or not what was sent.
        TlsRecord => "tls_record", "TLS record is malformed or was changed on its way";
        /// More TLS records a second with next to nothing in them than any encoder sends.
        TooManyTinyRecords => "too_many_tiny_records", "too many tiny TLS records";
        /// A stage took longer than its deadline.
        Deadline(Stage) => "deadline", "{0} took too long";
    }
}

labelled_errors! {
    /// The peer asks, rightfully, for what we do not do.
    PeerUnsupported {
        /// RTMPE and its kin (version 6, 8, 9).
        EncryptedHandshake(u8) => "encrypted_handshake", "encrypted RTMP (version {0}) is not supported";
        /// AMF3 externalizable objects have no self-describing form.
        AmfExternalizable => "amf_externalizable", "AMF3 externalizable objects are not supported";
        /// AMF0 movieclip and recordset: reserved, without a form.
        AmfReserved(u8) => "amf_reserved", "AMF type {0:#04x} is reserved and has no form";
        /// TLS where it is not spoken: the client came to the wrong port.
        TlsHere => "tls_here", "TLS is not spoken on this port";
        /// No TLS version, cipher, key exchange or signature that both sides know.
        TlsParameters => "tls_parameters", "no TLS version, cipher, key exchange or signature in common";
        /// TLS 1.2 cannot renew its keys, and these have protected as much as they safely may.
        TlsKeysUsedUp => "tls_keys_used_up", "keys of TLS 1.2 have protected as much as they may";
        /// An object encoding other than 0 and 3.
        ObjectEncoding(u8) => "object_encoding", "object encoding {0} is not supported";
    }
}

labelled_errors! {
    /// The calling program used the API against its contract.
    ApiMisuse {
        /// A value that AMF0 or AMF3 cannot express.
        AmfValue => "amf_value", "value cannot be written in this AMF version";
        /// A command in a state that does not allow it.
        WrongState => "wrong_state", "not possible in this state";
    }
}

/// The stages of a connection that have a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Until C2 is in.
    Handshake,
    /// Until `connect` is in.
    Connect,
    /// Until `publish` or `play` is in.
    PublishOrPlay,
    /// From the accepted `publish` to the first media message.
    FirstMedia,
    /// While publishing: between two reads that brought bytes.
    Idle,
}

impl core::fmt::Display for Stage {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Handshake => "handshake",
            Self::Connect => "connect",
            Self::PublishOrPlay => "publish or play",
            Self::FirstMedia => "first media",
            Self::Idle => "next byte",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// A label names one kind of error, in the form that metrics want.
    #[test]
    fn labels_are_unique_and_snake_case() {
        let labels = [PeerMisbehaved::LABELS, PeerUnsupported::LABELS, ApiMisuse::LABELS].concat();
        assert_eq!(labels.iter().collect::<BTreeSet<_>>().len(), labels.len());
        for label in labels {
            assert!(label.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_')), "{label}");
        }
    }

    #[test]
    fn errors_say_what_happened_and_keep_their_label_when_wrapped() {
        let error = Error::from(PeerMisbehaved::MessageLengthChanged { was: 10, now: 11 });
        assert_eq!(error.to_string(), "message length changed from 10 to 11 in the middle of the message");
        assert_eq!(error.label(), "message_length_changed");
        assert!(PeerMisbehaved::LABELS.contains(&error.label()));
        assert_eq!(PeerMisbehaved::Deadline(Stage::FirstMedia).to_string(), "first media took too long");
    }
}
