//! As much AMF0 as a test client needs (AMF 0 specification, §2).

/// A value in a command or data message.
#[derive(Clone, Debug, PartialEq)]
pub enum Amf {
    /// Marker 0.
    Number(f64),
    /// Marker 1.
    Boolean(bool),
    /// Markers 2 and 12.
    String(String),
    /// Markers 3 and 8.
    Object(Vec<(String, Amf)>),
    /// Marker 10.
    Array(Vec<Amf>),
    /// Markers 5 and 6.
    Null,
}

impl Amf {
    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    /// The value of a number.
    pub fn as_number(&self) -> Option<f64> {
        if let Self::Number(number) = self { Some(*number) } else { None }
    }

    /// A property of an object.
    pub fn property(&self, name: &str) -> Option<&Amf> {
        let Self::Object(properties) = self else { return None };
        properties.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }
}

impl From<&str> for Amf {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<f64> for Amf {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

/// The bytes of some values, one after the other.
pub fn write(values: &[Amf]) -> Vec<u8> {
    let mut out = Vec::new();
    values.iter().for_each(|value| write_value(value, &mut out));
    out
}

fn write_value(value: &Amf, out: &mut Vec<u8>) {
    match value {
        Amf::Number(number) => {
            out.push(0);
            out.extend(number.to_be_bytes());
        }
        Amf::Boolean(boolean) => out.extend([1, u8::from(*boolean)]),
        Amf::String(text) => {
            out.push(2);
            write_name(text, out);
        }
        Amf::Object(properties) => {
            out.push(3);
            for (name, value) in properties {
                write_name(name, out);
                write_value(value, out);
            }
            out.extend([0, 0, 9]);
        }
        Amf::Array(values) => {
            out.push(10);
            out.extend(u32::try_from(values.len()).expect("a short array").to_be_bytes());
            values.iter().for_each(|value| write_value(value, out));
        }
        Amf::Null => out.push(5),
    }
}

fn write_name(name: &str, out: &mut Vec<u8>) {
    out.extend(u16::try_from(name.len()).expect("a short string").to_be_bytes());
    out.extend(name.as_bytes());
}

/// All values of a message. Panics where the bytes are not AMF0: a server under test must not send such.
pub fn read(mut bytes: &[u8]) -> Vec<Amf> {
    let mut values = Vec::new();
    while !bytes.is_empty() {
        values.push(read_value(&mut bytes));
    }
    values
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (head, rest) = bytes.split_at_checked(count).expect("AMF value ends before its end");
    *bytes = rest;
    head
}

fn read_length(bytes: &mut &[u8], width: usize) -> usize {
    take(bytes, width).iter().fold(0, |length, byte| length << 8 | usize::from(*byte))
}

fn read_text(bytes: &mut &[u8], width: usize) -> String {
    let length = read_length(bytes, width);
    String::from_utf8(take(bytes, length).to_vec()).expect("AMF strings are UTF-8")
}

fn read_value(bytes: &mut &[u8]) -> Amf {
    match take(bytes, 1)[0] {
        0 => Amf::Number(f64::from_be_bytes(take(bytes, 8).try_into().expect("eight bytes"))),
        1 => Amf::Boolean(take(bytes, 1)[0] != 0),
        2 => Amf::String(read_text(bytes, 2)),
        marker @ (3 | 8) => {
            if marker == 8 {
                take(bytes, 4); // the count of an ECMA array is a hint (§2.10)
            }
            let mut properties = Vec::new();
            loop {
                let name = read_text(bytes, 2);
                if name.is_empty() && bytes.first() == Some(&9) {
                    take(bytes, 1);
                    return Amf::Object(properties);
                }
                properties.push((name, read_value(bytes)));
            }
        }
        5 | 6 => Amf::Null,
        10 => {
            let count = read_length(bytes, 4);
            Amf::Array((0..count).map(|_| read_value(bytes)).collect())
        }
        12 => Amf::String(read_text(bytes, 4)),
        marker => panic!("AMF0 marker {marker} is not expected from a server"),
    }
}
