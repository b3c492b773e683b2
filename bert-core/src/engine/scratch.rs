//! Scratch memory: how much a model needs, and how it is divided.
//!
//! Its growth is linear in the tokens T: the residual stream, keys and values of one layer (all int8)
//! and the attention scores of the few rows that are in flight. There is no T × T buffer.

use core::ops::{Deref, DerefMut};

use crate::Error;
use crate::ops::{GROUP, HeadPanels, ROW_ALIGN};

/// Alignment of scratch memory in bytes.
pub const SCRATCH_ALIGN: usize = 16;

/// Rows that go through a matrix together, so that weights are read once for all of them: as many of
/// these as the memory has room for. The results do not depend on it.
const TILES: [usize; 4] = [4, 8, 16, 32];

/// `N` bytes of aligned scratch memory, for a `static` or the stack.
///
/// ```
/// use bert_core::{Scratch, Shape, scratch_bytes};
/// const TINY: Shape = Shape { hidden: 128, heads: 2, feed_forward: 512, labels: 7, tags: 0 };
/// let mut scratch = Scratch::<{ scratch_bytes(&TINY, 64) }>::new();
/// assert!(scratch.len() <= 96 * 1024);
/// # scratch[0] = 1;
/// ```
#[repr(C, align(16))]
pub struct Scratch<const N: usize>([u8; N]);

impl<const N: usize> Scratch<N> {
    /// Zeroed memory.
    #[must_use]
    pub const fn new() -> Self {
        Scratch([0; N])
    }
}

impl<const N: usize> Default for Scratch<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> Deref for Scratch<N> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl<const N: usize> DerefMut for Scratch<N> {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

/// Aligned scratch memory of a length known at run time, on the heap of a host.
#[cfg(feature = "std")]
pub struct ScratchVec {
    blocks: Vec<u128>,
    /// Bytes before the first that is at the start of a cache line, and those of use from there on.
    start: usize,
    bytes: usize,
}

/// Bytes of a cache line and of the widest register: a load that crosses lines takes twice as long.
#[cfg(feature = "std")]
const LINE: usize = 64;

#[cfg(feature = "std")]
impl ScratchVec {
    /// Zeroed memory of exactly `bytes` bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let blocks = vec![0u128; (bytes + LINE).div_ceil(size_of::<u128>())];
        let address = blocks.as_ptr() as usize;
        ScratchVec { start: address.next_multiple_of(LINE) - address, blocks, bytes }
    }

    /// As much as `model` is fastest with on one thread, for texts of its `max_length`.
    #[must_use]
    pub fn of(model: &crate::Model<'_>) -> Self {
        let config = model.config();
        Self::new(fast_scratch_bytes(&config.shape(), config.max_length as usize))
    }

    /// As [`ScratchVec::of`], for a session of several threads.
    #[cfg(feature = "threads")]
    #[must_use]
    pub fn for_threads(model: &crate::Model<'_>, threads: usize) -> Self {
        let config = model.config();
        let tokens = config.max_length as usize;
        Self::new(threaded_scratch_bytes(&config.shape(), tokens, threads))
    }
}

#[cfg(feature = "std")]
impl Deref for ScratchVec {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.blocks)[self.start..][..self.bytes]
    }
}

#[cfg(feature = "std")]
impl DerefMut for ScratchVec {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.blocks)[self.start..][..self.bytes]
    }
}

/// What decides the scratch memory of a model. All fields are counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// H, width of the residual stream.
    pub hidden: usize,
    /// A, attention heads.
    pub heads: usize,
    /// F, feed-forward width.
    pub feed_forward: usize,
    /// Labels of the text or numbers of a regression, 0 without.
    pub labels: usize,
    /// Tags of a word, 0 without.
    pub tags: usize,
}

/// Lengths of parts and bytes of their elements, in the order in which they are divided: the large ones
/// first, which for most shapes are whole cache lines, so that each begins with one where the memory does.
/// What does not fit is as much as fits, see [`bytes_with`].
struct Plan<const N: usize>([(usize, usize); N]);

