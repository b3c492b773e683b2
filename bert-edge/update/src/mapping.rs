//! Flash as memory.

#![allow(unsafe_code, reason = "memory that changes beside Rust's rules, only here")]

use core::ops::Range;
use core::slice;

/// Where the processor reads the flash as memory.
#[derive(Clone, Copy, Debug)]
pub struct Mapping {
    base: *const u8,
}

// SAFETY: it only reads, and who made it promised that the memory is there for everybody.
unsafe impl Send for Mapping {}

impl Mapping {
    /// The memory where offset 0 of a flash lies.
    ///
    /// # Safety
    /// For as long as a [`crate::Store`] with this mapping lives: every byte of its layout can be read
    /// from `base` on, shows what the flash holds as soon as a write or an erase has returned (caches
    /// are the driver's to empty), and changes through that store alone.
    #[must_use]
    pub const unsafe fn new(base: *const u8) -> Self {
        Mapping { base }
    }

    /// Bytes of the flash, which must not be written or erased during `'a`.
    ///
    /// # Safety
    /// The range lies in the layout, and the store writes to none of it during `'a`.
    pub(crate) unsafe fn bytes<'a>(self, range: Range<u32>) -> &'a [u8] {
        // SAFETY: readable as was promised to `new`, and not written to as is promised here.
        unsafe { slice::from_raw_parts(self.base.add(range.start as usize), range.len()) }
    }
}
