//! The tables as a trie with three steps: quick, and 29 KB.

use super::tables::{BRANCH, BRANCHES, DECOMPOSITIONS, LEAF, LEAVES, POOL, RECORDS, ROOTS};
use super::unicode::{Decomposition, Record};

pub(super) use super::tables::RANKS;

/// A character's position in [`RECORDS`] or, beyond it, in [`DECOMPOSITIONS`].
#[derive(Clone, Copy)]
pub(super) struct Entry(usize);

impl Entry {
    pub(super) fn of(c: char) -> Entry {
        let point = c as usize;
        let leaf = point / LEAF;
        let branch = usize::from(ROOTS[leaf / BRANCH]);
        let leaf = usize::from(BRANCHES[branch * BRANCH + leaf % BRANCH]);
        Entry(usize::from(LEAVES[leaf * LEAF + point % LEAF]))
    }

    pub(super) fn record(self) -> Record {
        match RECORDS.get(self.0) {
            Some(&record) => Record(record),
            None => Record(RECORDS[(DECOMPOSITIONS[self.0 - RECORDS.len()] >> 22) as usize]),
        }
    }

    /// The stored decomposition, which Hangul syllables have none of.
    pub(super) fn decomposition(self) -> Decomposition {
        if self.0 < RECORDS.len() {
            return Decomposition::None;
        }
        let entry = DECOMPOSITIONS[self.0 - RECORDS.len()];
        let value = entry & ((1 << 21) - 1);
        if entry & 1 << 21 == 0 {
            return char::from_u32(value).map_or(Decomposition::None, Decomposition::One);
        }
        let start = (value >> 3) as usize;
        Decomposition::of(&POOL[start..start + (value & 7) as usize])
    }
}