/// What there is once: the stream of the tokens, logits, ids.
const fn once(shape: &Shape, tokens: usize) -> Plan<11> {
    let (t, h) = (tokens, shape.hidden);
    let (heads, panels) = head_panels(shape, tokens);
    let key_and_value = panels.key_bytes().saturating_add(panels.value_bytes());
    Plan([
        (heads.saturating_mul(key_and_value), 1),
        (t.saturating_mul(h), 1),
        (t.saturating_mul(h.div_ceil(GROUP)), 4),
        (heads.saturating_mul(t), 4),
        (heads.saturating_mul(t), 4),
        (shape.labels, 4),
        (shape.tags, 4),
        (t, 4),
        (t, 4),
        (t, 4),
        (t, 4),
    ])
}

/// What each thread has for the rows it has in flight.
const fn in_flight(shape: &Shape, tokens: usize, rows: usize) -> Plan<9> {
    let (h, wide) = (shape.hidden, shape.feed_forward);
    let (_, panels) = head_panels(shape, tokens);
    let head_row = panels.width.next_multiple_of(ROW_ALIGN);
    let token_row = tokens.next_multiple_of(ROW_ALIGN);
    let row = larger(h, wide).next_multiple_of(ROW_ALIGN);
    Plan([
        (rows * h, 4),
        (rows * h, 4),
        (rows * h, 4),
        (rows * larger(wide, 2 * head_row), 4),
        (rows * token_row, 4),
        (rows * larger(row, head_row), 1),
        (2 * rows * token_row, 1),
        (rows, 4),
        (rows, 4),
    ])
}

/// Heads, and where their keys and values lie; a shape without a head is as good as one with one.
const fn head_panels(shape: &Shape, tokens: usize) -> (usize, HeadPanels) {
    let heads = if shape.heads == 0 { 1 } else { shape.heads };
    (heads, HeadPanels { tokens, width: shape.hidden / heads })
}

impl<const N: usize> Plan<N> {
    const fn bytes(&self) -> usize {
        let mut total = 0usize;
        let mut i = 0;
        while i < N {
            total = total.saturating_add(self.part(i));
            i += 1;
        }
        total
    }

    /// Bytes of a part with the padding behind it.
    const fn part(&self, i: usize) -> usize {
        let (length, size) = self.0[i];
        length.saturating_mul(size).saturating_add(SCRATCH_ALIGN - 1) / SCRATCH_ALIGN
            * SCRATCH_ALIGN
    }

    /// The parts, off the front of `rest`. Every part starts at a multiple of [`SCRATCH_ALIGN`].
    fn take<'s>(&self, rest: &mut &'s mut [u8]) -> [&'s mut [u8]; N] {
        self.0.map(|(length, size)| {
            let used = length * size;
            let all = core::mem::take(rest);
            let (head, tail) = all.split_at_mut(used.next_multiple_of(SCRATCH_ALIGN));
            *rest = tail;
            &mut head[..used]
        })
    }
}

const fn larger(a: usize, b: usize) -> usize {
    if a > b { a } else { b }
}

/// Bytes of scratch memory for a model of this shape and inputs of up to `tokens` tokens
/// (`[CLS]` and `[SEP]` included), exactly; `usize::MAX` if it does not fit 32 bits.
///
/// A session takes more if it is given more, and is faster then; see [`fast_scratch_bytes`].
#[must_use]
pub const fn scratch_bytes(shape: &Shape, tokens: usize) -> usize {
    bytes_with(shape, tokens, TILES[0], 1)
}

/// Bytes of scratch memory with which a session is fastest: on machines with wide registers about
/// twice as fast as with [`scratch_bytes`], with the same results.
#[must_use]
pub const fn fast_scratch_bytes(shape: &Shape, tokens: usize) -> usize {
    bytes_with(shape, tokens, TILES[TILES.len() - 1], 1)
}

