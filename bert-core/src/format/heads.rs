//! Sets of heads as bits, for a program that knows its model when it is compiled: the code of other
//! heads stays out of it.

use super::{ENTRY_BYTES, Kind, PREAMBLE_BYTES};

/// [`crate::Head::Classify`].
pub const CLASSIFY: u16 = 1 << 0;
/// [`crate::Head::Tag`].
pub const TAG: u16 = 1 << 1;
/// [`crate::Head::Joint`].
pub const JOINT: u16 = 1 << 2;
/// [`crate::Head::PairClassify`].
pub const PAIR_CLASSIFY: u16 = 1 << 3;
/// [`crate::Head::Regress`].
pub const REGRESS: u16 = 1 << 4;
/// [`crate::Head::Span`].
pub const SPAN: u16 = 1 << 5;
/// [`crate::Head::Embed`].
pub const EMBED: u16 = 1 << 6;
/// [`crate::Head::MultiLabel`].
pub const MULTI_LABEL: u16 = 1 << 7;
/// Every head.
pub const ALL: u16 = u16::MAX;

/// The head of a file as a set, read at compile time.
///
/// Only for files in the program itself: it checks next to nothing, [`crate::Model::parse`] does.
///
/// # Panics
/// If `file` is too short to be a model: a compile error where it belongs.
#[must_use]
pub const fn of(file: &[u8]) -> u16 {
    let mut entry = PREAMBLE_BYTES;
    while number(file, entry, 2) != Kind::Header as usize {
        entry += ENTRY_BYTES;
    }
    let header = number(file, entry + 8, 4);
    // The nine sizes of the header, its activation, ε, pooler and tokenizer, see `Config`.
    let mut at = header;
    let mut sizes = 0;
    while sizes < 10 {
        at = behind_varint(file, at);
        sizes += 1;
    }
    at = behind_varint(file, at + size_of::<f32>() + 1 + 3);
    // Heads are few, so the varint is a byte.
    1 << (file[at] & 15)
}

const fn number(file: &[u8], at: usize, bytes: usize) -> usize {
    let (mut number, mut i) = (0, bytes);
    while i > 0 {
        i -= 1;
        number = number << 8 | file[at + i] as usize;
    }
    number
}

const fn behind_varint(file: &[u8], mut at: usize) -> usize {
    while file[at] >= 0x80 {
        at += 1;
    }
    at + 1
}
