//! What either end says of its Enhanced RTMP in `connect` and its answer (E-RTMP v2 "Enhancing NetConnection connect Command").
//!
//! The same four properties go both ways: `fourCcList`, `videoFourCcInfoMap`, `audioFourCcInfoMap` and `capsEx`. A client has them in
//! its command object, a server in an object of its `_result`.
//! # Leniency
//! All of it is optional, so what has the wrong type counts as absent, entry by entry. A bit that the specification does not know is
//! kept, and shown as nothing.
//! # Bounds
//! [`FOURCCS_MAX`] entries a list or map are kept. The wildcard is found wherever it stands.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::rtmp::FourCc;
use crate::rtmp::amf::Value;

/// FourCCs that are kept of a list or of a map. The specification names twelve; what comes after the 32nd is as good as not sent.
pub const FOURCCS_MAX: usize = 32;

const FOURCC_LIST: &str = "fourCcList";
const VIDEO_INFO_MAP: &str = "videoFourCcInfoMap";
const AUDIO_INFO_MAP: &str = "audioFourCcInfoMap";
const CAPS_EX: &str = "capsEx";
/// So spelled by some servers.
const CAPS_EX_MISSPELLED: &str = "CapsEx";
/// Stands for every codec.
const WILDCARD: &str = "*";

/// What one end says that it can do; all empty when it said nothing, or knows nothing of Enhanced RTMP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// `fourCcList`: what it can receive, audio and video together, as E-RTMP v1 has it. Every entry has
    /// [`FourCcInfo::CAN_DECODE`], the wildcard too.
    pub fourcc_list: FourCcInfoMap,
    /// `videoFourCcInfoMap`.
    pub video: FourCcInfoMap,
    /// `audioFourCcInfoMap`.
    pub audio: FourCcInfoMap,
    /// `capsEx`.
    pub caps_ex: CapsEx,
}

impl Capabilities {
    /// What a forwarder says: any codec passes through, none is looked into, and it does what `caps_ex` says.
    pub fn forwarder(caps_ex: CapsEx) -> Self {
        Self {
            fourcc_list: FourCcInfoMap::any(FourCcInfo::CAN_DECODE),
            video: FourCcInfoMap::any(FourCcInfo::CAN_FORWARD),
            audio: FourCcInfoMap::any(FourCcInfo::CAN_FORWARD),
            caps_ex,
        }
    }

    /// Reads the properties of an object; of anything else all are empty.
    pub fn of(object: &Value) -> Self {
        let map = |name| object.property(name).map(FourCcInfoMap::of).unwrap_or_default();
        let caps_ex = object.property(CAPS_EX).or_else(|| object.property(CAPS_EX_MISSPELLED));
        Self {
            fourcc_list: object.property(FOURCC_LIST).map(FourCcInfoMap::of_list).unwrap_or_default(),
            video: map(VIDEO_INFO_MAP),
            audio: map(AUDIO_INFO_MAP),
            caps_ex: CapsEx(caps_ex.map_or(0, mask)),
        }
    }

    /// The properties to send: only those that say something.
    pub fn properties(&self) -> Vec<(&'static str, Value)> {
        let mut properties = Vec::with_capacity(4);
        if !self.fourcc_list.is_empty() {
            properties.push((FOURCC_LIST, self.fourcc_list.to_list()));
        }
        for (name, map) in [(VIDEO_INFO_MAP, &self.video), (AUDIO_INFO_MAP, &self.audio)] {
            if !map.is_empty() {
                properties.push((name, map.to_object()));
            }
        }
        if self.caps_ex != CapsEx::default() {
            properties.push((CAPS_EX, f64::from(self.caps_ex.0).into()));
        }
        properties
    }

    /// Whether it said anything of Enhanced RTMP.
    pub fn speaks_enhanced(&self) -> bool {
        *self != Self::default()
    }

    /// Whether it takes `NetConnection.Connect.ReconnectRequest`.
    pub fn reconnect(&self) -> bool {
        self.caps_ex.contains(CapsEx::RECONNECT)
    }

    /// Whether it takes multitrack messages.
    pub fn multitrack(&self) -> bool {
        self.caps_ex.contains(CapsEx::MULTITRACK)
    }

    /// Whether it can read past ModEx signals.
    pub fn mod_ex(&self) -> bool {
        self.caps_ex.contains(CapsEx::MOD_EX)
    }

    /// Whether it understands nanosecond offsets, one of the ModEx signals.
    pub fn timestamp_nano_offset(&self) -> bool {
        self.caps_ex.contains(CapsEx::TIMESTAMP_NANO_OFFSET)
    }

