//! Writes a packed vocabulary: finds the displacements that leave each piece alone in its slot.

use std::collections::HashMap;
use std::fmt;

use super::vocabulary::{HEADER_BYTES, Hash, MAGIC, MAX_PIECES, Place};

/// A slot without a piece; no id is that large.
const EMPTY: u32 = u32::MAX;
/// Pieces in a bucket, on average: more make fewer displacements, which are harder to find.
const PIECES_PER_BUCKET: usize = 4;
/// One slot in this many stays empty, so that the last buckets find a place soon.
const SLOTS_PER_EMPTY: usize = 12;
/// Seeds to try. One is enough unless two of the 64-bit hashes are equal.
const SEEDS: u32 = 16;

/// Why a list of pieces is not a vocabulary. Lines count from 1, as in `vocab.txt`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PackError {
    /// There are no pieces.
    NoPieces,
    /// A piece has no characters.
    Empty {
        /// Its line.
        line: usize,
    },
    /// A piece is there twice.
    Duplicate {
        /// The piece.
        piece: String,
        /// Line of the second one.
        line: usize,
        /// Line of the first one.
        first: usize,
    },
    /// More pieces than [`MAX_PIECES`].
    TooMany {
        /// Line of the first one too many.
        line: usize,
    },
    /// The text of all pieces has more bytes than 32 bits can count.
    TooLong {
        /// Line of the piece that goes beyond.
        line: usize,
    },
    /// Two pieces have the same hash for every seed.
    Unlucky,
}

impl fmt::Display for PackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PackError::NoPieces => f.write_str("the vocabulary has no pieces"),
            PackError::Empty { line } => write!(f, "line {line}: a piece must not be empty"),
            PackError::Duplicate { piece, line, first } => {
                write!(f, "line {line}: {piece:?} is there already, in line {first}")
            }
            PackError::TooMany { line } => {
                write!(f, "line {line}: a vocabulary has at most {MAX_PIECES} pieces")
            }
            PackError::TooLong { line } => {
                write!(f, "line {line}: a vocabulary has at most {} bytes", u32::MAX)
            }
            PackError::Unlucky => f.write_str("the vocabulary cannot be hashed without collisions"),
        }
    }
}

impl std::error::Error for PackError {}

/// Packs `pieces`, the lines of `vocab.txt` in order of their ids, for
/// [`Vocabulary::parse`](super::Vocabulary::parse). Equal pieces give equal bytes.
///
/// # Errors
///
/// [`PackError`], with the line: an empty piece, the same piece twice, too many or too long ones.
pub fn pack_vocabulary(pieces: &[impl AsRef<str>]) -> Result<Vec<u8>, PackError> {
    let starts = check(pieces)?;
    let slots = pieces.len() + pieces.len() / SLOTS_PER_EMPTY + 1;
    let buckets = pieces.len() / PIECES_PER_BUCKET + 1;
    let index = (0..SEEDS)
        .find_map(|seed| Index::build(pieces, seed, buckets, slots))
        .ok_or(PackError::Unlucky)?;

    let text_bytes = starts.last().copied().unwrap_or_default();
    let tables = 2 * buckets + 4 * slots + 4 * starts.len();
    let mut bytes = Vec::with_capacity(HEADER_BYTES + tables + text_bytes as usize);
    bytes.extend_from_slice(&MAGIC);
    // All of these are below 2^25, see `check`.
    for field in [pieces.len() as u32, buckets as u32, slots as u32, index.seed, text_bytes] {
        bytes.extend_from_slice(&field.to_le_bytes());
    }
    bytes.extend(index.displacements.iter().flat_map(|d| d.to_le_bytes()));
    bytes.extend(index.slots.iter().flat_map(|s| s.to_le_bytes()));
    bytes.extend(starts.iter().flat_map(|s| s.to_le_bytes()));
    for piece in pieces {
        bytes.extend_from_slice(piece.as_ref().as_bytes());
    }
    Ok(bytes)
}

/// Checks the pieces, and returns where each starts in the text, and the end of the text.
fn check(pieces: &[impl AsRef<str>]) -> Result<Vec<u32>, PackError> {
    if pieces.is_empty() {
        return Err(PackError::NoPieces);
    }
    if pieces.len() > MAX_PIECES as usize {
        return Err(PackError::TooMany { line: MAX_PIECES as usize + 1 });
    }
    let mut lines = HashMap::with_capacity(pieces.len());
    let mut starts = vec![0u32];
    let mut end = 0u32;
    for (piece, line) in pieces.iter().map(AsRef::as_ref).zip(1..) {
        if piece.is_empty() {
            return Err(PackError::Empty { line });
        }
        if let Some(first) = lines.insert(piece, line) {
            return Err(PackError::Duplicate { piece: piece.into(), line, first });
        }
        end = u32::try_from(piece.len())
            .ok()
            .and_then(|length| end.checked_add(length))
            .ok_or(PackError::TooLong { line })?;
        starts.push(end);
    }
    Ok(starts)
}

/// A perfect hash, made by "compress, hash and displace" (Belazzougui, Botelho and Dietzfelbinger,
/// 2009): the fullest buckets choose first, each the smallest displacement that fits.
struct Index {
    seed: u32,
    displacements: Vec<u16>,
    slots: Vec<u32>,
}

impl Index {
    fn build(pieces: &[impl AsRef<str>], seed: u32, buckets: usize, slots: usize) -> Option<Index> {
        let mut members: Vec<Vec<(Place, u32)>> = vec![Vec::new(); buckets];
        for (piece, id) in pieces.iter().zip(0u32..) {
            let place = Hash::start(seed).push_all(piece.as_ref().as_bytes()).place();
            members[place.bucket(buckets)].push((place, id));
        }
        let mut order: Vec<usize> = (0..buckets).collect();
        order.sort_by_key(|&bucket| std::cmp::Reverse(members[bucket].len()));

        let mut index = Index { seed, displacements: vec![0; buckets], slots: vec![EMPTY; slots] };
        for bucket in order {
            index.displacements[bucket] =
                (0..=u16::MAX).find(|&displacement| index.place(&members[bucket], displacement))?;
        }
        Some(index)
    }

    /// Puts the pieces of a bucket in their slots if those are free, else changes nothing.
    fn place(&mut self, members: &[(Place, u32)], displacement: u16) -> bool {
        for (done, &(place, id)) in members.iter().enumerate() {
            let slot = place.slot(displacement, self.slots.len());
            if self.slots[slot] != EMPTY {
                for (place, _) in &members[..done] {
                    let slot = place.slot(displacement, self.slots.len());
                    self.slots[slot] = EMPTY;
                }
                return false;
            }
            self.slots[slot] = id | place.tag() << 24;
        }
        true
    }
}
