//! Bit strings as codecs write them.

/// Bytes, filled bit by bit.
pub(super) struct Bits {
    bytes: Vec<u8>,
    /// Bits of the last byte that are in use; 0 when it is full.
    used: u32,
}

impl Bits {
    /// After a header.
    pub(super) fn new(header: &[u8]) -> Self {
        Self { bytes: header.to_vec(), used: 0 }
    }

    /// The lower `count` bits of `value`.
    pub(super) fn put(&mut self, value: u32, count: u32) {
        for shift in (0..count).rev() {
            if self.used == 0 {
                self.bytes.push(0);
            }
            let bit = (value >> shift & 1) as u8;
            if let Some(last) = self.bytes.last_mut() {
                *last |= bit << (7 - self.used);
            }
            self.used = (self.used + 1) % 8;
        }
    }

    /// Exp-Golomb (H.264 §9.1, H.265 §9.2).
    pub(super) fn ue(&mut self, value: u32) {
        let length = 32 - (value + 1).leading_zeros();
        self.put(0, length - 1);
        self.put(value + 1, length);
    }

    /// Zeros up to the next byte.
    pub(super) fn align(&mut self) {
        if self.used != 0 {
            self.put(0, 8 - self.used);
        }
    }

    /// As they are.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// With a one and zeros up to the next byte, as in rbsp_trailing_bits and AV1's trailing_bits.
    pub(super) fn trailed(mut self) -> Vec<u8> {
        self.put(1, 1);
        self.align();
        self.bytes
    }

    /// A NAL unit: with trailing bits, and emulation prevention where it is needed (H.264 §7.4.1, H.265 §7.4.2).
    pub(super) fn nal_unit(self) -> Vec<u8> {
        let bytes = self.trailed();
        let mut out = Vec::with_capacity(bytes.len());
        let mut zeros = 0;
        for byte in bytes {
            if zeros == 2 && byte <= 3 {
                out.push(3);
                zeros = 0;
            }
            zeros = if byte == 0 { zeros + 1 } else { 0 };
            out.push(byte);
        }
        out
    }
}