    /// The codecs that it names, each once, behind `*` where that stands for all: safe to be shown.
    pub fn codec_names(&self) -> Vec<String> {
        let maps = [&self.fourcc_list, &self.video, &self.audio];
        let mut names = Vec::new();
        if maps.iter().any(|map| map.any.is_some()) {
            names.push(WILDCARD.into());
        }
        for (fourcc, _) in maps.into_iter().flat_map(|map| &map.named) {
            let name = fourcc.to_string();
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// Whether it can decode that video codec.
    pub fn decodes_video(&self, fourcc: FourCc) -> bool {
        (self.video.info(fourcc) | self.fourcc_list.info(fourcc)).contains(FourCcInfo::CAN_DECODE)
    }

    /// Whether it can decode that audio codec.
    pub fn decodes_audio(&self, fourcc: FourCc) -> bool {
        (self.audio.info(fourcc) | self.fourcc_list.info(fourcc)).contains(FourCcInfo::CAN_DECODE)
    }
}

/// A bit mask of the extended capabilities, `CapsExMask`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CapsEx(pub u32);

impl CapsEx {
    /// Support for reconnection.
    pub const RECONNECT: Self = Self(0x01);
    /// Support for multitrack.
    pub const MULTITRACK: Self = Self(0x02);
    /// Can parse ModEx signals.
    pub const MOD_EX: Self = Self(0x04);
    /// Support for nanosecond offsets.
    pub const TIMESTAMP_NANO_OFFSET: Self = Self(0x08);
    /// All of the above.
    pub const ALL: Self = Self(0x0f);

    /// Whether all bits of `other` are set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The names of the bits that the specification knows, as logs and the API show them.
    pub fn labels(self) -> impl Iterator<Item = &'static str> {
        let named = [
            (Self::RECONNECT, "reconnect"),
            (Self::MULTITRACK, "multitrack"),
            (Self::MOD_EX, "mod_ex"),
            (Self::TIMESTAMP_NANO_OFFSET, "timestamp_nano_offset"),
        ];
        named.into_iter().filter(move |(bit, _)| self.contains(*bit)).map(|(_, label)| label)
    }
}

impl core::ops::BitOr for CapsEx {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A bit mask of what can be done with a codec, `FourCcInfoMask`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FourCcInfo(pub u32);

impl FourCcInfo {
    /// Can decode it.
    pub const CAN_DECODE: Self = Self(0x01);
    /// Can encode it.
    pub const CAN_ENCODE: Self = Self(0x02);
    /// Can forward it.
    pub const CAN_FORWARD: Self = Self(0x04);

    /// Whether all bits of `other` are set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl core::ops::BitOr for FourCcInfo {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What can be done with which codec.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FourCcInfoMap {
    /// What can be done with every codec (`"*"`); `None` when that was not said.
    pub any: Option<FourCcInfo>,
    /// What can be done with some, in the order sent; at most [`FOURCCS_MAX`], each once.
    pub named: Vec<(FourCc, FourCcInfo)>,
}

impl FourCcInfoMap {
    /// The same for every codec.
    pub fn any(info: FourCcInfo) -> Self {
        Self { any: Some(info), named: Vec::new() }
    }

    /// What can be done with that codec. The wildcard's flags are added to its own: they hold whatever its own say.
    pub fn info(&self, fourcc: FourCc) -> FourCcInfo {
        let own = self.named.iter().find(|(name, _)| *name == fourcc);
        self.any.unwrap_or_default() | own.map(|(_, info)| *info).unwrap_or_default()
    }

    /// Whether no codec was named, and no wildcard.
    pub fn is_empty(&self) -> bool {
        self.any.is_none() && self.named.is_empty()
    }

    /// From an object whose properties are masks.
    fn of(map: &Value) -> Self {
        let mut found = Self::default();
        for (name, info) in map.properties().unwrap_or_default() {
            if info.as_f64().is_some() {
                found.set(name, FourCcInfo(mask(info)));
            }
        }
        found
    }

    /// From an array of names, with indices or without.
    fn of_list(list: &Value) -> Self {
        let mut found = Self::default();
        let mut add = |entry: &Value| {
            if let Some(name) = entry.as_str() {
                found.set(name, FourCcInfo::CAN_DECODE);
            }
        };
        match list {
            Value::StrictArray(entries) | Value::VectorObject { items: entries, .. } => {
                entries.iter().for_each(&mut add);
            }
            list => list.properties().unwrap_or_default().iter().for_each(|(_, entry)| add(entry)),
        }
        found
    }

