//! Settings of the client role.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::rtmp::Limits;
use crate::rtmp::amf::Value;
use crate::rtmp::command::Capabilities;
use crate::rtmp::handshake::HandshakeKind;
use crate::session::ClientUrl;
use crate::session::acknowledgement::WINDOW_BYTES_DEFAULT;

/// What a client is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Sends media.
    Publish,
    /// Receives media.
    Play,
}

/// What one client session is told.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// App, name and tcUrl. Where to connect is the driver's part of it.
    pub url: ClientUrl,
    /// Publisher or player.
    pub role: Role,
    /// How the handshake is begun; an answer of either kind is taken.
    pub handshake: HandshakeKind,
    /// Chunk size of what we send from the answer to `connect` on, bytes; publishers only.
    pub chunk_size_out: u32,
    /// Window that a player announces, bytes.
    pub window_ack_size: u32,
    /// Our name for ourselves. Some servers look at it to decide what to send.
    pub flash_ver: String,
    /// 0 for AMF0, 3 for AMF3: what we claim. What we send is AMF0, which is part of both.
    pub object_encoding: u8,
    /// Whether a player sends `FCSubscribe` first, as some CDNs want it.
    pub fc_subscribe: bool,
    /// The player's buffer, milliseconds.
    pub buffer_ms: u32,
    /// What we say of our Enhanced RTMP. Nothing by default: who drives a session knows what it can do with what a server then sends,
    /// and some servers refuse clients that say anything.
    pub capabilities: Capabilities,
    /// More properties for `connect`.
    pub properties: Vec<(String, Value)>,
    /// From the first byte sent to `Ready`.
    pub ready_deadline: Duration,
    /// Bounds of what a server can make this session hold.
    pub limits: Limits,
}

impl ClientSettings {
    /// The usual settings for a URL and a role.
    pub fn new(url: ClientUrl, role: Role) -> Self {
        Self {
            url,
            role,
            handshake: HandshakeKind::Simple,
            chunk_size_out: 60_000,
            window_ack_size: WINDOW_BYTES_DEFAULT,
            // What encoders and players call themselves; servers tell them by `FMLE`.
            flash_ver: match role {
                Role::Publish => "FMLE/3.0 (compatible; inrush)".into(),
                Role::Play => "LNX 9,0,124,2".into(),
            },
            object_encoding: 0,
            fc_subscribe: false,
            buffer_ms: 3_000,
            capabilities: Capabilities::default(),
            properties: Vec::new(),
            ready_deadline: Duration::from_secs(20),
            limits: Limits::default(),
        }
    }

    /// The command object of `connect` (RTMP 1.0 §7.2.1.1).
    pub(super) fn connect_object(&self) -> Value {
        /// All audio and video codecs of the table in §7.2.1.1.
        const AUDIO_CODECS: f64 = 4095.0;
        const VIDEO_CODECS: f64 = 255.0;

        let mut object: Vec<(String, Value)> = Vec::with_capacity(16 + self.properties.len());
        let mut add = |name: &str, value: Value| object.push((name.into(), value));
        add("app", self.url.app.as_str().into());
        if self.role == Role::Publish {
            add("type", "nonprivate".into());
        }
        add("flashVer", self.flash_ver.as_str().into());
        add("swfUrl", self.url.tc_url.as_str().into());
        add("tcUrl", self.url.tc_url.as_str().into());
        if self.role == Role::Play {
            add("fpad", false.into());
            add("capabilities", 15.0.into());
            add("audioCodecs", AUDIO_CODECS.into());
            add("videoCodecs", VIDEO_CODECS.into());
            add("videoFunction", 1.0.into());
        }
        add("objectEncoding", f64::from(self.object_encoding).into());
        self.capabilities.properties().into_iter().for_each(|(name, value)| add(name, value));
        object.extend(self.properties.iter().cloned());
        Value::Object(object)
    }
}
