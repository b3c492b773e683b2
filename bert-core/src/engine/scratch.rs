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
    bytes: usize,
}

#[cfg(feature = "std")]
impl ScratchVec {
    /// Zeroed memory of exactly `bytes` bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        ScratchVec { blocks: vec![0; bytes.div_ceil(size_of::<u128>())], bytes }
    }

    /// As much as `model` is fastest with, for texts of its `max_length`.
    #[must_use]
    pub fn of(model: &crate::Model<'_>) -> Self {
        let config = model.config();
        Self::new(fast_scratch_bytes(&config.shape(), config.max_length as usize))
    }
}

#[cfg(feature = "std")]
impl Deref for ScratchVec {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.blocks)[..self.bytes]
    }
}

#[cfg(feature = "std")]
impl DerefMut for ScratchVec {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.blocks)[..self.bytes]
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

/// Sizes of the parts, in elements.
struct Plan {
    /// Length and bytes of an element, in the order of [`Memory::divide`].
    parts: [(u64, u64); 20],
}

impl Plan {
    const fn new(shape: &Shape, tokens: usize, tile: usize) -> Self {
        let Shape { hidden, heads, feed_forward, labels, tags } = *shape;
        // A model has at least one head; a shape of none is as good as one.
        let heads = if heads == 0 { 1 } else { heads };
        let panels = HeadPanels { tokens, width: hidden / heads };
        let (t, h, a, rows) = (tokens as u64, hidden as u64, heads as u64, tile as u64);
        let row = hidden.next_multiple_of(ROW_ALIGN) as u64;
        let wide_row = feed_forward.next_multiple_of(ROW_ALIGN) as u64;
        let head_row = panels.width.next_multiple_of(ROW_ALIGN) as u64;
        let token_row = tokens.next_multiple_of(ROW_ALIGN) as u64;
        Plan {
            parts: [
                (t * h.div_ceil(GROUP as u64), 4),
                (a * t, 4),
                (a * t, 4),
                (rows * h, 4),
                (rows * h, 4),
                (rows * h, 4),
                (rows * larger(feed_forward as u64, 2 * head_row), 4),
                (rows, 4),
                (rows, 4),
                (rows * token_row, 4),
                (labels as u64, 4),
                (tags as u64, 4),
                (t, 4),
                (t, 4),
                (t, 4),
                (t, 4),
                (t * h, 1),
                (a * (panels.key_bytes() as u64 + panels.value_bytes() as u64), 1),
                (rows * larger(larger(row, wide_row), head_row), 1),
                (2 * rows * token_row, 1),
            ],
        }
    }

    const fn bytes(&self) -> u64 {
        let mut total = 0u64;
        let mut i = 0;
        while i < self.parts.len() {
            total += (self.parts[i].0 * self.parts[i].1).next_multiple_of(SCRATCH_ALIGN as u64);
            i += 1;
        }
        total
    }
}

const fn larger(a: u64, b: u64) -> u64 {
    if a > b { a } else { b }
}

/// Bytes of scratch memory for a model of this shape and inputs of up to `tokens` tokens
/// (`[CLS]` and `[SEP]` included), exactly; `usize::MAX` if it does not fit 32 bits.
///
/// A session takes more if it is given more, and is faster then; see [`fast_scratch_bytes`].
#[must_use]
pub const fn scratch_bytes(shape: &Shape, tokens: usize) -> usize {
    bytes_with(shape, tokens, TILES[0])
}

/// Bytes of scratch memory with which a session is fastest: on machines with wide registers about
/// twice as fast as with [`scratch_bytes`], with the same results.
#[must_use]
pub const fn fast_scratch_bytes(shape: &Shape, tokens: usize) -> usize {
    bytes_with(shape, tokens, TILES[TILES.len() - 1])
}

const fn bytes_with(shape: &Shape, tokens: usize, tile: usize) -> usize {
    let total = Plan::new(shape, tokens, tile).bytes();
    if total > u32::MAX as u64 { usize::MAX } else { total as usize }
}

