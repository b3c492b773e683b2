//! NOR flash that loses power, forgets, and holds its user to the contract of `embedded-storage`.
#![allow(unsafe_code, dead_code, clippy::unwrap_used)]

#[path = "../../../../bert-core/tests/common/mod.rs"]
pub mod common;

use std::ops::Range;

use bert_edge_update::{Layout, Mapping};
use common::Random;
use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash, check_erase, check_read,
    check_write,
};

/// What a cut leaves in the word or block that was being written or erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Torn {
    /// What was there before, by the looks of it.
    Nothing,
    /// The first half is done.
    Half,
    /// All is done, by the looks of it.
    All,
    /// Anything.
    Garbage,
    /// As `All` after one start and as `Nothing` after the next: a bit between 0 and 1.
    Flickering,
}

impl Torn {
    pub const ALL: [Torn; 5] =
        [Torn::Nothing, Torn::Half, Torn::All, Torn::Garbage, Torn::Flickering];
}

#[derive(Debug, PartialEq, Eq)]
pub enum Fault {
    PowerLost,
    /// A write that failed for another reason.
    Broken,
    Kind(NorFlashErrorKind),
}

impl NorFlashError for Fault {
    fn kind(&self) -> NorFlashErrorKind {
        NorFlashErrorKind::Other
    }
}

/// The chip: memory with power that may go. Its `user` is what firmware has of it.
pub struct Chip<const WRITE: usize, const ERASE: usize> {
    memory: *mut u8,
    size: usize,
    /// Words that were written since their block was erased, also those that look as if they were not.
    written: Vec<bool>,
    /// Writes of a word and erases of a block until power goes.
    pub steps_left: u64,
    pub steps: u64,
    pub torn: Torn,
    /// Where a cut left something that may change, with the looks of it.
    unstable: Option<(usize, Vec<u8>, Vec<u8>)>,
    pub erases: Vec<u32>,
    /// A write that begins here fails, once.
    pub broken_at: Option<u32>,
    /// A bit of these bytes stays 0.
    pub stuck: Range<usize>,
    random: Random,
}

pub const SLOT: u32 = 12 * 1024;

/// Two slots and two pages of journal, with a page of something else before each.
pub fn layout(erase: u32) -> Layout {
    let (a, b) = (erase, 2 * erase + SLOT);
    let journal = b + SLOT + erase;
    Layout { slots: [a..a + SLOT, b..b + SLOT], journal: journal..journal + 2 * erase }
}

impl<const WRITE: usize, const ERASE: usize> Chip<WRITE, ERASE> {
    pub fn new() -> Self {
        let size = layout(ERASE as u32).journal.end as usize;
        // What a chip holds that was used before.
        let memory = Box::leak(vec![0x5Au8; size].into_boxed_slice()).as_mut_ptr();
        Chip {
            memory,
            size,
            written: vec![true; size / WRITE],
            steps_left: u64::MAX,
            steps: 0,
            torn: Torn::Nothing,
            unstable: None,
            erases: vec![0; size / ERASE],
            broken_at: None,
            stuck: 0..0,
            random: Random(7),
        }
    }

    pub fn mapping(&self) -> Mapping {
        // SAFETY: the memory stays until the chip goes, and only its store writes to it.
        unsafe { Mapping::new(self.memory) }
    }

    pub fn bytes(&self) -> Vec<u8> {
        // SAFETY: within the memory; the copy is made while nobody writes.
        (0..self.size).map(|at| unsafe { self.memory.add(at).read() }).collect()
    }

    /// The state of another chip, with power.
    pub fn copy_from(&mut self, other: &Self) {
        self.set(0, &other.bytes());
        self.written.copy_from_slice(&other.written);
        (self.steps_left, self.steps, self.unstable) = (u64::MAX, 0, None);
    }

    /// Power comes back.
    pub fn restart(&mut self) {
        (self.steps_left, self.steps) = (u64::MAX, 0);
        if let Some((at, now, next)) = self.unstable.take() {
            self.set(at, &next);
            self.unstable = Some((at, next, now));
        }
    }

    pub fn flip(&mut self, bit: usize) {
        let byte = self.bytes()[bit / 8] ^ (1 << (bit % 8));
        self.set(bit / 8, &[byte]);
    }

    fn set(&mut self, at: usize, bytes: &[u8]) {
        for (i, byte) in bytes.iter().enumerate() {
            assert!(at + i < self.size);
            let stuck = if self.stuck.contains(&(at + i)) { 0xFE } else { 0xFF };
            // SAFETY: within the memory; no slice of the store covers what is written to.
            unsafe { self.memory.add(at + i).write(byte & stuck) };
        }
    }

    /// One write of a word or erase of a block: all of it, or what a cut leaves.
    fn step(&mut self, at: usize, new: &[u8]) -> Result<(), Fault> {
        if self.unstable.as_ref().is_some_and(|(place, ..)| (at..at + new.len()).contains(place)) {
            self.unstable = None;
        }
        if self.steps_left > 0 {
            self.steps_left -= 1;
            self.steps += 1;
            self.set(at, new);
            return Ok(());
        }
        let old = self.bytes()[at..at + new.len()].to_vec();
        let half = new.len() / 2;
        let left = match self.torn {
            Torn::Nothing => old,
            Torn::Half => [&new[..half], &old[half..]].concat(),
            Torn::All => new.to_vec(),
            Torn::Garbage => new.iter().map(|_| self.random.next() as u8).collect(),
            Torn::Flickering => {
                self.unstable = Some((at, old, new.to_vec()));
                new.to_vec()
            }
        };
        self.set(at, &left);
        Err(Fault::PowerLost)
    }
}

impl<const WRITE: usize, const ERASE: usize> Drop for Chip<WRITE, ERASE> {
    fn drop(&mut self) {
        // SAFETY: it was leaked by `new`, and no store is left that borrows the chip.
        drop(unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(self.memory, self.size)) });
    }
}

impl<const WRITE: usize, const ERASE: usize> ErrorType for Chip<WRITE, ERASE> {
    type Error = Fault;
}

impl<const WRITE: usize, const ERASE: usize> ReadNorFlash for Chip<WRITE, ERASE> {
    const READ_SIZE: usize = 4;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Fault> {
        check_read(self, offset, bytes.len()).map_err(Fault::Kind)?;
        bytes.copy_from_slice(&self.bytes()[offset as usize..][..bytes.len()]);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.size
    }
}

impl<const WRITE: usize, const ERASE: usize> NorFlash for Chip<WRITE, ERASE> {
    const WRITE_SIZE: usize = WRITE;
    const ERASE_SIZE: usize = ERASE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Fault> {
        check_erase(self, from, to).unwrap();
        for at in (from as usize..to as usize).step_by(ERASE) {
            // An erase that is cut off erased nothing, as far as the contract goes.
            self.step(at, &[0xFF; ERASE])?;
            self.written[at / WRITE..(at + ERASE) / WRITE].fill(false);
            self.erases[at / ERASE] += 1;
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Fault> {
        check_write(self, offset, bytes.len()).unwrap();
        for (i, word) in bytes.chunks_exact(WRITE).enumerate() {
            let at = offset as usize + i * WRITE;
            assert!(!self.written[at / WRITE], "a word at {at} is written twice");
            self.written[at / WRITE] = true;
            if self.broken_at.take_if(|broken| *broken as usize == at).is_some() {
                return Err(Fault::Broken);
            }
            self.step(at, word)?;
        }
        Ok(())
    }
}
