//! A core's answers to the control HTTP: walks over its slabs.

use std::cmp::Reverse;

use super::connection::{Activity, Connection};
use super::core::Core;
use super::inbox::Ask;
use super::observe::{ConnectionId, ConnectionInfo, HealthInfo, Role, Selection, StreamInfo, TrackInfo};
use crate::hub::{PublisherView, StreamView};
use crate::media::{MediaKind, Track, Tracks};
use crate::session::{CloseReason, Encoder, Instant};

impl Core {
    /// Answers a question. Nobody may be waiting any more: then the answer is dropped.
    pub(crate) fn answer(&mut self, ask: Ask) {
        match ask {
            Ask::Streams(answer) => drop(answer.send(self.stream_infos())),
            Ask::Selected(of, answer) => drop(answer.send(self.selected_infos(&of))),
            Ask::Connections(answer) => drop(answer.send(self.connection_infos())),
            Ask::Outgoing(answer) => drop(answer.send(self.outgoing_infos())),
            Ask::Drain(answer) => drop(answer.send(self.drain_figures())),
            Ask::Kick(id, answer) => drop(answer.send(self.close_by_id(id, CloseReason::Kicked))),
        }
    }

    /// Closes a connection; false when it is not here.
    pub(crate) fn close_by_id(&mut self, id: ConnectionId, reason: CloseReason) -> bool {
        let found = self.keys_where(|connection| connection.id == id);
        for key in &found {
            self.close(*key, reason);
        }
        !found.is_empty()
    }

    /// Closes those of these connections that are here; they come in their order.
    pub(crate) fn close_all(&mut self, ids: &[ConnectionId], reason: CloseReason) {
        for key in self.keys_where(|connection| ids.binary_search(&connection.id).is_ok()) {
            self.close(key, reason);
        }
    }

    fn stream_infos(&self) -> Vec<StreamInfo> {
        let now = self.now();
        self.hub.streams().filter(StreamView::is_home).map(|stream| self.stream_info(stream, now)).collect()
    }

    /// Looks at every stream, and describes only those that are asked for.
    fn selected_infos(&self, of: &Selection) -> Vec<StreamInfo> {
        let now = self.now();
        let streams = self.hub.streams().filter(|stream| stream.is_home() && !stream.is_dry_run());
        let selected: Vec<StreamView<'_>> = match of {
            Selection::Named(names) => {
                let is_named = |stream: &StreamView<'_>| {
                    let key = stream.key();
                    names.iter().any(|(app, name)| app == key.app() && name == key.name())
                };
                streams.filter(is_named).collect()
            }
            Selection::Top(count) => {
                let mut published: Vec<(u64, StreamView<'_>)> =
                    streams.filter_map(|stream| Some((self.rate_in(stream.publisher()?), stream))).collect();
                if published.len() > *count {
                    // No order among them is asked for, so that none is paid for.
                    published.select_nth_unstable_by_key(*count, |(rate, _)| Reverse(*rate));
                    published.truncate(*count);
                }
                published.into_iter().map(|(_, stream)| stream).collect()
            }
        };
        selected.into_iter().map(|stream| self.stream_info(stream, now)).collect()
    }

    /// Bytes a second that come from a publisher's connection.
    fn rate_in(&self, publisher: PublisherView<'_>) -> u64 {
        let connection = self.connection_ref(publisher.connection().into());
        connection.map_or(0, |connection| connection.rate_in.per_second())
    }

    fn stream_info(&self, stream: StreamView<'_>, now: Instant) -> StreamInfo {
        let key = stream.key();
        let idle = StreamInfo {
            app: key.app().into(),
            name: key.name().into(),
            name_hash: self.shared.names.hash(key.name()),
            core: self.id.0,
            dry_run: stream.is_dry_run(),
            standby: stream.standby().and_then(|standby| self.id_of(standby)),
            absent: stream.is_absent(),
            discontinuities: stream.discontinuities(),
            subscribers: stream.subscribers(),
            gop_bytes: stream.gop_bytes() as u64,
            gop_frames: stream.gop_frames() as u64,
            ..StreamInfo::default()
        };
        let Some(publisher) = stream.publisher() else { return idle };
        let connection = self.connection_ref(publisher.connection().into());
        let ingest = publisher.ingest();
        StreamInfo {
            publisher: connection.map(|connection| connection.id),
            health: HealthInfo::all_of(publisher, now),
            codecs: ingest.tracks().iter().map(|track| track.codec_string.clone()).collect(),
            tracks: ingest.tracks().iter().map(TrackInfo::from).collect(),
            resolution: resolution(ingest.tracks()),
            audio: audio_format(ingest.tracks()),
            limits: ingest.limits().cloned().unwrap_or_default(),
            announced_tracks: ingest.metadata().map(|hints| hints.tracks.clone()).unwrap_or_default(),
            bits_in_per_second: connection.map_or(0, |connection| connection.rate_in.per_second() * 8),
            bytes_in: publisher.bytes(),
            messages_in: publisher.messages(),
            timestamp_steps_back: ingest.timestamp_counters().steps_back.total(),
            tcp: connection.and_then(|connection| connection.tcp_info(now)),
            ingest: *ingest.counters(),
            timestamp_jumps: ingest.timestamp_counters().jumps.total(),
            timestamps_held: ingest.timestamp_counters().held,
            timestamp_clock_changes: ingest.timestamp_counters().clock_changes,
            media: Some(ingest.figures().into()),
            uptime_seconds: (now - publisher.since()).as_secs_f64(),
            ..idle
        }
    }

    fn id_of(&self, publisher: PublisherView<'_>) -> Option<ConnectionId> {
        self.connection_ref(publisher.connection().into()).map(|connection| connection.id)
    }

    /// What a connection is there for now.
    pub(crate) fn role_of(&self, connection: &Connection) -> Role {
        let stands_by = |publisher| self.hub.publisher(publisher).is_some_and(|view| view.is_standby());
        match connection.activity {
            _ if connection.session.is_made() => connection.role,
            Activity::None | Activity::Moving { .. } => Role::Pending,
            Activity::Publishing { publisher, .. } if stands_by(publisher) => Role::Standby,
            Activity::Publishing { .. } => Role::Publisher,
            Activity::Playing(_) => Role::Player,
        }
    }

    fn connection_infos(&self) -> Vec<ConnectionInfo> {
        let now = self.now();
        self.connections.iter().map(|(_, (_, connection))| self.connection_info(connection, now)).collect()
    }

    fn connection_info(&self, connection: &Connection, now: Instant) -> ConnectionInfo {
        let info = connection.session.connect_info();
        let stream = Self::stream_of(connection);
        let mut dropped = connection.totals.dropped;
        let mut tracks = None;
        let mut health = Vec::new();
        match &connection.activity {
            Activity::Publishing { publisher, .. } => {
                let view = self.hub.publisher(*publisher);
                tracks = view.map(|view| view.ingest().tracks());
                health = view.map(|view| HealthInfo::all_of(view, now)).unwrap_or_default();
            }
            Activity::Playing(playing) => {
                let views = playing.iter().filter_map(|one| self.hub.subscriber(one.subscriber));
                dropped += views.map(|view| view.totals().dropped.total()).sum::<u64>();
            }
            Activity::None | Activity::Moving { .. } => {}
        }
        ConnectionInfo {
            id: connection.id,
            peer: connection.peer,
            core: self.id.0,
            role: self.role_of(connection),
            app: stream.map_or_else(
                || info.map(|info| first_segment(&info.app).to_owned()).unwrap_or_default(),
                |key| key.app().into(),
            ),
            name: stream.map(|key| key.name().into()).unwrap_or_default(),
            name_hash: stream.map(|key| self.shared.names.hash(key.name())).unwrap_or_default(),
            flash_ver: info.map(|info| info.flash_ver.clone()).unwrap_or_default(),
            capabilities: info.map(|info| info.capabilities.clone()).unwrap_or_default(),
            encoder: self.encoder_of(connection),
            bits_in_per_second: connection.rate_in.per_second() * 8,
            bits_out_per_second: connection.rate_out.per_second() * 8,
            bytes_in: connection.totals.bytes_in,
            bytes_out: connection.totals.bytes_out,
            messages_in: connection.totals.messages_in,
            messages_out: connection.totals.messages_out,
            dropped,
            held_bytes: connection.held_bytes() as u64,
            uptime_seconds: (now - connection.accepted_at).as_secs_f64(),
            codecs: tracks.map(codec_list).unwrap_or_default(),
            resolution: tracks.and_then(resolution),
            health,
            tls: connection.tls().and_then(|tls| tls.info().cloned()),
            tcp: connection.tcp_info(now),
            traffic: connection.traffic.read(&connection.socket),
        }
    }
}

