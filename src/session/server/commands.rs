//! What each command of a peer does (RTMP 1.0 §7.2).

use super::{ConnectInfo, Failure, Pending, ServerSession, Use, Wanted, code, level};
use crate::rtmp::command::{self, Command, CommandKind, Connect, PlayTerms, PublishKind};
use crate::rtmp::{Error, Message, PeerMisbehaved};
use crate::session::stream_key::canonical;
use crate::session::{Event, Oddity, PlayRequest, PublishRequest, RequestId, StreamAddress};

impl ServerSession {
    pub(super) fn on_command(&mut self, message: &Message) -> Result<(), Failure> {
        self.counters.commands_in += 1;
        let Command { name, transaction, kind } = command::parse(message, &self.settings.limits.amf)?;
        let stream_id = message.header.stream_id;
        if let Some(recorder) = &mut self.recorder {
            recorder.on_command(self.now, &name, transaction, stream_id);
        }
        match kind {
            CommandKind::Connect(connect) => self.on_connect(transaction, *connect),
            // A client has no reason to answer what was never asked, and no harm in it.
            CommandKind::Result { .. }
            | CommandKind::Error { .. }
            | CommandKind::OnStatus { .. }
            | CommandKind::OnBwDone
            | CommandKind::OnFcPublish { .. }
            | CommandKind::OnFcUnpublish { .. }
            | CommandKind::OnFcSubscribe { .. } => {
                self.tolerate(Oddity::UnaskedAnswer);
                Ok(())
            }
            // What nobody knows, and the bandwidth check, ask for nothing that takes a connection.
            CommandKind::Unknown | CommandKind::CheckBandwidth => {
                self.on_connected_command(stream_id, transaction, kind)
            }
            _ if self.connect.is_none() => Err(PeerMisbehaved::CommandBeforeConnect.into()),
            kind => self.on_connected_command(stream_id, transaction, kind),
        }
    }

    fn on_connect(&mut self, transaction: f64, connect: Connect) -> Result<(), Failure> {
        if self.connect.is_some() {
            return Err(PeerMisbehaved::ConnectTwice.into());
        }
        let info = ConnectInfo::new(connect, &self.settings.limits)
            .map_err(|error| self.refuse_call(transaction, code::CONNECT_REJECTED, error))?;
        if let Some(recorder) = &mut self.recorder {
            recorder.on_secret(&info.tc_url);
            recorder.on_secret(&info.app);
        }
        self.answer_connect(transaction, &info);
        self.connect = Some(info);
        self.stage_since = self.now;
        self.events.push_back(Event::Connected);
        Ok(())
    }

    fn on_connected_command(
        &mut self,
        stream_id: u32,
        transaction: f64,
        kind: CommandKind,
    ) -> Result<(), Failure> {
        match kind {
            CommandKind::CreateStream => {
                let created = self.streams.create();
                let id = created
                    .map_err(|error| self.refuse_call(transaction, code::CALL_FAILED, error.into()))?;
                self.send_command(&command::write::create_stream_result(transaction, id));
            }
            CommandKind::ReleaseStream { .. } | CommandKind::CheckBandwidth => self.answer_empty(transaction),
            CommandKind::FcPublish { .. } => {
                self.announces_publish = true;
                self.answer_empty(transaction);
            }
            CommandKind::FcSubscribe { name } => {
                self.answer_empty(transaction);
                self.send_command(&command::write::on_fc_subscribe(&name));
            }
            // Live has no length.
            CommandKind::GetStreamLength { .. } => {
                self.send_command(&command::write::number_result(transaction, 0.0));
            }
            CommandKind::Publish { name, kind } => return self.on_publish(stream_id, &name, kind),
            CommandKind::Play { name, terms } => return self.on_play(stream_id, &name, terms),
            CommandKind::Play2 { name, .. } => {
                let terms = PlayTerms { reset: Some(false), ..PlayTerms::default() };
                return self.on_play(stream_id, &name, terms);
            }

            CommandKind::Unpublish => self.on_unpublish(),
            CommandKind::FcUnpublish { name } => {
                self.answer_empty(transaction);
                self.send_command(&command::write::on_fc_unpublish(&name));
                self.on_unpublish();
            }
            CommandKind::CloseStream => match self.streams.usage(stream_id) {
                Use::Idle => {}
                Use::Publishing(_) => self.on_unpublish(),
                Use::Playing => {
                    self.stop(stream_id);
                    self.send_status(stream_id, level::STATUS, code::PLAY_STOP, "stopped as asked");
                }
            },
            // Gets no answer (§7.2.2.3).
            CommandKind::DeleteStream { stream_id } => {
                let stream_id = stream_id as u32; // saturates; a stream that does not exist is none to delete
                self.stop(stream_id);
                self.streams.delete(stream_id);
            }

            CommandKind::Pause { pause, .. } if self.plays(stream_id) => {
                self.answer_pause(stream_id, pause);
                self.events.push_back(Event::Paused { stream_id, paused: pause });
            }
            CommandKind::Seek { .. } if self.plays(stream_id) => self.answer_seek(stream_id),
            CommandKind::ReceiveAudio(receive) if self.plays(stream_id) => {
                self.answer_receive(stream_id, receive);
                self.events.push_back(Event::ReceiveAudio { stream_id, receive });
            }
            CommandKind::ReceiveVideo(receive) if self.plays(stream_id) => {
                self.answer_receive(stream_id, receive);
                self.events.push_back(Event::ReceiveVideo { stream_id, receive });
            }
            CommandKind::Pause { .. }
            | CommandKind::Seek { .. }
            | CommandKind::ReceiveAudio(_)
            | CommandKind::ReceiveVideo(_) => {
                self.tolerate(Oddity::CommandOnIdleStream);
                self.answer_empty(transaction);
            }
            _ => {
                self.tolerate(Oddity::UnknownCommand);
                self.answer_empty(transaction);
            }
        }
        Ok(())
    }

