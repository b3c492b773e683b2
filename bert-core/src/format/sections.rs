//! Preamble and section table: where things lie and whether they are intact.

use crate::Error;
use crate::checksum::{Crc32, crc32};

/// First bytes of every model file. Like PNG's, they show a transfer that strips the eighth bit
/// or translates line ends.
pub const MAGIC: [u8; 8] = [0x8B, b'B', b'E', b'R', b'T', 0x0D, 0x0A, 0x1A];
/// Newest version of the format this crate writes; a file without anything new has an older one.
pub const FORMAT_VERSION: u16 = 4;
/// Version of this reader: it takes files whose minimum reader version is at most this.
pub const READER_VERSION: u16 = 4;
/// Bytes before the section table.
pub const PREAMBLE_BYTES: usize = 32;
/// Bytes of an entry of the section table.
pub const ENTRY_BYTES: usize = 24;
/// Sections start at multiples of this many bytes of the file, and so do matrices in them.
pub const ALIGNMENT: usize = 64;
/// Most sections of a file.
pub const MAX_SECTIONS: usize = 4096;

/// What a section holds. The numbers are part of the file format.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Kind {
    /// [`crate::format::Config`] in postcard.
    Header = 1,
    /// Packed vocabulary.
    Vocabulary = 2,
    /// Names of the labels (index 0) or of the tags (index 1).
    Labels = 3,
    /// Word embeddings \[V, H\].
    WordTable = 4,
    /// Position embeddings \[P, H\].
    PositionTable = 5,
    /// Segment embeddings \[S, H\].
    SegmentTable = 6,
    /// Layer norm of the embeddings.
    EmbeddingNorm = 7,
    /// Query, key and value of a layer \[3H, H\].
    QueryKeyValue = 16,
    /// Output projection of a layer's attention \[H, H\].
    AttentionOutput = 17,
    /// Layer norm after attention.
    AttentionNorm = 18,
    /// First feed-forward matrix \[F, H\].
    FeedForwardIn = 19,
    /// Second feed-forward matrix \[H, F\].
    FeedForwardOut = 20,
    /// Layer norm after the feed-forward part.
    FeedForwardNorm = 21,
    /// Dense layer of the pooler \[H, H\].
    Pooler = 32,
    /// Class head \[labels, H\], or that of a regression \[outputs, H\].
    ClassHead = 33,
    /// Tag head \[tags, H\].
    TagHead = 34,
    /// Span head \[2, H\]: start and end.
    SpanHead = 35,
    /// Texts and the checksums of the outputs they must give.
    SelfTest = 48,
}

/// How the bytes of a section are to be read. The numbers are part of the file format.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Encoding {
    /// As the specification says for the section's kind.
    Plain = 0,
    /// Scales and biases f32, then int8 row by row.
    Int8Rows = 1,
    /// Scales and biases f32, then int8 in panels, see [`crate::format::Layout`].
    Int8Panels = 2,
    /// The word table in int4 with a scale for each group, see [`crate::format::GroupTable`].
    Int4Groups = 3,
    /// Biases f32, then f16 row by row.
    Float16Rows = 4,
}

impl Encoding {
    fn of(number: u16) -> Option<Self> {
        use Encoding::{Float16Rows, Int4Groups, Int8Panels, Int8Rows, Plain};
        let all = [Plain, Int8Rows, Int8Panels, Int4Groups, Float16Rows];
        all.into_iter().find(|encoding| *encoding as u16 == number)
    }

    /// The oldest reader that knows it.
    #[cfg(feature = "std")]
    pub(super) fn reader_version(self) -> u16 {
        match self {
            Encoding::Plain | Encoding::Int8Rows => 1,
            Encoding::Int8Panels => 3,
            Encoding::Int4Groups | Encoding::Float16Rows => 4,
        }
    }
}

/// The section table of a file whose preamble and checksums were checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sections<'a> {
    bytes: &'a [u8],
    entries: &'a [[u8; ENTRY_BYTES]],
    pub(crate) scratch_bytes: u32,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    kind: u16,
    index: u16,
    encoding: u16,
    reserved: [u8; 6],
    offset: u32,
    length: u32,
    crc: u32,
}

