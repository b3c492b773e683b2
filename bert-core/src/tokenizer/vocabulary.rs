//! The packed vocabulary: pieces, and a perfect hash from piece to id, used where the bytes lie.
//!
//! ```text
//! offset  bytes           little-endian, no alignment
//!      0  4               magic "WPV1"
//!      4  4               N, pieces
//!      8  4               B, buckets
//!     12  4               S, slots
//!     16  4               seed of the hash
//!     20  4               L, bytes of text
//!     24  2 B             displacement of each bucket
//!         4 S             id in the low 24 bits, tag in the high 8; all ones is empty
//!         4 (N + 1)       where each piece starts in the text; the last one is L
//!         L               the pieces one after another, UTF-8, as in vocab.txt
//! ```
//!
//! A piece's hash picks a bucket; the bucket's displacement and the hash pick the slot, in which the
//! piece is alone. So a look-up reads one displacement and one slot, and compares the text only when
//! the tag agrees. [`pack_vocabulary`](super::pack_vocabulary) finds the displacements.

use crate::Error;

/// Most pieces of a vocabulary: ids have 24 bits, and the last one marks an empty slot.
pub const MAX_PIECES: u32 = (1 << 24) - 1;

pub(super) const MAGIC: [u8; 4] = *b"WPV1";
pub(super) const HEADER_BYTES: usize = 24;
/// What a piece inside a word starts with in `vocab.txt`.
pub(super) const CONTINUATION: &str = "##";

/// A view over a packed vocabulary that was checked once.
///
/// Every id below `len` has a piece, and every piece is found under its id.
#[derive(Clone, Copy)]
pub struct Vocabulary<'a> {
    displacements: &'a [[u8; 2]],
    slots: &'a [[u8; 4]],
    starts: &'a [[u8; 4]],
    text: &'a str,
    /// Hash before the first byte of a piece: of one that starts a word, of one that continues it.
    hashes: [Hash; 2],
    /// Bytes of the longest piece of either kind; `##` does not count.
    longest: [u32; 2],
}

