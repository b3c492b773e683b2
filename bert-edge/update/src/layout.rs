//! Where slots and journal lie in the flash.

use core::ops::Range;

use embedded_storage::nor_flash::NorFlash;

/// One of the two places for an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// The first.
    A,
    /// The second.
    B,
}

impl Slot {
    /// The slot that this one is not.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Slot::A => Slot::B,
            Slot::B => Slot::A,
        }
    }
}

/// Offsets in the flash, in bytes. All are multiples of what the flash erases at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Room for an image each; they need not be of one size.
    pub slots: [Range<u32>; 2],
    /// The journal: at least two blocks, of which an update erases one, in turns.
    pub journal: Range<u32>,
}

/// Most bytes that a flash may write at once.
pub const MAX_WRITE_BYTES: usize = 256;

impl Layout {
    pub(crate) fn slot(&self, slot: Slot) -> &Range<u32> {
        &self.slots[slot as usize]
    }

    /// What is wrong with the layout for a flash, if anything is.
    pub(crate) fn check<F: NorFlash>(&self, flash: &F) -> Result<(), &'static str> {
        let block = u32::try_from(F::ERASE_SIZE).map_err(|_| "erase blocks of 4 GiB")?;
        if crate::journal::places::<F>() < 2 {
            return Err("an erase block has no room for two records of 32 bytes");
        }
        if F::WRITE_SIZE > MAX_WRITE_BYTES {
            return Err("the flash writes more bytes at once than MAX_WRITE_BYTES");
        }
        if !F::WRITE_SIZE.is_multiple_of(F::READ_SIZE)
            || !F::ERASE_SIZE.is_multiple_of(F::WRITE_SIZE)
        {
            return Err("reads, writes and erases of the flash are not multiples of each other");
        }
        if !crate::journal::RECORD_BYTES.is_multiple_of(F::READ_SIZE) {
            return Err("the flash reads more than a record of 32 bytes at once");
        }
        let all = [&self.slots[0], &self.slots[1], &self.journal];
        for (i, range) in all.into_iter().enumerate() {
            if range.start >= range.end || range.end as usize > flash.capacity() {
                return Err("a range is empty or beyond the end of the flash");
            }
            if !range.start.is_multiple_of(block) || !range.end.is_multiple_of(block) {
                return Err("a range does not begin and end with an erase block");
            }
            if all[..i].iter().any(|other| range.start < other.end && other.start < range.end) {
                return Err("two ranges overlap");
            }
        }
        if (self.journal.end - self.journal.start) / block < 2 {
            return Err("the journal has fewer than two erase blocks");
        }
        Ok(())
    }
}