impl Entry {
    fn decode(raw: &[u8; ENTRY_BYTES]) -> Self {
        Entry {
            kind: u16_at(raw, 0),
            index: u16_at(raw, 2),
            encoding: u16_at(raw, 4),
            reserved: [raw[6], raw[7], raw[20], raw[21], raw[22], raw[23]],
            offset: u32_at(raw, 8),
            length: u32_at(raw, 12),
            crc: u32_at(raw, 16),
        }
    }
}

impl<'a> Sections<'a> {
    /// Checks preamble, table, padding and the checksum of every section.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let (preamble, rest) = bytes.split_first_chunk::<PREAMBLE_BYTES>().ok_or_else(|| {
            let magic = bytes.len().min(MAGIC.len());
            match bytes.is_empty() || bytes[..magic] != MAGIC[..magic] {
                true => Error::NotAModel,
                false => length_error(PREAMBLE_BYTES, bytes.len()),
            }
        })?;
        if preamble[..8] != MAGIC {
            return Err(Error::NotAModel);
        }
        let (version, needed) = (u16_at(preamble, 8), u16_at(preamble, 10));
        if needed > READER_VERSION {
            return Err(Error::Version { needed, reader: READER_VERSION });
        }
        let total = u32_at(preamble, 12);
        if total as usize != bytes.len() {
            return Err(length_error(total as usize, bytes.len()));
        }
        let count = u16_at(preamble, 16) as usize;
        let table = rest.get(..count * ENTRY_BYTES).ok_or(Error::SectionTable)?;
        let mut crc = Crc32::new();
        crc.update(&preamble[..28]);
        crc.update(table);
        if crc.finish() != u32_at(preamble, 28) {
            return Err(Error::Checksum { section: u16::MAX });
        }
        let reserved_is_zero = preamble[18..20] == [0; 2] && preamble[24..28] == [0; 4];
        if version == 0 || needed == 0 || needed > version || count > MAX_SECTIONS {
            return Err(Error::SectionTable);
        }
        let (entries, _) = table.as_chunks::<ENTRY_BYTES>();
        let sections = Sections { bytes, entries, scratch_bytes: u32_at(preamble, 20) };
        if !reserved_is_zero {
            return Err(Error::SectionTable);
        }
        sections.check()?;
        Ok(sections)
    }

    /// Sections follow each other without overlap, with zero padding only, up to the file's end; no
    /// kind and index stand twice.
    fn check(&self) -> Result<(), Error> {
        let mut end = PREAMBLE_BYTES + self.entries.len() * ENTRY_BYTES;
        for (position, raw) in self.entries.iter().enumerate() {
            let entry = Entry::decode(raw);
            let (offset, length) = (entry.offset as usize, entry.length as usize);
            let in_order = offset == end.next_multiple_of(ALIGNMENT) && entry.reserved == [0; 6];
            let padding = self.bytes.get(end..offset).ok_or(Error::SectionTable)?;
            let same = |raw| {
                let other = Entry::decode(raw);
                (other.kind, other.index) == (entry.kind, entry.index)
            };
            let once = !self.entries[..position].iter().any(same);
            if !in_order || !once || padding.iter().any(|&b| b != 0) {
                return Err(Error::SectionTable);
            }
            end = offset.checked_add(length).ok_or(Error::SectionTable)?;
            let payload = self.bytes.get(offset..end).ok_or(Error::SectionTable)?;
            if crc32(payload) != entry.crc {
                return Err(Error::Checksum { section: position as u16 });
            }
        }
        if end != self.bytes.len() {
            return Err(Error::SectionTable);
        }
        Ok(())
    }

    /// Payload of the section of a kind and index, which must have the given encoding.
    pub(crate) fn find(
        &self,
        kind: Kind,
        index: u16,
        encoding: Encoding,
    ) -> Result<&'a [u8], Error> {
        match self.find_encoded(kind, index)? {
            (payload, found) if found == encoding => Ok(payload),
            _ => Err(Error::Encoding { kind: kind as u16 }),
        }
    }

    /// Payload of the section of a kind and index, and its encoding.
    pub(crate) fn find_encoded(
        &self,
        kind: Kind,
        index: u16,
    ) -> Result<(&'a [u8], Encoding), Error> {
        let missing = Error::MissingSection { kind: kind as u16 };
        let mut entries = self.entries.iter().map(Entry::decode);
        let entry = entries.find(|e| e.kind == kind as u16 && e.index == index).ok_or(missing)?;
        let encoding = Encoding::of(entry.encoding).ok_or(Error::Encoding { kind: kind as u16 })?;
        let start = entry.offset as usize;
        // The table was checked, so the range lies in the file.
        let payload = self.bytes.get(start..start + entry.length as usize).ok_or(missing)?;
        Ok((payload, encoding))
    }

    /// Every section, in the order of the file.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Section> + 'a {
        self.entries.iter().map(Entry::decode).map(|e| Section {
            kind: e.kind,
            index: e.index,
            encoding: e.encoding,
            offset: e.offset,
            length: e.length,
        })
    }
}

