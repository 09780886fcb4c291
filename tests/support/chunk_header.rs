//! Chunk headers byte by byte (RTMP 1.0 §5.3.1), for peers that say what no writer of chunks would.

/// A chunk's basic header (RTMP 1.0 §5.3.1.1).
fn basic(format: u8, chunk_stream: u32) -> Vec<u8> {
    let format = format << 6;
    match chunk_stream {
        2..=63 => vec![format | chunk_stream as u8],
        64..=319 => vec![format, (chunk_stream - 64) as u8],
        _ => [&[format | 1][..], &((chunk_stream - 64) as u16).to_le_bytes()].concat(),
    }
}

/// Three bytes and, where they do not hold it, the four bytes that come last in the header.
fn time(value: u32) -> ([u8; 3], Vec<u8>) {
    let [_, a, b, c] = value.min(0xff_ffff).to_be_bytes();
    ([a, b, c], if value >= 0xff_ffff { value.to_be_bytes().to_vec() } else { Vec::new() })
}

/// Three bytes of length.
pub fn length(bytes: usize) -> [u8; 3] {
    let [_, a, b, c] = u32::try_from(bytes).expect("a message's length").to_be_bytes();
    [a, b, c]
}

/// Header of a chunk of type 0 (§5.3.1.2.1).
pub fn type_0(chunk_stream: u32, timestamp: u32, bytes: usize, type_id: u8, stream_id: u32) -> Vec<u8> {
    let (short, extended) = time(timestamp);
    let parts = [
        &basic(0, chunk_stream)[..],
        &short,
        &length(bytes),
        &[type_id],
        &stream_id.to_le_bytes(),
        &extended,
    ];
    parts.concat()
}

/// Header of a chunk of type 1 (§5.3.1.2.2).
pub fn type_1(chunk_stream: u32, delta: u32, bytes: usize, type_id: u8) -> Vec<u8> {
    let (short, extended) = time(delta);
    [&basic(1, chunk_stream)[..], &short, &length(bytes), &[type_id], &extended].concat()
}

/// Header of a chunk of type 2 (§5.3.1.2.3).
pub fn type_2(chunk_stream: u32, delta: u32) -> Vec<u8> {
    let (short, extended) = time(delta);
    [&basic(2, chunk_stream)[..], &short, &extended].concat()
}

/// Header of a chunk of type 3 (§5.3.1.2.4), with the extended timestamp that the specification has there, if any.
pub fn type_3(chunk_stream: u32, extended: Option<u32>) -> Vec<u8> {
    let mut out = basic(3, chunk_stream);
    out.extend(extended.into_iter().flat_map(u32::to_be_bytes));
    out
}
