//! What BERT's normalizer does with one character, looked up in tables: a trie on a host, and where
//! there is no `std` what takes a fifth of the flash. Both hold the same.
//!
//! The tables are made from the Unicode data of `tokenizers`, which is of Unicode 8 and 9: later
//! characters are letters to it, and so to the models trained with it.

#[cfg(not(feature = "std"))]
use super::small as lookup;
#[cfg(feature = "std")]
use super::trie as lookup;

pub(super) use lookup::{Entry, RANKS};

/// The part a character plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Belongs to a word.
    Letter,
    /// A control, format or private-use character, or U+FFFD: as if it were not there.
    Removed,
    /// Ends a word.
    Space,
    /// A word of its own.
    Punctuation,
    /// A non-spacing mark: dropped with the accents, else a letter.
    Mark,
    /// A Chinese character: a word of its own where those are split, else a letter.
    Chinese,
}

/// Kind of a character in bits 0..3, its rank in 3..8, its lower case minus itself in 8..32.
#[derive(Clone, Copy)]
pub(super) struct Record(pub(super) u32);

/// The lower case of U+0130 in a [`Record`]: it alone becomes two characters, `i` and U+0307.
const DELTA_DOTTED_I: i32 = -0x80_0000;
const DOT_ABOVE: char = '\u{307}';

impl Record {
    pub(super) fn kind(self) -> Kind {
        match self.0 & 7 {
            1 => Kind::Removed,
            2 => Kind::Space,
            3 => Kind::Punctuation,
            4 => Kind::Mark,
            5 => Kind::Chinese,
            _ => Kind::Letter,
        }
    }

    /// 0 for a starter; else its place in the order of combining classes, which is all that the
    /// canonical order of the characters that stay depends on. A character that decomposes has the
    /// rank of its first part.
    pub(super) fn rank(self) -> u32 {
        self.0 >> 3 & 31
    }

    /// The lower case of `c`, whose record this is: one character, seldom two.
    pub(super) fn lower(self, c: char) -> (char, Option<char>) {
        let delta = self.0 as i32 >> 8;
        if delta == DELTA_DOTTED_I {
            return ('i', Some(DOT_ABOVE));
        }
        let lower = char::from_u32(u32::from(c).wrapping_add_signed(delta));
        (lower.unwrap_or(c), None)
    }
}

/// Canonical decomposition of a character, without the non-spacing marks.
#[derive(Clone, Copy)]
pub(super) enum Decomposition {
    /// The character itself.
    None,
    /// One other character.
    #[cfg(feature = "std")]
    One(char),
    /// One to three characters.
    Few([char; 3], usize),
}

impl Decomposition {
    /// That of at most three parts.
    #[cfg(feature = "std")]
    pub(super) fn of(parts: &[char]) -> Self {
        let mut few = ['\0'; 3];
        few.iter_mut().zip(parts).for_each(|(place, part)| *place = *part);
        Decomposition::Few(few, parts.len())
    }

    /// The parts of `c`, whose decomposition this is.
    pub(super) fn parts<'s>(&'s self, c: &'s char) -> &'s [char] {
        match self {
            Decomposition::None => core::slice::from_ref(c),
            #[cfg(feature = "std")]
            Decomposition::One(one) => core::slice::from_ref(one),
            Decomposition::Few(parts, count) => parts.get(..*count).unwrap_or_default(),
        }
    }
}

/// The decomposition of `c`, whose entry is `entry`, and which is of any kind but [`Kind::Mark`],
/// [`Kind::Space`] and [`Kind::Removed`].
pub(super) fn decomposition(entry: Entry, c: char) -> Decomposition {
    match c {
        '\u{AC00}'..='\u{D7A3}' => hangul(u32::from(c) - 0xAC00),
        _ => entry.decomposition(),
    }
}

/// The record of `c`.
pub(super) fn record(c: char) -> Record {
    Entry::of(c).record()
}

/// The arithmetic decomposition of the Unicode standard, section 3.12.
fn hangul(index: u32) -> Decomposition {
    const VOWELS: u32 = 21;
    const TRAILING: u32 = 28;
    let letter = |base: u32, index: u32| char::from_u32(base + index).unwrap_or_default();
    let trailing = index % TRAILING;
    let letters = [
        letter(0x1100, index / (VOWELS * TRAILING)),
        letter(0x1161, index / TRAILING % VOWELS),
        letter(0x11A7, trailing),
    ];
    Decomposition::Few(letters, if trailing == 0 { 2 } else { 3 })
}