/// An entry of the section table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    /// Number of a [`Kind`], or of one this reader does not know.
    pub kind: u16,
    /// Layer, or 0 for text labels and 1 for tags; 0 elsewhere.
    pub index: u16,
    /// Number of an [`Encoding`].
    pub encoding: u16,
    /// First byte in the file.
    pub offset: u32,
    /// Bytes.
    pub length: u32,
}

impl Section {
    /// What the section holds, in words.
    #[must_use]
    pub fn name(&self) -> &'static str {
        Kind::NAMES.iter().find(|(kind, _)| *kind as u16 == self.kind).map_or("unknown", |k| k.1)
    }
}

impl Kind {
    /// All kinds with their names.
    pub const NAMES: [(Kind, &'static str); 18] = [
        (Kind::Header, "header"),
        (Kind::Vocabulary, "vocabulary"),
        (Kind::Labels, "labels"),
        (Kind::WordTable, "word embeddings"),
        (Kind::PositionTable, "position embeddings"),
        (Kind::SegmentTable, "segment embeddings"),
        (Kind::EmbeddingNorm, "embedding norm"),
        (Kind::QueryKeyValue, "query, key and value"),
        (Kind::AttentionOutput, "attention output"),
        (Kind::AttentionNorm, "attention norm"),
        (Kind::FeedForwardIn, "feed-forward in"),
        (Kind::FeedForwardOut, "feed-forward out"),
        (Kind::FeedForwardNorm, "feed-forward norm"),
        (Kind::Pooler, "pooler"),
        (Kind::ClassHead, "class head"),
        (Kind::TagHead, "tag head"),
        (Kind::SpanHead, "span head"),
        (Kind::SelfTest, "self-test"),
    ];
}

fn length_error(expected: usize, found: usize) -> Error {
    let clip = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Error::Length { expected: clip(expected), found: clip(found) }
}

fn u16_at<const N: usize>(bytes: &[u8; N], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at<const N: usize>(bytes: &[u8; N], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Recomputes every checksum of a file whose preamble and table are in range, in place; for the
/// writer, and for tests that need a hostile file with valid checksums.
#[cfg(feature = "std")]
pub fn repair_checksums(bytes: &mut [u8]) {
    let Some((preamble, _)) = bytes.split_first_chunk::<PREAMBLE_BYTES>() else {
        return;
    };
    let count = u16_at(preamble, 16) as usize;
    let table_end = PREAMBLE_BYTES + count * ENTRY_BYTES;
    if bytes.len() < table_end {
        return;
    }
    for at in (PREAMBLE_BYTES..table_end).step_by(ENTRY_BYTES) {
        let mut raw = [0u8; ENTRY_BYTES];
        raw.copy_from_slice(&bytes[at..at + ENTRY_BYTES]);
        let entry = Entry::decode(&raw);
        let start = entry.offset as usize;
        let end = start.saturating_add(entry.length as usize);
        if let Some(payload) = bytes.get(start..end) {
            let crc = crc32(payload);
            bytes[at + 16..at + 20].copy_from_slice(&crc.to_le_bytes());
        }
    }
    let mut crc = Crc32::new();
    crc.update(&bytes[..28]);
    crc.update(&bytes[PREAMBLE_BYTES..table_end]);
    let crc = crc.finish();
    bytes[28..32].copy_from_slice(&crc.to_le_bytes());
}