/// The scratch memory, divided.
pub(crate) struct Memory<'s> {
    /// Rows that go through a matrix together.
    pub tile: usize,
    /// Scales of the residual stream \[T, ⌈H / 32⌉\].
    pub x_scales: &'s mut [f32],
    /// Scales of keys and values \[A, T\].
    pub key_scales: &'s mut [f32],
    pub value_scales: &'s mut [f32],
    /// Rows in flight \[tile, H\].
    pub residual: &'s mut [f32],
    pub first: &'s mut [f32],
    pub second: &'s mut [f32],
    /// Rows in flight \[tile, max(F, 2 D rounded up)\].
    pub wide: &'s mut [f32],
    /// Scales of quantized rows \[tile\].
    pub row_scales: &'s mut [f32],
    /// Scales of the queries in flight of one head, then the factors of their weights \[tile\].
    pub query_scales: &'s mut [f32],
    /// Attention scores of the rows in flight \[tile, T rounded up\].
    pub scores: &'s mut [f32],
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
    /// Quantized rows \[tile, the widest rounded up\].
    pub rows: &'s mut [i8],
    /// Attention weights of the rows in flight, two digits each \[2 tile, T rounded up\].
    pub digits: &'s mut [i8],
}

/// Mark of a token that does not begin a word.
pub(crate) const NOT_FIRST: u32 = u32::MAX;

impl<'s> Memory<'s> {
    /// Divides as much of `bytes` as is of use, at least [`scratch_bytes`].
    pub(crate) fn divide(bytes: &'s mut [u8], shape: &Shape, tokens: usize) -> Result<Self, Error> {
        let needed = scratch_bytes(shape, tokens);
        if bytes.len() < needed || needed == usize::MAX {
            let clip = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
            return Err(Error::Scratch { needed: clip(needed), found: clip(bytes.len()) });
        }
        if !(bytes.as_ptr() as usize).is_multiple_of(SCRATCH_ALIGN) {
            return Err(Error::ScratchAlignment);
        }
        let fits = |tile: &usize| bytes_with(shape, tokens, *tile) <= bytes.len();
        let tile = TILES.into_iter().rev().find(fits).unwrap_or(TILES[0]);
        let Plan { parts } = Plan::new(shape, tokens, tile);
        let mut rest = bytes;
        let mut part = 0;
        let mut take = || {
            let (length, size) = parts[part];
            part += 1;
            let used = (length * size) as usize;
            let all = core::mem::take(&mut rest);
            let (head, tail) = all.split_at_mut(used.next_multiple_of(SCRATCH_ALIGN));
            rest = tail;
            &mut head[..used]
        };
        // Every part starts at a multiple of SCRATCH_ALIGN, so the casts cannot fail.
        Ok(Memory {
            tile,
            x_scales: bytemuck::cast_slice_mut(take()),
            key_scales: bytemuck::cast_slice_mut(take()),
            value_scales: bytemuck::cast_slice_mut(take()),
            residual: bytemuck::cast_slice_mut(take()),
            first: bytemuck::cast_slice_mut(take()),
            second: bytemuck::cast_slice_mut(take()),
            wide: bytemuck::cast_slice_mut(take()),
            row_scales: bytemuck::cast_slice_mut(take()),
            query_scales: bytemuck::cast_slice_mut(take()),
            scores: bytemuck::cast_slice_mut(take()),
            label_logits: bytemuck::cast_slice_mut(take()),
            tag_logits: bytemuck::cast_slice_mut(take()),
            ids: bytemuck::cast_slice_mut(take()),
            words: bytemuck::cast_slice_mut(take()),
            starts: bytemuck::cast_slice_mut(take()),
            ends: bytemuck::cast_slice_mut(take()),
            x: bytemuck::cast_slice_mut(take()),
            keys_values: bytemuck::cast_slice_mut(take()),
            rows: bytemuck::cast_slice_mut(take()),
            digits: bytemuck::cast_slice_mut(take()),
        })
    }
}
