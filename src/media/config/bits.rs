//! Reading bit fields out of codec configuration: fixed-width fields, Exp-Golomb codes, emulation prevention.
//! # Bounds
//! Never reads past the slice; every read that would is [`ConfigError::Truncated`].

use super::ConfigError;

/// A cursor over the bits of a slice, most significant bit first.
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    /// Index of the byte that is loaded next.
    next: usize,
    current: u8,
    /// Bits of `current` not read yet.
    left: u8,
    /// Zero bytes just before `next`, when emulation prevention bytes are taken out.
    zeros: Option<u8>,
}

impl<'a> BitReader<'a> {
    /// Reads the bytes as they are.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, next: 0, current: 0, left: 0, zeros: None }
    }

    /// Reads a NAL unit's payload: the 3 in each `00 00 03` is dropped (H.264 §7.3.1, H.265 §7.3.1.1).
    pub(super) fn rbsp(bytes: &'a [u8]) -> Self {
        Self { zeros: Some(0), ..Self::new(bytes) }
    }

    /// One bit.
    pub(super) fn bit(&mut self) -> Result<bool, ConfigError> {
        if self.left == 0 {
            self.load()?;
        }
        self.left -= 1;
        Ok(self.current >> self.left & 1 == 1)
    }

    /// `n` bits as an unsigned number; `n` is at most 32.
    pub(super) fn bits(&mut self, n: u32) -> Result<u32, ConfigError> {
        debug_assert!(n <= 32);
        let mut value = 0;
        for _ in 0..n {
            value = value << 1 | u32::from(self.bit()?);
        }
        Ok(value)
    }

    /// `n` bits, at most 8.
    pub(super) fn byte(&mut self, n: u32) -> Result<u8, ConfigError> {
        debug_assert!(n <= 8);
        Ok(self.bits(n)? as u8)
    }

    /// Moves on over `n` bits.
    pub(super) fn skip(&mut self, n: u32) -> Result<(), ConfigError> {
        for _ in 0..n {
            self.bit()?;
        }
        Ok(())
    }

    /// To the next byte boundary.
    pub(super) fn align(&mut self) {
        self.left = 0;
    }

    /// Unsigned Exp-Golomb code, `ue(v)` (H.264 §9.1); AV1's `uvlc()` is the same code. More than 31 leading
    /// zeros give a number that no field here can mean.
    pub(super) fn ue(&mut self) -> Result<u32, ConfigError> {
        let mut zeros = 0;
        while !self.bit()? {
            zeros += 1;
            if zeros > 31 {
                return Err(ConfigError::OutOfRange);
            }
        }
        // At most 31 bits follow: (2^31 - 1) + (2^31 - 1) fits.
        Ok((1u32 << zeros) - 1 + self.bits(zeros)?)
    }

    /// Signed Exp-Golomb code, `se(v)` (H.264 §9.1.1).
    pub(super) fn se(&mut self) -> Result<i32, ConfigError> {
        let code = self.ue()?;
        let magnitude = code.div_ceil(2) as i32; // at most 2^31 - 1: ue() stays below 2^32 - 1
        Ok(if code % 2 == 1 { magnitude } else { -magnitude })
    }

    fn load(&mut self) -> Result<(), ConfigError> {
        let mut byte = *self.bytes.get(self.next).ok_or(ConfigError::Truncated)?;
        self.next += 1;
        if let Some(zeros) = &mut self.zeros {
            if *zeros >= 2 && byte == 3 {
                *zeros = 0;
                byte = *self.bytes.get(self.next).ok_or(ConfigError::Truncated)?;
                self.next += 1;
            }
            *zeros = if byte == 0 { zeros.saturating_add(1) } else { 0 };
        }
        (self.current, self.left) = (byte, 8);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The code table of H.264 §9.1.
    #[test]
    fn exp_golomb_codes_of_the_specification() {
        // 1 010 011 00100 00101 | se: 1 -> 0, 010 -> 1, 011 -> -1, 00100 -> 2
        let bytes = [0b1010_0110, 0b0100_0010, 0b1101_0011, 0b0010_0000];
        let mut bits = BitReader::new(&bytes);
        assert_eq!((0..5).map(|_| bits.ue().unwrap()).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        assert_eq!((0..4).map(|_| bits.se().unwrap()).collect::<Vec<_>>(), [0, 1, -1, 2]);
    }

    /// A code of more than 31 zeros is refused, the largest legal one is read.
    #[test]
    fn exp_golomb_is_bounded() {
        assert_eq!(BitReader::new(&[0; 16]).ue(), Err(ConfigError::OutOfRange));
        assert_eq!(BitReader::new(&[0; 3]).ue(), Err(ConfigError::Truncated));
        let largest = [0, 0, 0, 1, 0xff, 0xff, 0xff, 0xfe];
        assert_eq!(BitReader::new(&largest).ue(), Ok(u32::MAX - 1));
        assert_eq!(BitReader::new(&largest).se(), Ok(-(i32::MAX)));
    }

    /// Only the 3 after two zeros goes, and it breaks the run of zeros.
    #[test]
    fn emulation_prevention_bytes_are_dropped() {
        let mut bits = BitReader::rbsp(&[3, 0, 3, 0, 0, 3, 0, 0, 3, 1, 0, 0]);
        let read: Vec<u32> = core::iter::from_fn(|| bits.bits(8).ok()).collect();
        assert_eq!(read, [3, 0, 3, 0, 0, 0, 0, 1, 0, 0]);
        assert_eq!(BitReader::rbsp(&[0, 0, 3]).bits(24), Err(ConfigError::Truncated));
    }

    proptest! {
        /// Plain reading gives the bits back whatever the field widths are, and then ends.
        #[test]
        fn fields_of_any_width_give_the_bits_back(bytes: Vec<u8>, widths in prop::collection::vec(0u32..=32, 0..40)) {
            let all: Vec<bool> = bytes.iter().flat_map(|b| (0..8).rev().map(move |i| b >> i & 1 == 1)).collect();
            let (mut bits, mut at) = (BitReader::new(&bytes), 0);
            for width in widths {
                let end = at + width as usize;
                let Ok(value) = bits.bits(width) else {
                    prop_assert!(end > all.len());
                    break;
                };
                prop_assert_eq!(value, all[at..end].iter().fold(0, |v, b| v << 1 | u32::from(*b)));
                at = end;
            }
        }
    }
}