/// As [`fast_scratch_bytes`], for a session of several threads.
#[cfg(feature = "threads")]
#[must_use]
pub const fn threaded_scratch_bytes(shape: &Shape, tokens: usize, threads: usize) -> usize {
    bytes_with(shape, tokens, TILES[TILES.len() - 1], threads)
}

const fn bytes_with(shape: &Shape, tokens: usize, tile: usize, threads: usize) -> usize {
    /// The parts are multiples of [`SCRATCH_ALIGN`]; more is what did not fit.
    const MOST: usize = u32::MAX as usize / SCRATCH_ALIGN * SCRATCH_ALIGN;
    let each = in_flight(shape, tokens, tile).bytes();
    let total = once(shape, tokens).bytes().saturating_add(each.saturating_mul(threads));
    if total > MOST { usize::MAX } else { total }
}

/// A part of the scratch memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScratchPart {
    /// What it holds, in words.
    pub name: &'static str,
    /// Bytes.
    pub bytes: u64,
}

/// What the bytes of [`scratch_bytes`] are for. The parts add up to them, where those fit 32 bits.
///
/// ```
/// use bert_core::{Shape, scratch_bytes, scratch_parts};
/// const TINY: Shape = Shape { hidden: 128, heads: 2, feed_forward: 512, labels: 7, tags: 0 };
/// let total: u64 = scratch_parts(&TINY, 64).iter().map(|part| part.bytes).sum();
/// assert_eq!(total, scratch_bytes(&TINY, 64) as u64);
/// ```
#[must_use]
pub fn scratch_parts(shape: &Shape, tokens: usize) -> [ScratchPart; 9] {
    let (once, tile) = (once(shape, tokens), in_flight(shape, tokens, TILES[0]));
    let (heads, panels) = head_panels(shape, tokens);
    // Keys and values are one part, whose padding goes to the values.
    let keys = heads * panels.key_bytes();
    let part = |name, bytes: usize| ScratchPart { name, bytes: bytes as u64 };
    [
        part("residual stream", once.part(1) + once.part(2)),
        part("keys", keys + once.part(3)),
        part("values", once.part(0) - keys + once.part(4)),
        part("tokens and words", (7..11).map(|i| once.part(i)).sum()),
        part("logits", once.part(5) + once.part(6)),
        part("rows in flight", (0..3).map(|i| tile.part(i)).sum()),
        part("feed-forward rows", tile.part(3)),
        part("quantized rows", tile.part(5) + tile.part(7) + tile.part(8)),
        part("attention scores", tile.part(4) + tile.part(6)),
    ]
}

/// The scratch memory, divided.
pub(crate) struct Memory<'s> {
    /// Scales of the residual stream \[T, ⌈H / 32⌉\].
    pub x_scales: &'s mut [f32],
    /// Scales of keys and values \[A, T\].
    pub key_scales: &'s mut [f32],
    pub value_scales: &'s mut [f32],
    /// Logits of `[CLS]` \[labels or outputs\] and of one word \[tags\].
    pub label_logits: &'s mut [f32],
    pub tag_logits: &'s mut [f32],
    /// Token ids \[T\].
    pub ids: &'s mut [u32],
    /// Word number of a word's first token, [`NOT_FIRST`] elsewhere \[T\]; its span in the text.
    pub words: &'s mut [u32],
    pub starts: &'s mut [u32],
    pub ends: &'s mut [u32],
    /// Residual stream \[T, H\].
    pub x: &'s mut [i8],
    /// Keys of all heads, then values of all heads, see [`HeadPanels`].
    pub keys_values: &'s mut [i8],
    /// The rows in flight.
    pub tile: Tile<'s>,
    /// Those of other threads.
    #[cfg(feature = "threads")]
    pub others: Vec<Tile<'s>>,
}