    fn on_publish(&mut self, stream_id: u32, name: &str, kind: PublishKind) -> Result<(), Failure> {
        self.keep_secret(name);
        let address = self
            .address(name)
            .map_err(|error| self.refuse_stream(stream_id, code::PUBLISH_BAD_NAME, error))?;
        self.ensure_stream(stream_id, code::PUBLISH_DENIED)?;
        if let Some((publishing_id, key)) = self.streams.publishing() {
            if publishing_id == stream_id && *key == address.key {
                self.tolerate(Oddity::RepeatedPublish);
                self.answer_publish(stream_id);
                return Ok(());
            }
            self.tolerate(Oddity::PublishReplaced);
            self.stop(publishing_id);
        }
        self.stop(stream_id);
        let request = self.request(stream_id, Wanted::Publish(address.key.clone()));
        self.events.push_back(Event::PublishRequested(PublishRequest { request, stream_id, address, kind }));
        Ok(())
    }

    fn on_play(&mut self, stream_id: u32, name: &str, terms: PlayTerms) -> Result<(), Failure> {
        self.keep_secret(name);
        let address =
            self.address(name).map_err(|error| self.refuse_stream(stream_id, code::PLAY_FAILED, error))?;
        self.ensure_stream(stream_id, code::PLAY_FAILED)?;
        self.stop(stream_id);
        let request = self.request(stream_id, Wanted::Play { reset: terms.reset.unwrap_or(true) });
        self.events.push_back(Event::PlayRequested(PlayRequest { request, stream_id, address, terms }));
        Ok(())
    }

    /// Whatever stream it was said on: one publish is all that a session has.
    fn on_unpublish(&mut self) {
        if let Some((publishing_id, _)) = self.streams.publishing() {
            self.stop(publishing_id);
            self.send_status(publishing_id, level::STATUS, code::UNPUBLISH_SUCCESS, "unpublished as asked");
        }
    }

    /// Ends what the stream is used for, if anything.
    fn stop(&mut self, stream_id: u32) {
        if self.streams.set(stream_id, Use::Idle) != Use::Idle {
            self.stage_since = self.now;
            self.events.push_back(Event::Stopped { stream_id });
        }
    }

    /// A name is not shown in a recording.
    fn keep_secret(&mut self, name: &str) {
        if let Some(recorder) = &mut self.recorder {
            recorder.on_secret(name);
        }
    }

    fn plays(&self, stream_id: u32) -> bool {
        *self.streams.usage(stream_id) == Use::Playing
    }

    fn request(&mut self, stream_id: u32, what: Wanted) -> RequestId {
        let request = RequestId(self.requests);
        self.requests = self.requests.wrapping_add(1);
        self.pending = Some(Pending { request, stream_id, what });
        request
    }

    fn address(&self, name: &str) -> Result<StreamAddress, Error> {
        let (tc_url, app) = self.connect.as_ref().map_or(("", ""), |info| (&info.tc_url, &info.app));
        if name.len() > self.settings.limits.name_bytes_max {
            return Err(PeerMisbehaved::NameTooLong.into());
        }
        Ok(canonical(tc_url, app, name)?)
    }

    /// A stream that `createStream` never gave out exists from its first use on.
    fn ensure_stream(&mut self, stream_id: u32, code: &'static str) -> Result<(), Failure> {
        if !self.streams.exists(stream_id) {
            self.streams.add(stream_id).map_err(|error| self.refuse_stream(stream_id, code, error.into()))?;
            self.tolerate(Oddity::StreamNotCreated);
        }
        Ok(())
    }
}
