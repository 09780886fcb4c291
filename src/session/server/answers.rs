//! What the server says: control messages, results and statuses, in the order that clients are used to.
//!
//! Control messages go on chunk stream 2, everything else on 3. The media of players has chunk streams of its own, whose
//! headers never refer to what was sent before; ours do, so nothing of ours may go there.

use alloc::string::ToString;
use alloc::vec::Vec;

use super::{ConnectInfo, Failure, ServerSession, code, level};
use crate::rtmp::amf::Value;
use crate::rtmp::chunk::ChunkStreamId;
use crate::rtmp::command::write;
use crate::rtmp::control::BandwidthLimit;
use crate::rtmp::{Control, Error, Message, UserControl};
use crate::session::Notice;

impl ServerSession {
    pub(super) fn send_control(&mut self, control: Control) {
        self.writer.write(ChunkStreamId::CONTROL, &control.to_message(), &mut self.out);
    }

    pub(super) fn send_command(&mut self, message: &Message) {
        self.writer.write(ChunkStreamId::COMMAND, message, &mut self.out);
    }

    pub(super) fn send_status(&mut self, stream_id: u32, level: &str, code: &str, description: &str) {
        // NetConnection codes concern the connection, whatever stream was in use.
        let stream_id = if code.starts_with("NetConnection.") { 0 } else { stream_id };
        self.send_command(&write::on_status(stream_id, level, code, description));
    }

    /// A `_result` that says nothing, to callers that wait for one.
    pub(super) fn answer_empty(&mut self, transaction: f64) {
        if transaction != 0.0 {
            self.send_command(&write::empty_result(transaction));
        }
    }

    /// The order of Flash Media Server: windows and chunk size first, so that they hold for all that follows.
    ///
    /// E-RTMP v2 "Enhancing NetConnection connect Command": what we can do stands in an object of the `_result`, without saying in which;
    /// ours is the information object, where objectEncoding is. Only a peer that said something of Enhanced RTMP itself is told. librtmp and
    /// ffmpeg pass over properties they do not know, but small encoders in cameras have parsers of their own, have never seen a strict
    /// array in an answer, and could do nothing with it.
    pub(super) fn answer_connect(&mut self, transaction: f64, info: &ConnectInfo) {
        let window = self.settings.window_ack_size;
        self.send_control(Control::WindowAckSize(window));
        self.send_control(Control::SetPeerBandwidth { bytes: window, limit: BandwidthLimit::Dynamic });
        self.send_control(Control::SetChunkSize(self.settings.chunk_size_out));
        self.writer.set_chunk_size(self.settings.chunk_size_out);
        let extra = match info.capabilities.speaks_enhanced() {
            true => self.settings.capabilities.properties(),
            false => Vec::new(),
        };
        self.send_command(&write::connect_result(transaction, info.object_encoding.into(), &extra));
    }

    pub(super) fn answer_publish(&mut self, stream_id: u32) {
        if self.announces_publish {
            self.send_command(&write::on_fc_publish("publishing"));
        }
        self.send_status(stream_id, level::STATUS, code::PUBLISH_START, "publishing");
    }

    /// Stream Begin, Reset, Start, as §7.2.2.1 has it; then what Flash players wait for before they show anything.
    pub(super) fn answer_play(&mut self, stream_id: u32, reset: bool) {
        self.send_control(Control::User(UserControl::StreamBegin(stream_id)));
        if reset {
            self.send_status(stream_id, level::STATUS, code::PLAY_RESET, "playing anew");
        }
        self.send_status(stream_id, level::STATUS, code::PLAY_START, "playing live");
        self.send_command(&write::sample_access(stream_id));
        let data_start = Value::object([("code", code::DATA_START.into())]);
        self.send_command(&write::data(stream_id, 0, &["onStatus".into(), data_start]));
    }

    pub(super) fn answer_notice(&mut self, stream_id: u32, notice: Notice) {
        match notice {
            Notice::PublishNotify => {
                self.send_control(Control::User(UserControl::StreamBegin(stream_id)));
                let description = "a publisher came";
                self.send_status(stream_id, level::STATUS, code::PLAY_PUBLISH_NOTIFY, description);
            }
            Notice::UnpublishNotify => {
                let description = "the publisher left; another one may come";
                self.send_status(stream_id, level::STATUS, code::PLAY_UNPUBLISH_NOTIFY, description);
                self.send_control(Control::User(UserControl::StreamEof(stream_id)));
            }
        }
    }

    pub(super) fn answer_pause(&mut self, stream_id: u32, pause: bool) {
        let (code, description) = match pause {
            true => (code::PAUSE_NOTIFY, "paused"),
            false => (code::UNPAUSE_NOTIFY, "playing again, live"),
        };
        self.send_status(stream_id, level::STATUS, code, description);
    }

    /// A live stream has one place to be, and that is where a seek ends up. To call it a failure would stop players:
    /// librtmp and ffmpeg drop all media from their `seek` until this answer.
    pub(super) fn answer_seek(&mut self, stream_id: u32) {
        self.send_status(
            stream_id,
            level::STATUS,
            code::SEEK_NOTIFY,
            "live: playing goes on at the live edge",
        );
    }

    /// §7.2.2.4, §7.2.2.5: no answer when switched off, these two when switched on.
    pub(super) fn answer_receive(&mut self, stream_id: u32, receive: bool) {
        if receive {
            self.send_status(stream_id, level::STATUS, code::SEEK_NOTIFY, "live");
            self.send_status(stream_id, level::STATUS, code::PLAY_START, "playing live");
        }
    }

    /// Answers a call with `_error` and says that it was answered.
    pub(super) fn refuse_call(&mut self, transaction: f64, code: &str, error: Error) -> Failure {
        self.send_command(&write::error(transaction, code, &error.to_string()));
        Failure { error, answered: true }
    }

    /// Answers a publish or play that cannot be with `onStatus` and says that it was answered.
    pub(super) fn refuse_stream(&mut self, stream_id: u32, code: &str, error: Error) -> Failure {
        self.send_status(stream_id, level::ERROR, code, &error.to_string());
        Failure { error, answered: true }
    }
}
