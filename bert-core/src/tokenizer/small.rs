//! The tables as streams of numbers that are read from near the character on: a fifth of the bytes of
//! the trie, for devices. Text in ASCII needs neither.
//!
//! Code points ascend in a stream, and each says how far it is from the one before. A number has seven
//! bits a byte, the lowest first, and a bit that says that more follow; one with a sign has it in its
//! lowest bit.
//!
//! ```text
//! CLASSES  class │ (length − 1) << 5, of 8 or more the length − 8 as a number
//! LOWER    gap, count << 1 │ (step − 1), distance to the lower case with its sign
//! FIRST    gap, count, then for each the distance to the character before, with its sign
//! REST     gap, then distances << 1 │ whether another character follows, with their signs
//! ```

use super::small_tables::{CLASSES, FIRST, KINDS, LOWER, REST};
use super::unicode::{Decomposition, Record};

pub(super) use super::small_tables::RANKS;

/// A stream cut into blocks that can be read by themselves.
pub(super) struct Stream {
    /// The code point with which each block begins.
    pub(super) starts: &'static [u32],
    /// Where it lies.
    pub(super) offsets: &'static [u16],
    pub(super) bytes: &'static [u8],
}

impl Stream {
    /// First code point and bytes of the block that a code point would be in.
    fn block(&self, point: u32) -> Option<(u32, Numbers)> {
        let block = self.starts.partition_point(|&start| start <= point).checked_sub(1)?;
        let from = usize::from(*self.offsets.get(block)?);
        let to = self.offsets.get(block + 1).map_or(self.bytes.len(), |&at| usize::from(at));
        Some((*self.starts.get(block)?, Numbers(self.bytes.get(from..to)?)))
    }
}

struct Numbers(&'static [u8]);

impl Numbers {
    fn byte(&mut self) -> Option<u32> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte.into())
    }

    #[inline(never)]
    fn number(&mut self) -> Option<u32> {
        let (mut number, mut shift) = (0, 0);
        loop {
            let byte = self.byte()?;
            number |= (byte & 0x7F) << shift;
            shift += 7;
            if byte < 0x80 {
                return Some(number);
            }
        }
    }

    fn signed(&mut self) -> Option<i32> {
        let number = self.number()?;
        Some((number >> 1) as i32 ^ -((number & 1) as i32))
    }
}

/// A character.
#[derive(Clone, Copy)]
pub(super) struct Entry(u32);

impl Entry {
    pub(super) fn of(c: char) -> Entry {
        Entry(c.into())
    }

    pub(super) fn record(self) -> Record {
        let kind = class(self.0).and_then(|class| KINDS.get(class as usize)).copied();
        let delta = lower(self.0).unwrap_or(0);
        Record(u32::from(kind.unwrap_or(0)) | (delta as u32) << 8)
    }

    /// The stored decomposition, which Hangul syllables have none of.
    pub(super) fn decomposition(self) -> Decomposition {
        let Some(one) = first(self.0).and_then(char::from_u32) else {
            return Decomposition::None;
        };
        let mut parts = [one; 3];
        let mut count = 1;
        rest(self.0, |part| {
            if let Some(place) = parts.get_mut(count) {
                *place = part;
                count += 1;
            }
        });
        Decomposition::Few(parts, count)
    }
}

/// Number of the entry of [`KINDS`].
fn class(point: u32) -> Option<u32> {
    let (mut at, mut numbers) = CLASSES.block(point)?;
    loop {
        let byte = numbers.byte()?;
        at += 1 + (byte >> 5);
        if byte >> 5 == 7 {
            at += numbers.number()?;
        }
        if point < at {
            return Some(byte & 31);
        }
    }
}

/// Distance to the lower case, if there is one.
fn lower(point: u32) -> Option<i32> {
    let (mut at, mut numbers) = LOWER.block(point)?;
    loop {
        at += numbers.number()?;
        let shape = numbers.number()?;
        let (count, step) = (shape >> 1, (shape & 1) + 1);
        let delta = numbers.signed()?;
        let distance = point.checked_sub(at)?;
        if distance < count * step {
            return (distance & (step - 1) == 0).then_some(delta);
        }
        at += (count - 1) * step + 1;
    }
}

/// The first character that one decomposes into.
fn first(point: u32) -> Option<u32> {
    let (mut at, mut numbers) = FIRST.block(point)?;
    let mut target = 0u32;
    loop {
        at += numbers.number()?;
        let mut left = point.checked_sub(at)?;
        let count = numbers.number()?;
        for _ in 0..count {
            target = target.wrapping_add_signed(numbers.signed()?);
            if left == 0 {
                return Some(target);
            }
            left -= 1;
        }
        at += count;
    }
}

/// The other characters that one decomposes into.
fn rest(point: u32, mut each: impl FnMut(char)) -> Option<()> {
    let mut numbers = Numbers(&REST);
    let mut at = 0;
    while at < point {
        at += numbers.number()?;
        let (mut part, mut more) = (at, true);
        while more {
            let distance = numbers.signed()?;
            part = part.wrapping_add_signed(distance >> 1);
            more = distance & 1 == 1;
            if at == point {
                each(char::from_u32(part)?);
            }
        }
    }
    Some(())
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::super::trie;
    use super::*;

    #[test]
    fn every_character_is_that_of_the_trie() {
        assert_eq!(RANKS, trie::RANKS);
        for c in '\0'..=char::MAX {
            let (small, large) = (Entry::of(c), trie::Entry::of(c));
            assert_eq!(small.record().0, large.record().0, "{c:?}");
            let (small, large) = (small.decomposition(), large.decomposition());
            assert_eq!(small.parts(&c), large.parts(&c), "{c:?}");
        }
    }
}