/// The first part of an app as `connect` has it. What follows may be a stream's name that is a key, or a query with a token, and until the peer has
/// asked for a stream nobody can tell.
fn first_segment(app: &str) -> &str {
    app.trim_start_matches('/').split(['/', '?']).next().unwrap_or_default()
}

impl Core {
    /// What the peer is taken for, by all that is known of it now.
    pub(crate) fn encoder_of(&self, connection: &Connection) -> Encoder {
        let Some(session) = connection.session.server() else { return Encoder::Unknown };
        let Some(info) = session.connect_info() else { return Encoder::Unknown };
        let metadata = match &connection.activity {
            Activity::Publishing { publisher, .. } => {
                self.hub.publisher(*publisher).and_then(|view| view.ingest().metadata()?.encoder.as_deref())
            }
            // What it said while it published stands.
            _ if connection.encoder != Encoder::Unknown => return connection.encoder,
            _ => None,
        };
        Encoder::of(&info.flash_ver, metadata, session.behaviour())
    }
}

impl From<&Track> for TrackInfo {
    fn from(track: &Track) -> Self {
        Self {
            id: track.id.0,
            is_video: track.kind == MediaKind::Video,
            codec: track.codec.label().into_owned(),
            codec_string: track.codec_string.clone(),
            resolution: track.size.map(|size| (size.width, size.height)),
            sample_rate_hz: track.sample_rate,
            channels: track.channels,
        }
    }
}

/// The codec strings of all tracks, comma separated.
pub(crate) fn codec_list(tracks: &Tracks) -> String {
    tracks.iter().map(|track| track.codec_string.as_str()).collect::<Vec<_>>().join(",")
}

fn resolution(tracks: &Tracks) -> Option<(u32, u32)> {
    tracks.default_video()?.size.map(|size| (size.width, size.height))
}

fn audio_format(tracks: &Tracks) -> Option<(u32, u8)> {
    let track = tracks.default_audio()?;
    Some((track.sample_rate?, track.channels?))
}

#[cfg(test)]
mod tests {
    use super::first_segment;

    #[test]
    fn what_may_be_a_key_in_connect_is_not_shown() {
        for (app, shown) in [
            ("live", "live"),
            ("live/secret", "live"),
            ("/live/secret", "live"),
            ("live?token=secret", "live"),
            ("live/secret?token=secret", "live"),
            ("?token=secret", ""),
            ("", ""),
        ] {
            assert_eq!(first_segment(app), shown, "{app}");
        }
    }
}
