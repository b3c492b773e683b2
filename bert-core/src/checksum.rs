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

/// With a table of 1 KB: that of the other one has 16, a good part of the flash that a device has for code.
#[cfg(any(not(feature = "std"), test))]
mod small {
    use crc::{CRC_32_ISO_HDLC, Crc, Table};

    static TABLE: Crc<u32, Table<1>> = Crc::<u32, Table<1>>::new(&CRC_32_ISO_HDLC);

    pub type Digest = crc::Digest<'static, u32, Table<1>>;

    pub fn start() -> Digest {
        TABLE.digest()
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