impl core::fmt::Debug for Vocabulary<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Vocabulary").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl<'a> Vocabulary<'a> {
    /// Checks `bytes` and looks at them as a vocabulary. Reads all of them, allocates nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Vocabulary`] when anything in `bytes` is not as
    /// [`pack_vocabulary`](super::pack_vocabulary) writes it.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let vocabulary = Self::sections(bytes).ok_or(Error::Vocabulary)?;
        vocabulary.checked().ok_or(Error::Vocabulary)
    }

    /// Cuts the bytes into sections; nothing inside them is checked but UTF-8.
    fn sections(bytes: &'a [u8]) -> Option<Self> {
        let (header, rest) = bytes.split_at_checked(HEADER_BYTES)?;
        let (fields, _) = header.as_chunks::<4>();
        let field = |i: usize| fields.get(i).map(|&f| u32::from_le_bytes(f));
        if fields.first() != Some(&MAGIC) {
            return None;
        }
        let [pieces, buckets, slots, seed, text_bytes] =
            [field(1)?, field(2)?, field(3)?, field(4)?, field(5)?];
        if pieces == 0 || pieces > MAX_PIECES || buckets == 0 || slots < pieces {
            return None;
        }
        let section = |rest: &'a [u8], count: u32, width: usize| {
            rest.split_at_checked(usize::try_from(count).ok()?.checked_mul(width)?)
        };
        let (displacements, rest) = section(rest, buckets, 2)?;
        let (slots, rest) = section(rest, slots, 4)?;
        let (starts, text) = section(rest, pieces + 1, 4)?;
        if text.len() != usize::try_from(text_bytes).ok()? {
            return None;
        }
        Some(Self {
            displacements: displacements.as_chunks().0,
            slots: slots.as_chunks().0,
            starts: starts.as_chunks().0,
            text: core::str::from_utf8(text).ok()?,
            hashes: [Hash::start(seed), Hash::start(seed).push_all(CONTINUATION.as_bytes())],
            longest: [0; 2],
        })
    }

    /// Walks the pieces: they cover the text, and each is found under its id and so only once.
    fn checked(mut self) -> Option<Self> {
        let mut end = 0;
        for id in 0..self.len() {
            if self.start(id)? != end {
                return None;
            }
            let piece = self.piece(id)?;
            if piece.is_empty() || self.id(piece.as_bytes()) != Some(id) {
                return None;
            }
            end += piece.len();
            let length = piece.len() as u32;
            self.longest[0] = self.longest[0].max(length);
            if let Some(rest) = piece.strip_prefix(CONTINUATION) {
                self.longest[1] = self.longest[1].max(rest.len() as u32);
            }
        }
        (end == self.text.len()).then_some(self)
    }

    /// Number of pieces; ids are below it.
    #[allow(clippy::len_without_is_empty, reason = "a vocabulary has pieces")]
    pub fn len(&self) -> u32 {
        // `sections` made one start more than pieces, and those fit in 24 bits.
        (self.starts.len() - 1) as u32
    }

    /// The id of `piece`, as it stands in `vocab.txt`: with `##` if it continues a word.
    pub fn id(&self, piece: &[u8]) -> Option<u32> {
        self.find(self.hash(false).push_all(piece), false, piece)
    }

    /// The piece with this id, as it stands in `vocab.txt`.
    pub fn piece(&self, id: u32) -> Option<&'a str> {
        self.text.get(self.start(id)?..self.start(id.checked_add(1)?)?)
    }

    fn start(&self, id: u32) -> Option<usize> {
        let &start = self.starts.get(usize::try_from(id).ok()?)?;
        usize::try_from(u32::from_le_bytes(start)).ok()
    }

    /// Bytes of the longest piece, or of the longest continuation without its `##`.
    pub(super) fn longest(&self, continues: bool) -> usize {
        self.longest[usize::from(continues)] as usize
    }

    /// Hash to start a piece with, `##` included if it continues a word.
    pub(super) fn hash(&self, continues: bool) -> Hash {
        self.hashes[usize::from(continues)]
    }

    /// The id of `piece`, to which `##` belongs if it continues a word. `hash` is its hash.
    pub(super) fn find(&self, hash: Hash, continues: bool, piece: &[u8]) -> Option<u32> {
        let place = hash.place();
        let bucket = place.bucket(self.displacements.len());
        let displacement = u16::from_le_bytes(*self.displacements.get(bucket)?);
        let slot = self.slots.get(place.slot(displacement, self.slots.len()))?;
        let slot = u32::from_le_bytes(*slot);
        if slot >> 24 != place.tag() {
            return None;
        }
        let id = slot & MAX_PIECES;
        let starts = self.starts.get(id as usize..)?.first_chunk()?;
        let [start, end] = starts.map(|start| u32::from_le_bytes(start) as usize);
        let stored = self.text.as_bytes().get(start..end)?;
        let stored = if continues { stored.strip_prefix(CONTINUATION.as_bytes())? } else { stored };
        (stored == piece).then_some(id)
    }
}

/// Hash of a piece, one byte after the other (FNV-1a, 64 bits).
#[derive(Clone, Copy)]
pub(super) struct Hash(u64);

impl Hash {
    /// Nothing hashed yet. Pieces that collide under one seed do not under another.
    pub(super) fn start(seed: u32) -> Hash {
        Hash(0xCBF2_9CE4_8422_2325 ^ u64::from(seed))
    }

    pub(super) fn push(self, byte: u8) -> Hash {
        Hash((self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3))
    }

    pub(super) fn push_all(self, bytes: &[u8]) -> Hash {
        bytes.iter().fold(self, |hash, &byte| hash.push(byte))
    }

    /// Where a vocabulary keeps the piece.
    pub(super) fn place(self) -> Place {
        let mixed = self.0.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Place(mixed ^ mixed >> 29)
    }
}

/// A mixed hash, from which bucket, slot and tag are drawn.
#[derive(Clone, Copy)]
pub(super) struct Place(u64);

impl Place {
    pub(super) fn bucket(self, buckets: usize) -> usize {
        reduce(self.0, buckets)
    }

    pub(super) fn slot(self, displacement: u16, slots: usize) -> usize {
        let step = (u64::from(displacement) + 1).wrapping_mul(0xD6E8_FEB8_6659_FD93);
        reduce((self.0 ^ step).wrapping_mul(0xFF51_AFD7_ED55_8CCD), slots)
    }

    pub(super) fn tag(self) -> u32 {
        self.0 as u32 & 0xFF
    }
}

/// The high half of `hash`, scaled to `0..count`.
fn reduce(hash: u64, count: usize) -> usize {
    (((hash >> 32) * count as u64) >> 32) as usize
}
