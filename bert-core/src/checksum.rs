//! CRC-32 as zlib and PNG have it (CRC-32/ISO-HDLC): of the sections of a model file and of the outputs
//! that it promises.

use implementation::Digest;

/// A checksum in the making.
#[derive(Clone)]
pub struct Crc32(Digest);

impl Crc32 {
    /// Of no bytes yet.
    #[must_use]
    pub fn new() -> Self {
        Self(implementation::start())
    }

    /// Goes on with these bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The checksum of all bytes.
    #[must_use]
    pub fn finish(self) -> u32 {
        self.0.finalize()
    }
}

impl Default for Crc32 {
    fn default() -> Self {
        Self::new()
    }
}

/// The checksum of these bytes.
///
/// ```
/// assert_eq!(bert_core::checksum::crc32(b"123456789"), 0xcbf4_3926);
/// ```
#[must_use]
pub fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = Crc32::new();
    crc.update(bytes);
    crc.finish()
}

/// With vectors, for files of hundreds of megabytes.
#[cfg(feature = "std")]
mod implementation {
    pub use crc32fast::Hasher as Digest;

    pub fn start() -> Digest {
        Digest::new()
    }
}

/// Half a byte at a time: the table has 64 bytes, where that of whole bytes has a kilobyte of the flash
/// that a device has for code.
#[cfg(any(not(feature = "std"), test))]
mod small {
    /// The polynomial, bits reversed.
    const POLYNOMIAL: u32 = 0xEDB8_8320;

    const TABLE: [u32; 16] = {
        let mut table = [0; 16];
        let mut half = 0;
        while half < 16 {
            let mut rest = half as u32;
            let mut bit = 0;
            while bit < 4 {
                rest = rest >> 1 ^ if rest & 1 == 1 { POLYNOMIAL } else { 0 };
                bit += 1;
            }
            table[half] = rest;
            half += 1;
        }
        table
    };

    /// The remainder so far, bits inverted and reversed.
    #[derive(Clone)]
    pub struct Digest(u32);

    pub fn start() -> Digest {
        Digest(u32::MAX)
    }

    impl Digest {
        pub fn update(&mut self, bytes: &[u8]) {
            let step = |rest: u32, half: u32| rest >> 4 ^ TABLE[((rest ^ half) & 15) as usize];
            for &byte in bytes {
                let byte = u32::from(byte);
                self.0 = step(step(self.0, byte), byte >> 4);
            }
        }

        pub fn finalize(self) -> u32 {
            !self.0
        }
    }
}

#[cfg(not(feature = "std"))]
use small as implementation;

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;

    #[test]
    fn both_implementations_agree() {
        let bytes: Vec<u8> = (0..3000u32).map(|i| ((i * i) >> 3) as u8).collect();
        for len in [0, 1, 2, 3, 15, 16, 17, 255, 1000, 3000] {
            let (first, second) = bytes[..len].split_at(len / 3);
            let mut small = small::start();
            small.update(first);
            small.update(second);
            assert_eq!(crc32(&bytes[..len]), small.finalize(), "{len} bytes");
        }
    }
}