    fn set(&mut self, name: &str, info: FourCcInfo) {
        if name == WILDCARD {
            self.any = Some(info);
            return;
        }
        let Some(fourcc) = FourCc::from_text(name) else { return };
        if let Some((_, named)) = self.named.iter_mut().find(|(named, _)| *named == fourcc) {
            *named = info;
        } else if self.named.len() < FOURCCS_MAX {
            self.named.push((fourcc, info));
        }
    }

    fn names(&self) -> impl Iterator<Item = (String, FourCcInfo)> {
        let any = self.any.map(|info| (WILDCARD.into(), info));
        // A FourCC that is no text was never read, and nobody says one.
        let text = |fourcc: &FourCc| String::from_utf8_lossy(&fourcc.0).into_owned();
        any.into_iter().chain(self.named.iter().map(move |(fourcc, info)| (text(fourcc), *info)))
    }

    fn to_object(&self) -> Value {
        Value::Object(self.names().map(|(name, info)| (name, f64::from(info.0).into())).collect())
    }

    fn to_list(&self) -> Value {
        Value::StrictArray(self.names().map(|(name, _)| name.into()).collect())
    }
}

/// A bit mask, sent as a number; what is none, or has a fraction, a sign or more than 32 bits, has no bit.
fn mask(value: &Value) -> u32 {
    let number = value.as_f64().unwrap_or(0.0);
    // Saturates: what is no u32 does not come back as it was.
    let mask = number as u32;
    if f64::from(mask) == number { mask } else { 0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const AV1: FourCc = FourCc(*b"av01");
    const HEVC: FourCc = FourCc(*b"hvc1");
    const OPUS: FourCc = FourCc(*b"Opus");

    fn list(names: &[&str]) -> Value {
        Value::StrictArray(names.iter().map(|name| Value::from(*name)).collect())
    }

    /// The examples of the specification's table, each as it stands there.
    #[test]
    fn the_examples_of_the_specification_are_understood() {
        let said = Capabilities::of(&Value::object([
            (
                "fourCcList",
                list(&[
                    "av01", "vp09", "vp08", "hvc1", "avc1", "ac-3", "ec-3", "Opus", ".mp3", "fLaC", "mp4a",
                ]),
            ),
            ("videoFourCcInfoMap", Value::object([("*", 4.0.into()), ("vp09", 3.0.into())])),
            ("audioFourCcInfoMap", Value::object([("*", 4.0.into()), ("Opus", 3.0.into())])),
            ("capsEx", 3.0.into()),
        ]));
        assert_eq!(said.fourcc_list.named.len(), 11);
        assert!(said.decodes_video(AV1) && said.decodes_audio(OPUS));
        assert!(!said.decodes_video(FourCc(*b"vvc1")), "forwarding is not decoding");
        assert_eq!(said.video.info(FourCc(*b"vp09")), FourCcInfo(7), "the wildcard holds for it as well");
        assert_eq!(said.audio.info(FourCc(*b"zz99")), FourCcInfo::CAN_FORWARD);
        assert!(said.reconnect() && said.multitrack() && !said.mod_ex() && !said.timestamp_nano_offset());
        assert!(said.caps_ex.labels().eq(["reconnect", "multitrack"]));
        assert_eq!(said.codec_names().join(" "), "* av01 vp09 vp08 hvc1 avc1 ac-3 ec-3 Opus .mp3 fLaC mp4a");

        let recorder = Capabilities::of(&Value::object([("fourCcList", list(&["*"]))]));
        assert!(recorder.decodes_video(HEVC) && recorder.decodes_audio(OPUS) && recorder.speaks_enhanced());
    }

    #[test]
    fn what_is_not_said_is_empty() {
        for object in [Value::Null, Value::object([]), Value::object([("app", "live".into())])] {
            let said = Capabilities::of(&object);
            assert!(!said.speaks_enhanced() && said.properties().is_empty(), "{object:?}");
            assert!(!said.decodes_video(HEVC) && !said.reconnect());
        }
    }

    #[test]
    fn a_wrong_type_counts_as_absent_entry_by_entry() {
        let said = Capabilities::of(&Value::object([
            (
                "fourCcList",
                Value::StrictArray([1.0.into(), "hvc1".into(), Value::Null, "h264!".into()].into()),
            ),
            (
                "videoFourCcInfoMap",
                Value::object([("hvc1", "4".into()), ("av01", 1.0.into()), ("h264!", 7.0.into())]),
            ),
            ("audioFourCcInfoMap", "*".into()),
            ("capsEx", "15".into()),
        ]));
        assert_eq!(said.fourcc_list.named, [(HEVC, FourCcInfo::CAN_DECODE)]);
        assert_eq!(said.video.named, [(AV1, FourCcInfo::CAN_DECODE)]);
        assert_eq!((said.audio, said.caps_ex), (FourCcInfoMap::default(), CapsEx(0)));

        for number in [-1.0, 1.5, f64::NAN, f64::INFINITY, 4_294_967_296.0] {
            assert_eq!(
                Capabilities::of(&Value::object([("capsEx", number.into())])).caps_ex,
                CapsEx(0),
                "{number}"
            );
        }
        let whole = Value::object([("capsEx", Value::Integer(0x11))]);
        assert_eq!(Capabilities::of(&whole).caps_ex, CapsEx(0x11), "unknown bits stay");
        let misspelled = Value::object([("CapsEx", 1.0.into())]);
        assert!(Capabilities::of(&misspelled).reconnect());
    }

    /// ActionScript's arrays come with names where they are sparse, and AMF3 has vectors.
    #[test]
    fn a_list_is_read_in_whatever_form_an_array_has() {
        for list in [
            Value::ecma_array([("0", "hvc1".into()), ("1", "*".into())]),
            Value::object([("0", "hvc1".into()), ("1", "*".into())]),
            Value::VectorObject {
                fixed: false,
                class: "String".into(),
                items: ["hvc1".into(), "*".into()].into(),
            },
        ] {
            let said = Capabilities::of(&Value::object([("fourCcList", list)])).fourcc_list;
            assert_eq!(said.named, [(HEVC, FourCcInfo::CAN_DECODE)]);
            assert_eq!(said.any, Some(FourCcInfo::CAN_DECODE));
        }
    }

    #[test]
    fn a_long_list_is_cut_but_its_wildcard_is_found() {
        let names: Vec<_> = (0..1000).map(|n| alloc::format!("{n:04}")).chain(["*".to_string()]).collect();
        let entries = names.iter().map(|name| Value::from(name.as_str())).collect();
        let map = names.iter().map(|name| (name.clone(), Value::from(4.0))).collect();
        let said = Capabilities::of(&Value::object([
            ("fourCcList", Value::StrictArray(entries)),
            ("videoFourCcInfoMap", Value::Object(map)),
        ]));
        for map in [said.fourcc_list, said.video] {
            assert_eq!((map.named.len(), map.any.is_some()), (FOURCCS_MAX, true));
            assert_eq!(map.named.last().map(|(fourcc, _)| *fourcc), FourCc::from_text("0031"));
        }
    }

    #[test]
    fn an_entry_that_is_sent_twice_counts_once_and_as_last_sent() {
        let map = Value::Object(
            [("hvc1", 1.0), ("av01", 1.0), ("hvc1", 4.0)].map(|(k, v)| (k.into(), v.into())).into(),
        );
        let said = Capabilities::of(&Value::object([("videoFourCcInfoMap", map)]));
        assert_eq!(said.video.named, [(HEVC, FourCcInfo::CAN_FORWARD), (AV1, FourCcInfo::CAN_DECODE)]);
    }

    #[test]
    fn a_forwarder_says_it_for_every_codec() {
        let properties = Capabilities::forwarder(CapsEx::ALL).properties();
        let any = || Value::object([("*", 4.0.into())]);
        assert_eq!(
            properties,
            [
                ("fourCcList", list(&["*"])),
                ("videoFourCcInfoMap", any()),
                ("audioFourCcInfoMap", any()),
                ("capsEx", 15.0.into()),
            ]
        );
    }

    fn info_map(info: impl Strategy<Value = u32> + Clone) -> impl Strategy<Value = FourCcInfoMap> {
        let info = info.prop_map(FourCcInfo);
        let named = proptest::collection::btree_map("[a-zA-Z0-9.-]{4}", info.clone(), 0..FOURCCS_MAX);
        (proptest::option::of(info), named).prop_map(|(any, named)| FourCcInfoMap {
            any,
            named: named
                .into_iter()
                .filter_map(|(name, info)| Some((FourCc::from_text(&name)?, info)))
                .collect(),
        })
    }

    proptest! {
        #[test]
        fn what_is_said_is_what_is_understood(
            fourcc_list in info_map(Just(1)),
            video in info_map(any::<u32>()),
            audio in info_map(any::<u32>()),
            caps_ex in any::<u32>().prop_map(CapsEx),
        ) {
            let said = Capabilities { fourcc_list, video, audio, caps_ex };
            let object = said.properties().into_iter().map(|(name, value)| (name.into(), value)).collect();
            prop_assert_eq!(Capabilities::of(&Value::Object(object)), said);
        }
    }
}