/// A few rows that go through the matrices together.
pub(crate) struct Tile<'s> {
    /// Most rows.
    pub most: usize,
    /// \[rows, H\] each.
    pub residual: &'s mut [f32],
    pub first: &'s mut [f32],
    pub second: &'s mut [f32],
    /// \[rows, max(F, 2 D rounded up)\].
    pub wide: &'s mut [f32],
    /// Scales of quantized rows \[rows\].
    pub row_scales: &'s mut [f32],
    /// Scales of the queries of one head, then the factors of their weights \[rows\].
    pub query_scales: &'s mut [f32],
    /// Attention scores \[rows, T rounded up\].
    pub scores: &'s mut [f32],
    /// Quantized rows \[rows, the widest rounded up\].
    pub rows: &'s mut [i8],
    /// Attention weights, two digits each \[2 rows, T rounded up\].
    pub digits: &'s mut [i8],
}

/// Mark of a token that does not begin a word.
pub(crate) const NOT_FIRST: u32 = u32::MAX;

impl<'s> Memory<'s> {
    /// Divides as much of `bytes` as is of use, at least [`scratch_bytes`], for one thread.
    pub(crate) fn divide(bytes: &'s mut [u8], shape: &Shape, tokens: usize) -> Result<Self, Error> {
        Self::divide_among(bytes, shape, tokens, 1)
    }

    /// The same for several threads.
    pub(crate) fn divide_among(
        bytes: &'s mut [u8],
        shape: &Shape,
        tokens: usize,
        threads: usize,
    ) -> Result<Self, Error> {
        let needed = bytes_with(shape, tokens, TILES[0], threads);
        if bytes.len() < needed || needed == usize::MAX {
            let clip = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
            return Err(Error::Scratch { needed: clip(needed), found: clip(bytes.len()) });
        }
        if !(bytes.as_ptr() as usize).is_multiple_of(SCRATCH_ALIGN) {
            return Err(Error::ScratchAlignment);
        }
        let fits = |tile: &usize| bytes_with(shape, tokens, *tile, threads) <= bytes.len();
        let most = TILES.into_iter().rev().find(fits).unwrap_or(TILES[0]);
        let plan = in_flight(shape, tokens, most);
        let mut rest = bytes;
        let tile = plan.take(&mut rest);
        #[cfg(feature = "threads")]
        let others = (1..threads).map(|_| Tile::new(most, plan.take(&mut rest))).collect();
        let [panels, x, x_scales, key_scales, value_scales, labels, tags, ids, words, starts, ends] =
            once(shape, tokens).take(&mut rest);
        // Parts are aligned and whole, so the casts cannot fail.
        Ok(Memory {
            x_scales: bytemuck::cast_slice_mut(x_scales),
            key_scales: bytemuck::cast_slice_mut(key_scales),
            value_scales: bytemuck::cast_slice_mut(value_scales),
            label_logits: bytemuck::cast_slice_mut(labels),
            tag_logits: bytemuck::cast_slice_mut(tags),
            ids: bytemuck::cast_slice_mut(ids),
            words: bytemuck::cast_slice_mut(words),
            starts: bytemuck::cast_slice_mut(starts),
            ends: bytemuck::cast_slice_mut(ends),
            x: bytemuck::cast_slice_mut(x),
            keys_values: bytemuck::cast_slice_mut(panels),
            tile: Tile::new(most, tile),
            #[cfg(feature = "threads")]
            others,
        })
    }
}

impl<'s> Tile<'s> {
    fn new(most: usize, parts: [&'s mut [u8]; 9]) -> Self {
        let [residual, first, second, wide, scores, rows, digits, row_scales, query_scales] = parts;
        Tile {
            most,
            residual: bytemuck::cast_slice_mut(residual),
            first: bytemuck::cast_slice_mut(first),
            second: bytemuck::cast_slice_mut(second),
            wide: bytemuck::cast_slice_mut(wide),
            row_scales: bytemuck::cast_slice_mut(row_scales),
            query_scales: bytemuck::cast_slice_mut(query_scales),
            scores: bytemuck::cast_slice_mut(scores),
            rows: bytemuck::cast_slice_mut(rows),
            digits: bytemuck::cast_slice_mut(digits),
        }
    }
}
