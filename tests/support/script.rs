//! What a client says, message by message, in the order in which librtmp and ffmpeg say it.

use super::amf::Amf;
use super::wire::Message;

/// The message stream that every server gives to the first createStream of a connection; for clients that do not wait for it.
pub const FIRST_STREAM: u32 = 1;

/// Transaction of `connect` (RTMP 1.0 §7.2.1.1).
pub const CONNECT: f64 = 1.0;
/// Transaction of `createStream`.
pub const CREATE_STREAM: f64 = 4.0;

/// `connect` to an app.
pub fn connect(app: &str, tc_url: &str) -> Message {
    connect_with(app, tc_url, &[])
}

/// `connect` to an app, with further properties.
pub fn connect_with(app: &str, tc_url: &str, more: &[(&str, Amf)]) -> Message {
    let properties: [(&str, Amf); 8] = [
        ("app", app.into()),
        ("type", "nonprivate".into()),
        ("flashVer", "FMLE/3.0 (compatible; inrush-tests)".into()),
        ("tcUrl", tc_url.into()),
        ("fpad", Amf::Boolean(false)),
        ("capabilities", 15.0.into()),
        ("audioCodecs", 4071.0.into()),
        ("videoCodecs", 252.0.into()),
    ];
    let properties = properties.iter().chain(more).map(|(name, value)| ((*name).to_owned(), value.clone()));
    let properties = properties.collect();
    Message::command(0, &["connect".into(), CONNECT.into(), Amf::Object(properties)])
}

/// What a publisher says between the connect answer and `publish`.
pub fn before_publish(name: &str) -> [Message; 3] {
    [
        Message::command(0, &["releaseStream".into(), 2.0.into(), Amf::Null, name.into()]),
        Message::command(0, &["FCPublish".into(), 3.0.into(), Amf::Null, name.into()]),
        create_stream(),
    ]
}

/// `createStream`.
pub fn create_stream() -> Message {
    Message::command(0, &["createStream".into(), CREATE_STREAM.into(), Amf::Null])
}

/// `publish`, live.
pub fn publish(stream_id: u32, name: &str) -> Message {
    Message::command(stream_id, &["publish".into(), 5.0.into(), Amf::Null, name.into(), "live".into()])
}

/// `play` of a live stream.
pub fn play(stream_id: u32, name: &str) -> Message {
    Message::command(stream_id, &["play".into(), 5.0.into(), Amf::Null, name.into(), (-2000.0).into()])
}

/// What a publisher says when it leaves.
pub fn unpublish(stream_id: u32, name: &str) -> [Message; 2] {
    [
        Message::command(0, &["FCUnpublish".into(), 6.0.into(), Amf::Null, name.into()]),
        Message::command(0, &["deleteStream".into(), 7.0.into(), Amf::Null, f64::from(stream_id).into()]),
    ]
}

/// A metadata message's body, as encoders send it.
pub fn metadata(width: u32, height: u32) -> Vec<u8> {
    let properties = [("width", f64::from(width)), ("height", f64::from(height)), ("videocodecid", 7.0)];
    let properties = properties.map(|(name, value)| (name.to_owned(), value.into())).to_vec();
    super::amf::write(&["@setDataFrame".into(), "onMetaData".into(), Amf::Object(properties)])
}
